//! Media types (RFC 9110 section 8.3.1) and how policies compare them.

/// A media type without its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Media<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
}

/// Parses the value of a Content-Type field.
pub(crate) fn parse(value: &[u8]) -> Option<Media<'_>> {
    let essence = value.split(|byte| *byte == b';').next()?.trim_ascii();
    let slash = essence.iter().position(|byte| *byte == b'/')?;
    let (kind, subtype) = (&essence[..slash], &essence[slash + 1..]);
    let token = |part: &[u8]| {
        !part.is_empty() && part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
    };
    (token(kind) && token(subtype)).then_some(Media { kind, subtype })
}

impl Media<'_> {
    /// Returns true for `application/json` and any subtype with the suffix `+json`.
    pub(crate) fn is_json(self) -> bool {
        self.is("application/json") || self.is("*/*+json")
    }

    /// Returns true if the type matches `pattern`: a media type, `text/*`, or `application/*+json`.
    pub(crate) fn is(self, pattern: &str) -> bool {
        let Some((kind, subtype)) = pattern.split_once('/') else { return false };
        let same = |one: &[u8], other: &str| one.eq_ignore_ascii_case(other.as_bytes());
        (kind == "*" || same(self.kind, kind))
            && match subtype.strip_prefix('*') {
                Some(suffix) => {
                    self.subtype.len() >= suffix.len()
                        && same(&self.subtype[self.subtype.len() - suffix.len()..], suffix)
                }
                None => same(self.subtype, subtype),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_patterns() {
        let is = |value: &str, pattern: &str| parse(value.as_bytes()).is_some_and(|media| media.is(pattern));
        assert!(is("Application/JSON ; charset=utf-8", "application/json"));
        assert!(is("text/html", "text/*") && is("text/html", "*/*") && !is("image/png", "text/*"));
        assert!(is("application/problem+json", "application/*+json") && !is("application/json", "application/*+json"));
        assert!(!is("text", "*/*") && !is("a b/c", "*/*") && !is("/json", "*/*") && !is("", "*/*"));
        assert!(parse(b"application/vnd.x+json").unwrap().is_json() && !parse(b"text/json5").unwrap().is_json());
    }
}
