//! The static table (RFC 7541 appendix A).

use super::field::HeadPart;

/// A field of the static table.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaticField {
    /// The field as a line of HTTP/1.
    pub(super) line: &'static [u8],
    /// Length of its name.
    pub(super) name_len: usize,
    /// What it is in a head.
    pub(super) part: HeadPart,
}

impl StaticField {
    /// Returns the name.
    pub(super) fn name(&self) -> &'static [u8] {
        &self.line[..self.name_len]
    }

    /// Returns the value.
    pub(super) fn value(&self) -> &'static [u8] {
        &self.line[self.name_len + 2..self.line.len() - 2]
    }
}

macro_rules! fields {
    ($($name:literal $value:literal,)*) => {
        /// The fields, of which the first has index 1.
        pub(super) static FIELDS: [StaticField; 61] = [
            $(StaticField {
                line: concat!($name, ": ", $value, "\r\n").as_bytes(),
                name_len: $name.len(),
                part: HeadPart::of_known($name),
            },)*
        ];
    };
}

fields! {
    ":authority" "",
    ":method" "GET",
    ":method" "POST",
    ":path" "/",
    ":path" "/index.html",
    ":scheme" "http",
    ":scheme" "https",
    ":status" "200",
    ":status" "204",
    ":status" "206",
    ":status" "304",
    ":status" "400",
    ":status" "404",
    ":status" "500",
    "accept-charset" "",
    "accept-encoding" "gzip, deflate",
    "accept-language" "",
    "accept-ranges" "",
    "accept" "",
    "access-control-allow-origin" "",
    "age" "",
    "allow" "",
    "authorization" "",
    "cache-control" "",
    "content-disposition" "",
    "content-encoding" "",
    "content-language" "",
    "content-length" "",
    "content-location" "",
    "content-range" "",
    "content-type" "",
    "cookie" "",
    "date" "",
    "etag" "",
    "expect" "",
    "expires" "",
    "from" "",
    "host" "",
    "if-match" "",
    "if-modified-since" "",
    "if-none-match" "",
    "if-range" "",
    "if-unmodified-since" "",
    "last-modified" "",
    "link" "",
    "location" "",
    "max-forwards" "",
    "proxy-authenticate" "",
    "proxy-authorization" "",
    "range" "",
    "referer" "",
    "refresh" "",
    "retry-after" "",
    "server" "",
    "set-cookie" "",
    "strict-transport-security" "",
    "transfer-encoding" "",
    "user-agent" "",
    "vary" "",
    "via" "",
    "www-authenticate" "",
}

const BITS: u32 = 8;
/// Makes `slot` free of collisions over the names. The compiler computes it.
const MULTIPLIER: u32 = multiplier();
/// Index of the first field of each name, by `slot`; 0 if there is none.
static SLOTS: [u8; 1 << BITS] = slots(MULTIPLIER).0;

/// Returns the index of the first field called `name`.
#[inline]
pub(super) fn index_of(name: &[u8]) -> Option<usize> {
    let index = usize::from(SLOTS[slot(key(name)?, MULTIPLIER)]);
    let field = FIELDS.get(index.checked_sub(1)?)?;
    (field.name() == name).then_some(index)
}

#[inline]
const fn key(name: &[u8]) -> Option<u32> {
    let len = name.len();
    if len == 0 {
        return None;
    }
    Some(u32::from_le_bytes([name[0], name[len / 2], name[len * 3 / 4], len as u8]))
}

#[inline]
const fn slot(key: u32, multiplier: u32) -> usize {
    (key.wrapping_mul(multiplier) >> (32 - BITS)) as usize
}

const fn slots(multiplier: u32) -> ([u8; 1 << BITS], bool) {
    let mut table = [0; 1 << BITS];
    let mut previous = 0;
    let mut i = 0;
    while i < FIELDS.len() {
        let Some(key) = key(FIELDS[i].line.split_at(FIELDS[i].name_len).0) else { return (table, false) };
        // Fields of one name follow each other.
        if key != previous {
            let at = slot(key, multiplier);
            if table[at] != 0 {
                return (table, false);
            }
            table[at] = i as u8 + 1;
            previous = key;
        }
        i += 1;
    }
    (table, true)
}

const fn multiplier() -> u32 {
    let mut candidate: u32 = 0x9E37_79B1;
    let mut tries = 0;
    while !slots(candidate).1 {
        assert!(tries < 4000, "two names have the same key");
        tries += 1;
        candidate = candidate.wrapping_mul(0x0019_660D).wrapping_add(0x3C6E_F35F) | 1;
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_at_their_first_field() {
        for (place, field) in FIELDS.iter().enumerate() {
            let first = FIELDS.iter().position(|other| other.name() == field.name()).unwrap();
            assert_eq!(index_of(field.name()), Some(first + 1), "{place}");
            assert_eq!(index_of(&[field.name(), b"s"].concat()), None);
        }
        assert_eq!(index_of(b""), None);
    }

    #[test]
    fn what_a_field_is_was_found_by_the_same_rules() {
        for field in &FIELDS {
            let part = HeadPart::of(field.line, field.name_len);
            assert_eq!(field.part, part, "{}", field.line.escape_ascii());
        }
    }
}
