//! Encodes blocks of fields (RFC 7541 section 6).

use super::dynamic_table::{DynamicTable, OVERHEAD};
use super::recent::{Recent, Sight};
use super::static_table::{FIELDS, SameName};
use super::{huffman, integer, static_table};
use crate::Name;

/// Size in bytes that the table has at most, whatever the peer allows; what it is before any SETTINGS (RFC 9113 section
/// 6.5.2).
const MOST: usize = 4096;
/// Indexes of `authorization`, `cookie`, `proxy-authorization` and `set-cookie` in the static table.
const SENSITIVE: [u8; 4] = [23, 32, 49, 55];
/// Index of `content-length` in the static table. One in the dynamic table would hardly be shorter than its value.
const CONTENT_LENGTH: u8 = 28;

/// Encodes the blocks that are sent over a connection. Its memory is bounded: the table has at most 4,096 bytes.
#[derive(Clone, Debug)]
pub struct HpackEncoder {
    /// Each field has the index of its name in the static table, or 0.
    table: DynamicTable<u8>,
    /// The smallest size since the last block, if it has changed: the next one begins by saying so.
    smallest: Option<usize>,
    recent: Recent,
    /// A name without capitals.
    name: Vec<u8>,
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
        Self {
            table: DynamicTable::new(MOST),
            smallest: None,
            recent: Recent::default(),
            name: Vec::new(),
            line: Vec::new(),
        }
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

    /// Appends a field. `name` has no capitals. A sensitive field comes into no table, neither here nor at whoever it
    /// is sent on to (RFC 7541 section 7.1.3). `authorization`, `proxy-authorization`, `cookie` and `set-cookie` always
    /// are.
    #[inline]
    pub fn encode(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], sensitive: bool) {
        self.put(out, static_table::find(name), name, value, sensitive);
    }

    /// Like [`encode`](Self::encode), for a field line of HTTP/1, whose name may have capitals. `id` is the known name
    /// that it spells with `-`.
    #[inline]
    pub fn encode_line(&mut self, out: &mut Vec<u8>, id: Name, name: &[u8], value: &[u8], sensitive: bool) {
        let same = SameName::of(id);
        if same.first > 0 {
            self.put(out, same, b"", value, sensitive);
            return;
        }
        let mut lower = std::mem::take(&mut self.name);
        lower.clear();
        lower.extend_from_slice(name);
        lower.make_ascii_lowercase();
        // The static table has no field of a known name that `SameName` does not know.
        let same = if id == Name::Other { static_table::find(&lower) } else { same };
        self.put(out, same, &lower, value, sensitive);
        self.name = lower;
    }

    /// Appends a field, whose `name` is only looked at if the static table does not have it.
    fn put(&mut self, out: &mut Vec<u8>, same: SameName, name: &[u8], value: &[u8], sensitive: bool) {
        if self.smallest.is_some() {
            self.say_size(out);
        }
        if let Some(index) = same.index_of(value) {
            out.push(0x80 | index as u8);
            return;
        }
        let known = same.first;
        let sensitive = sensitive || SENSITIVE.contains(&known);
        let index = |place: Option<usize>| place.map_or(usize::from(known), |place| FIELDS.len() + 1 + place);
        // What does not come again, or would leave room for little else.
        let size = name.len() + value.len() + OVERHEAD;
        if sensitive || known == CONTENT_LENGTH || size > self.table.max() / 4 * 3 {
            literal(out, if sensitive { 0x10 } else { 0 }, usize::from(known), name, value);
            return;
        }
        match self.recent.look(&self.table, known, name, value) {
            Sight::Indexed(place) => integer::write(out, 0x80, 7, FIELDS.len() + 1 + place),
            Sight::New(same) => literal(out, 0, index(same), name, value),
            Sight::Again(same) => {
                literal_for_table(out, index(same), name, value);
                let name = known.checked_sub(1).map_or(name, |place| FIELDS[usize::from(place)].name());
                self.line.clear();
                for part in [name, b": ", value, b"\r\n"] {
                    self.line.extend_from_slice(part);
                }
                self.table.add(&self.line, name.len(), known);
                self.recent.added(&self.table, known);
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

/// Appends a literal that comes into no table (RFC 7541 sections 6.2.2 and 6.2.3). Its texts are plain: Huffman coding
/// would save about a quarter of them, and cost both sides more than everything else about the field.
fn literal(out: &mut Vec<u8>, mark: u8, index: usize, name: &[u8], value: &[u8]) {
    if (15..15 + 0x80).contains(&index) && value.len() < 0x7F {
        out.extend_from_slice(&[mark | 0x0F, (index - 15) as u8, value.len() as u8]);
        out.extend_from_slice(value);
        return;
    }
    integer::write(out, mark, 4, index);
    if index == 0 {
        text(out, name);
    }
    text(out, value);
}

/// Appends a literal that comes into the table (RFC 7541 section 6.2.1). Its texts are Huffman-coded where that is
/// shorter: few fields ever are, and those of the first answer, which is waited for, among them.
fn literal_for_table(out: &mut Vec<u8>, index: usize, name: &[u8], value: &[u8]) {
    integer::write(out, 0x40, 6, index);
    if index == 0 {
        short_text(out, name);
    }
    short_text(out, value);
}

/// Appends a text (RFC 7541 section 5.2) as it is.
fn text(out: &mut Vec<u8>, text: &[u8]) {
    integer::write(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// Appends a text as short as it can be.
fn short_text(out: &mut Vec<u8>, plain: &[u8]) {
    let coded = huffman::encoded_len(plain);
    if coded >= plain.len() {
        text(out, plain);
        return;
    }
    integer::write(out, 0x80, 7, coded);
    huffman::encode(plain, out);
}

#[cfg(test)]
mod tests;
