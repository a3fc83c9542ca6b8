//! Parses queries as forms encode them: `name=value` joined by `&`, with `%XX` and `+` (WHATWG URL Standard section
//! 5.1).
//!
//! Routing, authentication, validation and logs all use these functions, so that they agree on the names of parameters.

use std::borrow::Cow;

/// Returns the parameters of a query as sent. A part without `=` is a name with an empty value; empty parts are
/// skipped.
pub fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| *byte == b'&').filter(|part| !part.is_empty()).map(pair)
}

/// Splits a part of a query into name and value, as sent.
pub fn pair(part: &[u8]) -> (&[u8], &[u8]) {
    let cut = memchr::memchr(b'=', part).unwrap_or(part.len());
    (&part[..cut], part.get(cut + 1..).unwrap_or_default())
}

/// Decodes `%XX` and `+` in a name or value; invalid escapes stay as they are. Allocates only if there is something to
/// decode.
pub fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    decode_into(text, &mut out);
    Cow::Owned(out)
}

/// Like [`decoded`], but uses the caller's memory.
pub fn decoded_in<'a>(text: &'a [u8], memory: &'a mut Vec<u8>) -> &'a [u8] {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return text;
    }
    memory.clear();
    decode_into(text, memory);
    memory
}

fn decode_into(text: &[u8], out: &mut Vec<u8>) {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_names_and_values() {
        let found: Vec<_> = pairs(b"a=1&&b&c=d=e&=f").collect();
        let wanted: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b", b""), (b"c", b"d=e"), (b"", b"f")];
        assert_eq!(found, wanted);
    }

    #[test]
    fn escapes_are_decoded_and_what_is_none_stays() {
        let mut memory = Vec::new();
        for (text, plain) in
            [("a+b", "a b"), ("%6Bey", "key"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("plain", "plain")]
        {
            assert_eq!(&*decoded(text.as_bytes()), plain.as_bytes());
            assert_eq!(decoded_in(text.as_bytes(), &mut memory), plain.as_bytes());
        }
    }
}
