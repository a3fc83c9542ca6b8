//! Bodies that are changed on their way to the client.

use std::fmt;

/// Changes a response body piece by piece. Lives for one response.
pub trait BodyTransform: Send {
    /// Takes `input` and appends to `out` what can be sent already. With `end` nothing more comes: everything is appended.
    fn push(&mut self, input: &[u8], end: bool, out: &mut Vec<u8>);

    /// Appends what is held back, because for now nothing more comes and somebody may be waiting for it.
    fn flush(&mut self, _out: &mut Vec<u8>) {}
}

/// The transforms of one response, in the order in which its bytes pass them.
#[derive(Default)]
pub struct Transforms(Vec<Box<dyn BodyTransform>>);

impl Transforms {
    /// Adds one behind the others.
    pub fn install(&mut self, transform: Box<dyn BodyTransform>) {
        self.0.push(transform);
    }

    /// Whether bodies pass unchanged.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Sends `input` through all of them and appends what comes out.
    pub fn push(&mut self, input: &[u8], end: bool, out: &mut Vec<u8>) {
        run(&mut self.0, input, end, out);
    }

    /// Appends what is held back anywhere.
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
