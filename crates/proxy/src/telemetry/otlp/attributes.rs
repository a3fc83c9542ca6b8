//! Attributes: messages `KeyValue` of OTLP.

use std::borrow::Cow;

use super::protobuf::{put_bytes, put_int, put_message, put_string, put_uint};

/// Longest value of a text in bytes; the rest is cut off.
pub(crate) const MOST_TEXT: usize = 1024;

/// Writes attributes as a repeated field of the message that `out` is.
pub(crate) struct Attributes<'a> {
    out: &'a mut Vec<u8>,
    field: u32,
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, field: u32) -> Self {
        Self { out, field }
    }

    /// Writes a text, of which at most [`MOST_TEXT`] bytes stay. What is not UTF-8 is replaced: a collector would
    /// refuse the whole message.
    pub(crate) fn text(&mut self, key: &str, value: impl AsRef<[u8]>) {
        let text = clean(value.as_ref());
        self.put(key, |out| put_bytes(out, 1, text.as_bytes()));
    }

    pub(crate) fn truth(&mut self, key: &str, value: bool) {
        self.put(key, |out| put_uint(out, 2, value.into()));
    }

    pub(crate) fn int(&mut self, key: &str, value: i64) {
        self.put(key, |out| put_int(out, 3, value));
    }

    fn put(&mut self, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
        put_message(self.out, self.field, |out| {
            put_string(out, 1, key);
            put_message(out, 2, value);
        });
    }
}

/// The text of bytes, at most [`MOST_TEXT`] of them.
pub(crate) fn clean(value: &[u8]) -> Cow<'_, str> {
    let (kept, cut) = match value.split_at_checked(MOST_TEXT) {
        Some((kept, rest)) => (kept, !rest.is_empty()),
        None => (value, false),
    };
    match std::str::from_utf8(kept) {
        Ok(text) => Cow::Borrowed(text),
        // A character that the cut went through.
        Err(error) if cut && error.error_len().is_none() => {
            Cow::Owned(String::from_utf8_lossy(&kept[..error.valid_up_to()]).into_owned())
        }
        Err(_) => {
            let mut text = String::from_utf8_lossy(kept).into_owned();
            text.truncate(text.floor_char_boundary(MOST_TEXT));
            Cow::Owned(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_valid_and_short() {
        assert_eq!(clean(b"plain"), "plain");
        assert_eq!(clean(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(clean(&[b'a'; 1024]).len(), 1024);
        assert_eq!(clean(&[b'a'; 1025]).len(), 1024);
        let umlauts = "ü".repeat(600);
        assert_eq!(clean(format!("a{umlauts}").as_bytes()).len(), 1023, "no character is cut in two");
        assert!(clean(&[0xff; 2000]).len() <= 1024);
    }

    #[test]
    fn an_attribute_is_a_pair() {
        let mut out = Vec::new();
        let mut attributes = Attributes::new(&mut out, 9);
        attributes.text("a", "b");
        attributes.truth("c", true);
        attributes.int("d", 5);
        let text = [0x4a, 8, 0x0a, 1, b'a', 0x12, 3, 0x0a, 1, b'b'];
        let truth = [0x4a, 7, 0x0a, 1, b'c', 0x12, 2, 0x10, 1];
        let int = [0x4a, 7, 0x0a, 1, b'd', 0x12, 2, 0x18, 5];
        assert_eq!(out, [&text[..], &truth, &int].concat());
    }
}
