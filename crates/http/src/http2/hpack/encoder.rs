//! Encodes blocks of fields (RFC 7541 section 6).

use super::dynamic_table::{DynamicTable, OVERHEAD};
use super::field::HeadPart;
use super::recent::{Recent, Sight};
use super::static_table::FIELDS;
use super::{huffman, integer, static_table};

/// Size in bytes that the table has at most, whatever the peer allows; what it is before any SETTINGS (RFC 9113 section
/// 6.5.2).
const MOST: usize = 4096;
/// Fields with credentials.
const SENSITIVE: [&[u8]; 4] = [b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"];

/// How a literal begins (RFC 7541 section 6.2): its mark, and the bits of its index.
type Kind = (u8, u32);
const INTO_TABLE: Kind = (0x40, 6);
const WITHOUT_INDEX: Kind = (0, 4);
const NEVER_INDEXED: Kind = (0x10, 4);

/// Encodes the blocks that are sent over a connection. Its memory is bounded: the table has at most 4,096 bytes.
#[derive(Clone, Debug)]
pub struct HpackEncoder {
    table: DynamicTable,
    /// The smallest size since the last block, if it has changed: the next one begins by saying so.
    smallest: Option<usize>,
    recent: Recent,
    /// A field on its way into the table.
    line: Vec<u8>,
}

impl Default for HpackEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl HpackEncoder {
    /// Creates an encoder for a new connection.
    pub fn new() -> Self {
        Self { table: DynamicTable::new(MOST), smallest: None, recent: Recent::default(), line: Vec::new() }
    }

    /// Keeps to the peer's `SETTINGS_HEADER_TABLE_SIZE`, in bytes. To be called between two blocks, before the settings
    /// are acknowledged.
    pub fn set_max_table(&mut self, max: usize) {
        let (before, max) = (self.table.max(), max.min(MOST));
        if max != before {
            self.smallest = Some(self.smallest.unwrap_or(before).min(max));
            self.table.set_max(max);
        }
    }

    /// Appends a field. `name` has no capitals. A sensitive field comes into no table, neither here nor at whoever it is
    /// sent on to (RFC 7541 section 7.1.3); `authorization`, `proxy-authorization`, `cookie` and `set-cookie` always
    /// are.
    pub fn encode(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], sensitive: bool) {
        if self.smallest.is_some() {
            self.say_size(out);
        }
        let first = static_table::index_of(name);
        if let Some(index) =
            first.and_then(|first| same_name(first, name).find(|&index| FIELDS[index - 1].value() == value))
        {
            integer::write(out, 0x80, 7, index);
            return;
        }
        let sensitive = sensitive || SENSITIVE.contains(&name);
        let size = name.len() + value.len() + OVERHEAD;
        // What does not come again, or would leave no room for anything else.
        if sensitive || name == b"content-length" || size > self.table.max() / 4 * 3 {
            literal(out, if sensitive { NEVER_INDEXED } else { WITHOUT_INDEX }, first, name, value);
            return;
        }
        match self.recent.look(&self.table, name, value, first.is_some()) {
            Sight::Indexed(place) => integer::write(out, 0x80, 7, FIELDS.len() + 1 + place),
            Sight::New(same) => {
                let index = first.or(same.map(|place| FIELDS.len() + 1 + place));
                literal(out, WITHOUT_INDEX, index, name, value);
            }
            Sight::Again(same) => {
                let index = first.or(same.map(|place| FIELDS.len() + 1 + place));
                literal(out, INTO_TABLE, index, name, value);
                self.line.clear();
                for part in [name, b": ", value, b"\r\n"] {
                    self.line.extend_from_slice(part);
                }
                self.table.add(&self.line, name.len(), HeadPart::Malformed);
                self.recent.added(&self.table, name, value);
            }
        }
    }

    /// Tells the peer what the table's size is, and what it was in between (RFC 7541 section 4.2).
    #[cold]
    fn say_size(&mut self, out: &mut Vec<u8>) {
        let size = self.table.max();
        if let Some(smallest) = self.smallest.take().filter(|&smallest| smallest < size) {
            integer::write(out, 0x20, 5, smallest);
        }
        integer::write(out, 0x20, 5, size);
    }
}

/// Returns the indexes of the fields of the static table that have the name of the first one.
fn same_name(first: usize, name: &[u8]) -> impl Iterator<Item = usize> {
    (first..=FIELDS.len()).take_while(move |index| FIELDS[index - 1].name() == name)
}

fn literal(out: &mut Vec<u8>, (mark, bits): Kind, index: Option<usize>, name: &[u8], value: &[u8]) {
    integer::write(out, mark, bits, index.unwrap_or(0));
    if index.is_none() {
        text(out, name);
    }
    text(out, value);
}

/// Appends a text (RFC 7541 section 5.2).
fn text(out: &mut Vec<u8>, text: &[u8]) {
    let coded = huffman::encoded_len(text);
    if coded < text.len() {
        integer::write(out, 0x80, 7, coded);
        huffman::encode(text, out);
    } else {
        integer::write(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests;
