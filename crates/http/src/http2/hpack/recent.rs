//! What an encoder remembers of the fields that it has encoded: which of them are in the table, and which come again.
//!
//! A field with a name that every table knows comes into the table the second time that it is seen: values that are
//! always new do not push out those that come again. One with any other name does if no field in the table has its name.

use super::dynamic_table::DynamicTable;

const FIELDS: usize = 128;
const NAMES: usize = 32;

/// Fields by their hashes: one for each slot, the last. Whoever makes hashes collide makes blocks longer, not slower.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    /// Empty before the first field.
    fields: Vec<Slot>,
    /// Numbers of the last fields by hashes of their names.
    names: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hash: u32,
    /// Number of the field in the table, if it is there.
    number: u32,
}

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

impl Recent {
    /// Looks for a field. `known`: its name is in the static table.
    pub(super) fn look(&mut self, table: &DynamicTable, name: &[u8], value: &[u8], known: bool) -> Sight {
        if self.fields.is_empty() {
            self.fields.resize(FIELDS, Slot::default());
            self.names.resize(NAMES, 0);
        }
        let hash = hash(name, value);
        let slot = &mut self.fields[hash as usize % FIELDS];
        let seen = slot.hash == hash;
        if seen {
            if let Some((place, field)) = table.numbered(slot.number)
                && field.name() == name
                && field.value() == value
            {
                return Sight::Indexed(place);
            }
        } else {
            *slot = Slot { hash, number: 0 };
        }
        if known {
            return if seen { Sight::Again(None) } else { Sight::New(None) };
        }
        let named = table.numbered(self.names[hash_of(name) as usize % NAMES]);
        match named.filter(|(_, field)| field.name() == name) {
            Some((place, _)) if seen => Sight::Again(Some(place)),
            Some((place, _)) => Sight::New(Some(place)),
            None => Sight::Again(None),
        }
    }

    /// Remembers that a field that was looked for is now the newest of the table.
    pub(super) fn added(&mut self, table: &DynamicTable, name: &[u8], value: &[u8]) {
        let (number, hash) = (table.added(), hash(name, value));
        self.fields[hash as usize % FIELDS] = Slot { hash, number };
        self.names[hash_of(name) as usize % NAMES] = number;
    }
}

fn hash(name: &[u8], value: &[u8]) -> u32 {
    (u64::from(hash_of(name)) << 32 | u64::from(hash_of(value))).wrapping_mul(MULTIPLIER).rotate_left(32) as u32 | 1
}

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Returns a hash of the length and of up to 24 bytes, the first, the last and those in the middle.
fn hash_of(bytes: &[u8]) -> u32 {
    let len = bytes.len();
    let word = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let words = if len >= 8 {
        let middle = word((len - 8) / 2).wrapping_mul(MULTIPLIER).rotate_left(23);
        word(0) ^ word(len - 8).rotate_left(17) ^ middle
    } else {
        bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    ((words ^ len as u64).wrapping_mul(MULTIPLIER) >> 32) as u32
}
