//! The static table (RFC 7541 appendix A).

use super::field::HeadPart;
use crate::Name;
use crate::perfect_hash::{self, slot};

/// A field of the static table.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaticField {
    /// The field as a line of HTTP/1.
    pub(super) line: &'static [u8],
    /// Length of its name.
    pub(super) name_len: usize,
    /// The known name that it has, or `Other`.
    id: Name,
    /// What it is in a head.
    pub(super) part: HeadPart,
}

impl StaticField {
    /// Returns the name.
    pub(super) fn name(&self) -> &'static [u8] {
        &self.line[..self.name_len]
    }

    const fn has_value(&self) -> bool {
        self.line.len() > self.name_len + ": \r\n".len()
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
                id: Name::of_spelling($name),
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
const MULTIPLIER: u32 = perfect_hash::multiplier(&keys(), BITS);
/// The fields of each name, by `slot`; none from 0 on if there is no name.
static SLOTS: [SameName; 1 << BITS] = slots();

/// The fields of one name, which follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct SameName {
    /// Index of the first one; 0 if there is none.
    pub(super) first: u8,
    /// How many of them have a value.
    values: u8,
}

impl SameName {
    const NONE: Self = Self { first: 0, values: 0 };

    /// Returns those of a known name.
    #[inline]
    pub(super) fn of(name: Name) -> Self {
        BY_NAME[name as usize]
    }

    /// Returns the index of the one that has this value, unless it is empty.
    #[inline]
    pub(super) fn index_of(self, value: &[u8]) -> Option<usize> {
        if self.values == 0 {
            return None;
        }
        let first = usize::from(self.first);
        let fields = FIELDS.get(first - 1..first - 1 + usize::from(self.values))?;
        fields.iter().position(|field| field.value() == value).map(|place| first + place)
    }
}

/// The fields of each known name.
static BY_NAME: [SameName; Name::COUNT] = by_name();

const fn by_name() -> [SameName; Name::COUNT] {
    let mut table = [SameName::NONE; Name::COUNT];
    let mut i = 0;
    while i < FIELDS.len() {
        let id = FIELDS[i].id;
        if !matches!(id, Name::Other) {
            table[id as usize] = SameName { first: i as u8 + 1, values: FIELDS[i].has_value() as u8 };
        }
        i += 1;
    }
    table
}

/// Returns the fields called `name`, which has no capitals.
#[inline]
pub(super) fn find(name: &[u8]) -> SameName {
    let Some(key) = key(name) else { return SameName::NONE };
    let same = SLOTS[slot(key, MULTIPLIER, BITS)];
    let field = FIELDS.get(usize::from(same.first).wrapping_sub(1));
    if field.is_some_and(|field| field.name() == name) { same } else { SameName::NONE }
}

#[inline]
const fn key(name: &[u8]) -> Option<u32> {
    let len = name.len();
    if len == 0 {
        return None;
    }
    Some(u32::from_le_bytes([name[0], name[len / 2], name[len * 3 / 4], len as u8]))
}

const fn keys() -> [u32; FIELDS.len()] {
    let mut keys = [0; FIELDS.len()];
    let mut i = 0;
    while i < FIELDS.len() {
        let Some(key) = key(FIELDS[i].line.split_at(FIELDS[i].name_len).0) else { panic!("a field without a name") };
        keys[i] = key;
        i += 1;
    }
    keys
}

const fn slots() -> [SameName; 1 << BITS] {
    let (mut table, keys) = ([SameName::NONE; 1 << BITS], keys());
    let mut i = 0;
    while i < FIELDS.len() {
        let same = &mut table[slot(keys[i], MULTIPLIER, BITS)];
        if same.first == 0 {
            same.first = i as u8 + 1;
        }
        same.values += FIELDS[i].has_value() as u8;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_found() {
        for (place, field) in FIELDS.iter().enumerate() {
            let first = FIELDS.iter().position(|other| other.name() == field.name()).unwrap();
            let with_value = |other: &&StaticField| other.name() == field.name() && !other.value().is_empty();
            let values = FIELDS.iter().filter(with_value).count();
            let mut ways = vec![find(field.name())];
            if field.id != Name::Other {
                ways.push(SameName::of(field.id));
            }
            for same in ways {
                assert_eq!((usize::from(same.first), usize::from(same.values)), (first + 1, values), "{place}");
                assert_eq!(same.index_of(field.value()), (!field.value().is_empty()).then_some(place + 1));
                assert_eq!(same.index_of(b"another"), None);
            }
            assert_eq!(find(&[field.name(), b"s"].concat()).first, 0);
        }
        assert_eq!(find(b"").first, 0);
        assert_eq!((SameName::of(Name::XRequestId).first, SameName::of(Name::Other).first), (0, 0));
    }

    #[test]
    fn what_a_field_is_was_found_by_the_same_rules() {
        for field in &FIELDS {
            let part = HeadPart::of(field.line, field.name_len);
            assert_eq!(field.part, part, "{}", field.line.escape_ascii());
        }
    }
}
