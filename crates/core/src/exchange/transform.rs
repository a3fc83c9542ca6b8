//! Transforms of response bodies.

use std::fmt;

/// Changes a response body piece by piece; lives for one response.
pub trait BodyTransform: Send {
    /// Consumes `input` and appends what can be sent already to `out`. `end` marks the last call, which must append
    /// everything left.
    fn push(&mut self, input: &[u8], end: bool, out: &mut Vec<u8>);

    /// Appends what is held back, because no more input comes for now and the client may wait for the output.
    fn flush(&mut self, _out: &mut Vec<u8>) {}

    /// Returns true if further input changes nothing in the output, so that the rest of the body need not be read.
    fn is_done(&self) -> bool {
        false
    }
}

/// Header and trailer fields that identify the exact bytes of a body: wrong once a transform has changed them (RFC
/// 9530; the last two are obsolete predecessors).
pub const DIGESTS: &[&str] = &["Content-Digest", "Repr-Digest", "Digest", "Content-MD5"];

/// Removes the trailer lines that are wrong for a changed body, including a strong entity tag.
pub fn without_digests(lines: &[u8]) -> Vec<u8> {
    let kept = lines.split_inclusive(|byte| *byte == b'\n').filter(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        !DIGESTS.iter().chain(&["ETag"]).any(|untrue| untrue.as_bytes().eq_ignore_ascii_case(name))
    });
    kept.flatten().copied().collect()
}

/// The transforms of one response, in the order in which they run.
#[derive(Default)]
pub struct Transforms(Vec<Box<dyn BodyTransform>>);

impl Transforms {
    /// Adds a transform at the end.
    pub fn install(&mut self, transform: Box<dyn BodyTransform>) {
        self.0.push(transform);
    }

    /// Number of transforms.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts what `wrap` returns in the place of each transform from the one at `first` on.
    pub(super) fn wrap_from(
        &mut self,
        first: usize,
        wrap: impl FnMut(Box<dyn BodyTransform>) -> Box<dyn BodyTransform>,
    ) {
        let wrapped: Vec<_> = self.0.drain(first.min(self.0.len())..).map(wrap).collect();
        self.0.extend(wrapped);
    }

    /// Returns true if there are no transforms.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if further input changes nothing in the output.
    pub fn is_done(&self) -> bool {
        self.0.iter().any(|transform| transform.is_done())
    }

    /// Removes all transforms.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Runs `input` through all transforms and appends the output to `out`.
    pub fn push(&mut self, input: &[u8], end: bool, out: &mut Vec<u8>) {
        run(&mut self.0, input, end, out);
    }

    /// Flushes every transform and appends the output to `out`.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        let mut held = Vec::new();
        for at in 0..self.0.len() {
            let (passed, left) = self.0.split_at_mut(at + 1);
            if left.is_empty() {
                passed[at].flush(out);
            } else {
                held.clear();
                passed[at].flush(&mut held);
                if !held.is_empty() {
                    run(left, &held, false, out);
                }
            }
        }
    }
}

fn run(list: &mut [Box<dyn BodyTransform>], input: &[u8], end: bool, out: &mut Vec<u8>) {
    match list {
        [] => out.extend_from_slice(input),
        [last] => last.push(input, end, out),
        [first, rest @ ..] => {
            let mut passed = Vec::new();
            first.push(input, end, &mut passed);
            if end || !passed.is_empty() {
                run(rest, &passed, end, out);
            }
        }
    }
}

impl fmt::Debug for Transforms {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Transforms({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds the last byte back and marks the end.
    struct Late(Vec<u8>, u8);

    impl BodyTransform for Late {
        fn push(&mut self, input: &[u8], end: bool, out: &mut Vec<u8>) {
            self.0.extend_from_slice(input);
            let ready = if end { self.0.len() } else { self.0.len().saturating_sub(1) };
            out.extend(self.0.drain(..ready));
            if end {
                out.push(self.1);
            }
        }

        fn flush(&mut self, out: &mut Vec<u8>) {
            out.append(&mut self.0);
        }
    }

    #[test]
    fn digests_do_not_follow_a_body_that_was_changed() {
        let lines =
            b"Server-Timing: a\r\ncontent-digest: sha-256=:x:\r\nX-Digest: 1\r\netag: \"1\"\r\nRepr-Digest: y\r\n";
        assert_eq!(without_digests(lines), b"Server-Timing: a\r\nX-Digest: 1\r\n");
        assert!(without_digests(b"").is_empty());
    }

    #[test]
    fn bytes_pass_all_in_order_and_flushing_gets_everything_out() {
        let mut transforms = Transforms::default();
        transforms.install(Box::new(Late(Vec::new(), b'1')));
        transforms.install(Box::new(Late(Vec::new(), b'2')));
        let mut out = Vec::new();
        transforms.push(b"abc", false, &mut out);
        assert_eq!(out, b"a");
        transforms.flush(&mut out);
        assert_eq!(out, b"abc");
        transforms.push(b"d", true, &mut out);
        assert_eq!(out, b"abcd12");
    }
}
