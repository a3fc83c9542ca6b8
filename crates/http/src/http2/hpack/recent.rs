//! What an encoder remembers of the fields that it has encoded: which of them are in the table, and which come again.
//!
//! A field with a name that every table knows comes into the table the second time that it is seen: values that are
//! always new do not push out those that come again. One with any other name also does if no field in the table has its
//! name.

use super::dynamic_table::DynamicTable;
use super::static_table::FIELDS;

/// How a field was seen. The place is that of a field in the table with the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is in the table.
    Indexed(usize),
    /// It is to come into the table.
    Again(Option<usize>),
    /// It is not to come into the table.
    New(Option<usize>),
}

/// Fields and names by their hashes.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    /// Number of the last field of each name of the static table, by its index: most fields are what they were.
    last: [u32; KNOWN],
    fields: RecentSlots<32>,
    names: RecentSlots<16>,
    /// Hashes of the field that was looked for.
    field: u32,
    name: u32,
}

/// Indexes of the static table, 0 included.
const KNOWN: usize = FIELDS.len() + 1;

impl Default for Recent {
    fn default() -> Self {
        let (fields, names) = (RecentSlots::default(), RecentSlots::default());
        Self { last: [NOT_ADDED; KNOWN], fields, names, field: 0, name: 0 }
    }
}

impl Recent {
    /// Looks for a field. `known` is the index of its name in the static table, and what is noted of each field of the
    /// table; 0 if it has none. Only then `name` is looked at.
    pub(super) fn look(&mut self, table: &DynamicTable<u8>, known: u8, name: &[u8], value: &[u8]) -> Sight {
        let same = |number: u32| {
            let (place, field) = table.numbered(number)?;
            let same = field.note == known && (known > 0 || field.name() == name) && field.value() == value;
            same.then_some(place)
        };
        let last = self.last[usize::from(known)];
        if known > 0
            && let Some(place) = same(last)
        {
            return Sight::Indexed(place);
        }
        self.name = if known == 0 { hash_of(name) } else { u32::from(known).wrapping_mul(MULTIPLIER as u32) };
        self.field = hash_of(value).wrapping_add(self.name.rotate_left(15)).wrapping_mul(MULTIPLIER as u32);
        let number = self.fields.find(self.field);
        if let Some(number) = number
            && let Some(place) = same(number)
        {
            self.last[usize::from(known)] = number;
            return Sight::Indexed(place);
        }
        if number.is_none() {
            self.fields.put(table, self.field, NOT_ADDED);
        }
        if known > 0 {
            return if number.is_some() { Sight::Again(None) } else { Sight::New(None) };
        }
        let same = self.names.find(self.name).and_then(|number| table.numbered(number));
        match same.filter(|(_, field)| field.name() == name) {
            Some((place, _)) if number.is_some() => Sight::Again(Some(place)),
            Some((place, _)) => Sight::New(Some(place)),
            None => Sight::Again(None),
        }
    }

    /// Remembers that the field that was looked for is now the newest of the table. `known`: as above.
    pub(super) fn added(&mut self, table: &DynamicTable<u8>, known: u8) {
        self.last[usize::from(known)] = table.added();
        self.fields.put(table, self.field, table.added());
        if known == 0 {
            self.names.put(table, self.name, table.added());
        }
    }
}

/// Number of a field that did not come into the table.
const NOT_ADDED: u32 = 0;
const WAYS: usize = 4;

/// Numbers of fields by hashes, in sets of which each hash has one. Whoever makes hashes collide makes blocks longer,
/// not slower.
#[derive(Clone, Debug, Default)]
struct RecentSlots<const SETS: usize> {
    /// Each with its last slot in front.
    sets: Vec<[RecentSlot; WAYS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RecentSlot {
    hash: u32,
    number: u32,
}

impl<const SETS: usize> RecentSlots<SETS> {
    /// Returns the set of a hash, whose first bits are better than its last.
    #[inline]
    fn set(hash: u32) -> usize {
        (hash as usize * SETS) >> 32
    }

    /// Returns the number of the last field with this hash.
    #[inline]
    fn find(&self, hash: u32) -> Option<u32> {
        let set = self.sets.get(Self::set(hash))?;
        set.iter().find(|slot| slot.hash == hash).map(|slot| slot.number)
    }

    /// Sets the number for this hash, in place of one whose field is no longer in the table if there is one.
    fn put(&mut self, table: &DynamicTable<u8>, hash: u32, number: u32) {
        if self.sets.is_empty() {
            self.sets.resize(SETS, [RecentSlot::default(); WAYS]);
        }
        let set = &mut self.sets[Self::set(hash)];
        let place = set.iter().position(|slot| slot.hash == hash);
        let place = place.or_else(|| set.iter().rposition(|slot| table.numbered(slot.number).is_none()));
        let used = &mut set[..=place.unwrap_or(WAYS - 1)];
        used.rotate_right(1);
        used[0] = RecentSlot { hash, number };
    }
}

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Returns a hash of the length and of up to 20 bytes: the first, the last and those in the middle.
#[inline]
fn hash_of(bytes: &[u8]) -> u32 {
    let words = match (bytes.first_chunk::<8>(), bytes[bytes.len() / 2..].first_chunk(), bytes.last_chunk::<8>()) {
        (Some(first), middle, Some(last)) => {
            let middle = u32::from_le_bytes(middle.copied().unwrap_or_default());
            let last = u64::from_le_bytes(*last) ^ u64::from(middle).rotate_left(40);
            u64::from_le_bytes(*first) ^ last.wrapping_mul(MULTIPLIER).rotate_left(29)
        }
        _ => bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    ((words ^ bytes.len() as u64).wrapping_mul(MULTIPLIER) >> 32) as u32
}
