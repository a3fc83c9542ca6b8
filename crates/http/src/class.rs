//! Byte classes by table look-up, and searches that read eight bytes at a time.

/// A byte of a token (RFC 9110 section 5.6.2).
pub(crate) const TOKEN: u8 = 1;
/// A byte of a field value: HTAB, SP, VCHAR, obs-text.
pub(crate) const VALUE: u8 = 1 << 2;
/// A byte of a request target: VCHAR.
pub(crate) const TARGET: u8 = 1 << 3;
/// An unescaped byte of a canonical path: pchar and `/`, except `%` (RFC 3986 section 3.3).
pub(crate) const PATH: u8 = 1 << 4;
/// [`PATH`] without `;`, which starts parameters of a segment.
pub(crate) const PLAIN: u8 = 1 << 6;
/// An unreserved byte (RFC 3986 section 2.3); registered host names consist of these.
pub(crate) const UNRESERVED: u8 = 1 << 5;
/// A byte of a query: VCHAR without `#`.
pub(crate) const QUERY: u8 = 1 << 1;
/// [`TOKEN`] without capitals, as names of HTTP/2 are (RFC 9113 section 8.2.1).
pub(crate) const LOWER: u8 = 1 << 7;

static CLASSES: [u8; 256] = classes();

const fn contains(set: &[u8], byte: u8) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        let word = byte.is_ascii_alphanumeric();
        let mut class = 0;
        if word || contains(b"!#$%&'*+-.^_`|~", byte) {
            class |= TOKEN;
            if !byte.is_ascii_uppercase() {
                class |= LOWER;
            }
        }
        if byte == b'\t' || (byte >= 0x20 && byte != 0x7F) {
            class |= VALUE;
        }
        if byte > 0x20 && byte < 0x7F {
            class |= TARGET;
            if byte != b'#' {
                class |= QUERY;
            }
        }
        if word || contains(b"-._~!$&'()*+,;=:@/", byte) {
            class |= PATH;
            if byte != b';' {
                class |= PLAIN;
            }
        }
        if word || contains(b"-._~", byte) {
            class |= UNRESERVED;
        }
        table[i] = class;
        i += 1;
    }
    table
}

/// Returns true if `byte` has the class.
#[inline]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// Returns true if every byte has the class.
pub(crate) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| is(byte, class))
}

/// Returns true if `bytes` is a token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Marks bytes below `limit` (at most 0x80) and DEL. Marks above the lowest one may be wrong.
#[inline]
fn controls(word: u64, limit: u64) -> u64 {
    let del = word ^ (ONES * 0x7F);
    ((word.wrapping_sub(ONES * limit) & !word) | (del.wrapping_sub(ONES) & !del)) & TOPS
}

#[inline]
fn find(bytes: &[u8], from: usize, marks: impl Fn(u64) -> u64, stops: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = marks(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() && !stops(bytes[at]) {
        at += 1;
    }
    at
}

/// Returns the position of the first control character (including HTAB) at or after `from`, or the length of `bytes`.
#[inline]
pub(crate) fn control_from(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        if has_control(block) {
            break;
        }
        at += 16;
    }
    find(bytes, at, |word| controls(word, 0x20), |byte| byte < 0x20 || byte == 0x7F)
}

/// Written so that the compiler uses a few vector instructions for the block.
#[expect(clippy::needless_bitwise_bool, reason = "lazy operators are branches, sixteen times two of them")]
#[inline]
fn has_control(block: &[u8; 16]) -> bool {
    block.iter().fold(false, |found, &byte| found | (byte < 0x20) | (byte == 0x7F))
}

/// Returns the position of the first colon at or after `from`, or the length of `bytes`.
#[inline]
pub(crate) fn colon_from(bytes: &[u8], from: usize) -> usize {
    let marks = |word: u64| {
        let colon = word ^ (ONES * u64::from(b':'));
        colon.wrapping_sub(ONES) & !colon & TOPS
    };
    find(bytes, from, marks, |byte| byte == b':')
}

/// Returns true if `bytes` is allowed in a field value.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    let mut at = 0;
    loop {
        at = control_from(bytes, at);
        match bytes.get(at) {
            None => return true,
            Some(b'\t') => at += 1,
            Some(_) => return false,
        }
    }
}

/// Returns the position of the first byte at or after `from` that is not allowed in a request target, or the length of
/// `bytes`.
#[inline]
pub(crate) fn target_end_from(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |word| controls(word, 0x21) | (word & TOPS), |byte| !is(byte, TARGET))
}

/// Trims SP and HTAB.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let Some(first) = bytes.iter().position(|&byte| byte != b' ' && byte != b'\t') else { return &[] };
    let last = bytes.iter().rposition(|&byte| byte != b' ' && byte != b'\t').unwrap_or(first);
    &bytes[first..=last]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_agree_with_the_table_for_every_byte_at_every_place() {
        const LEN: usize = 45;
        for byte in 0..=255_u8 {
            for place in 0..LEN {
                let mut bytes = [b'a'; LEN];
                bytes[place] = byte;
                let control = byte == b'\t' || !is(byte, VALUE);
                assert_eq!(control_from(&bytes, 0), if control { place } else { LEN }, "{byte:#x}");
                assert_eq!(target_end_from(&bytes, 0), if is(byte, TARGET) { LEN } else { place }, "{byte:#x}");
                assert_eq!(colon_from(&bytes, 0), if byte == b':' { place } else { LEN }, "{byte:#x}");
                assert_eq!(is_value(&bytes), is(byte, VALUE), "{byte:#x}");
            }
        }
    }

    #[test]
    fn trims_blanks_only() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t"), b"");
        assert_eq!(trim(b""), b"");
    }
}
