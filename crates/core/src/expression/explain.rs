//! Explains a condition part by part.

use super::text::Tokens;

/// A part of a condition, and what it says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedPart {
    /// The part, as it was written.
    pub text: String,
    /// Whether it is met, or why it cannot be told.
    pub verdict: Result<bool, String>,
}

impl ExplainedPart {
    pub(super) fn new(text: &str, verdict: Result<bool, String>) -> Self {
        Self { text: text.split_whitespace().collect::<Vec<_>>().join(" "), verdict }
    }
}

impl std::fmt::Display for ExplainedPart {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.verdict {
            Ok(true) => write!(to, "`{}` is true", self.text),
            Ok(false) => write!(to, "`{}` is false", self.text),
            Err(why) => write!(to, "`{}` cannot be told: {why}", self.text),
        }
    }
}

/// Splits a text at each `&&` that joins the whole of it. A text in which something binds less is one part.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut cuts = vec![0];
    let (mut depth, mut last) = (0_usize, None);
    for token in Tokens::new(text) {
        match token.sign {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'&' if depth == 0 && last == Some((token.start.wrapping_sub(1), b'&')) => {
                cuts.push(token.start + 1);
                // A third one begins anew: texts that are no CEL are split too.
                last = None;
                continue;
            }
            b'?' | b'|' if depth == 0 => return vec![text.trim()].into_iter(),
            _ => {}
        }
        last = Some((token.start, token.sign));
    }
    let ends = cuts.iter().skip(1).map(|cut| cut - 2).chain([text.len()]);
    let found: Vec<&str> = cuts.iter().zip(ends).map(|(&start, end)| text[start..end].trim()).collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn a_text_is_split_at_each_pair() {
        for (text, expected) in [
            ("a && (b && c) && d", &["a", "(b && c)", "d"][..]),
            ("a || b && c", &["a || b && c"]),
            ("a&&&b", &["a", "&b"]),
            ("a&&&&b", &["a", "", "b"]),
            ("a& &b", &["a& &b"]),
        ] {
            assert_eq!(parts(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
