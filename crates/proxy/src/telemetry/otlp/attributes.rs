//! Attributes: messages `KeyValue` of OTLP.

use std::borrow::Cow;

use super::protobuf::{field_len, put_head, put_int, put_string, put_uint, varint_len};

/// Longest value of a text in bytes; the rest is cut off.
pub(crate) const MOST_TEXT: usize = 1024;
/// Most bytes of a key and a text together whose pair is written at once.
const SHORT: usize = 0x7F - 6;

/// Tags of the fields of a pair, and of the kinds of values.
const KEY: u8 = 0x0a;
const VALUE: u8 = 0x12;
const TEXT: u8 = 0x0a;
const INT: u8 = 0x18;

/// Writes attributes as a repeated field of the message that `out` is.
pub(crate) struct Attributes<'a> {
    out: &'a mut Vec<u8>,
    field: u32,
}

impl<'a> Attributes<'a> {
    /// `field` is below 16.
    pub(crate) fn new(out: &'a mut Vec<u8>, field: u32) -> Self {
        Self { out, field }
    }

    /// Writes a text, of which at most [`MOST_TEXT`] bytes stay.
    #[expect(clippy::inline_always, reason = "most keys are known: they and their lengths become part of the code")]
    #[inline(always)]
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        if key.len() + value.len() > SHORT {
            return self.joined(key, [value]);
        }
        let length = value.len() as u8;
        self.short(key, [VALUE, length + 2, TEXT, length], length);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// Writes the text that the parts are together, of which at most [`MOST_TEXT`] bytes of the last one stay.
    pub(crate) fn joined<const N: usize>(&mut self, key: &str, mut parts: [&str; N]) {
        if let Some(last) = parts.last_mut() {
            *last = &last[..last.floor_char_boundary(MOST_TEXT)];
        }
        let length = parts.iter().map(|part| part.len()).sum();
        self.begin(key, field_len(length));
        put_head(self.out, 1, length);
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    /// Writes bytes as a text. What is not UTF-8 is replaced: a collector would refuse the whole message.
    #[inline]
    pub(crate) fn bytes(&mut self, key: &str, value: &[u8]) {
        self.text(key, &clean(value));
    }

    pub(crate) fn truth(&mut self, key: &str, value: bool) {
        self.begin(key, 2);
        put_uint(self.out, 2, value.into());
    }

    #[expect(clippy::inline_always, reason = "as of `text`")]
    #[inline(always)]
    pub(crate) fn int(&mut self, key: &str, value: i64) {
        match u8::try_from(value) {
            Ok(value @ 0..0x80) if key.len() <= SHORT => self.short(key, [VALUE, 2, INT, value], 0),
            _ => self.long_int(key, value),
        }
    }

    fn long_int(&mut self, key: &str, value: i64) {
        self.begin(key, 1 + varint_len(value.cast_unsigned()));
        put_int(self.out, 3, value);
    }

    /// Writes a pair of less than 128 bytes, but for the last `rest` of them. `value` is its second half.
    #[expect(clippy::inline_always, reason = "as of `text`")]
    #[inline(always)]
    fn short(&mut self, key: &str, value: [u8; 4], rest: u8) {
        let length = key.len() as u8;
        self.out.extend_from_slice(&[(self.field as u8) << 3 | 2, length + rest + 6, KEY, length]);
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(&value);
    }

    /// Writes the front of a pair, up to its value of `length` bytes.
    fn begin(&mut self, key: &str, length: usize) {
        put_head(self.out, self.field, field_len(key.len()) + field_len(length));
        put_string(self.out, 1, key);
        put_head(self.out, 2, length);
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
    use proptest::prelude::*;

    use super::super::reader::{WireField, bytes_of, fields};
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

    proptest! {
        #[test]
        fn pairs_of_any_length_are_read_as_they_were_written(
            key in "[a-z.]{1,300}",
            value in prop_oneof![".{0,140}", "[a-z]{1000,1100}"],
            number: i64,
        ) {
            let mut out = Vec::new();
            let mut attributes = Attributes::new(&mut out, 9);
            attributes.text(&key, &value);
            attributes.int(&key, number);
            attributes.int(&key, number & 0xFF);
            let pairs = fields(&out);
            let mut values = Vec::new();
            for (field, pair) in pairs {
                let WireField::Bytes(pair) = pair else { panic!("a pair") };
                let pair = fields(pair);
                prop_assert_eq!((field, bytes_of(&pair, 1)), (9, Some(key.as_bytes())));
                values.push(fields(bytes_of(&pair, 2).unwrap()));
            }
            let kept = &value[..value.floor_char_boundary(MOST_TEXT)];
            prop_assert_eq!(&values[0], &[(1, WireField::Bytes(kept.as_bytes()))]);
            prop_assert_eq!(&values[1], &[(3, WireField::Number(number.cast_unsigned()))]);
            prop_assert_eq!(&values[2], &[(3, WireField::Number((number & 0xFF).cast_unsigned()))]);
        }
    }
}
