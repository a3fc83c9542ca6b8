//! Decodes blocks of fields (RFC 7541 section 3).

use super::dynamic_table::{DynamicTable, OVERHEAD, PUNCTUATION, TableField};
use super::field::{HeadPart, HpackField};
use super::{huffman, integer, static_table};

/// Size in bytes up to which the buffer for literals is kept from block to block.
const KEPT: usize = 4096;

/// Why a block was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HpackError<E> {
    /// It breaks a rule of RFC 7541: the connection ends with `COMPRESSION_ERROR` (RFC 9113 section 4.3), because the
    /// table may no longer be that of the peer.
    Compression(&'static str),
    /// Its fields are larger than what was advertised as `SETTINGS_MAX_HEADER_LIST_SIZE`. The table is in step.
    ListTooLarge,
    /// The caller refused a field. The table is in step.
    Refused(E),
}

/// Decodes the blocks that a peer sends over a connection. Its memory is bounded by the size of the table, of which
/// there are up to two, and by the last block.
#[derive(Clone, Debug)]
pub struct HpackDecoder {
    table: DynamicTable<HeadPart>,
    /// What the table's size may be, as advertised.
    max_table: usize,
    /// The smallest that has been advertised since the last block, if the table is larger: the next block has to begin
    /// with an update that says as much (RFC 7541 section 4.2).
    due: Option<usize>,
    max_list: usize,
    /// A literal field as a line.
    line: Vec<u8>,
}

/// A block while it is read.
struct Reader<'b> {
    rest: &'b [u8],
}

impl HpackDecoder {
    /// Creates a decoder that has advertised `max_table` as `SETTINGS_HEADER_TABLE_SIZE` and `max_list` as
    /// `SETTINGS_MAX_HEADER_LIST_SIZE`, both in bytes.
    pub fn new(max_table: usize, max_list: usize) -> Self {
        Self { table: DynamicTable::new(max_table), max_table, due: None, max_list, line: Vec::new() }
    }

    /// Changes what the table's size may be, once the peer has acknowledged it.
    pub fn set_max_table(&mut self, max_table: usize) {
        self.max_table = max_table;
        if max_table < self.table.max() {
            self.due = Some(self.due.map_or(max_table, |due| due.min(max_table)));
        }
    }

    /// Decodes a whole block and calls `each` with its fields in order. After the first that `each` refuses, or that
    /// makes the list too large, it only keeps the table in step.
    pub fn decode<E>(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(HpackField<'_>) -> Result<(), E>,
    ) -> Result<(), HpackError<E>> {
        let mut reader = Reader { rest: block };
        self.size_updates(&mut reader).map_err(HpackError::Compression)?;
        let (mut list, mut outcome) = (0_usize, Ok(()));
        let max_list = self.max_list;
        let mut found = |field: TableField<'_, HeadPart>, never_indexed| {
            list = list.saturating_add(field.line.len() - PUNCTUATION + OVERHEAD);
            if outcome.is_err() {
                return;
            }
            outcome = if list > max_list {
                Err(HpackError::ListTooLarge)
            } else {
                each(HpackField::new(field.line, field.name_len, field.note, never_indexed))
                    .map_err(HpackError::Refused)
            };
        };
        while let Some(&first) = reader.rest.first() {
            if first & 0x80 != 0 {
                let index = reader.integer(7).map_err(HpackError::Compression)?;
                found(self.field(index).map_err(HpackError::Compression)?, false);
            } else if first & 0xE0 == 0x20 {
                return Err(HpackError::Compression("a table size update after a field"));
            } else {
                let indexed = first & 0x40 != 0;
                let (name_len, part) =
                    self.literal(&mut reader, if indexed { 6 } else { 4 }).map_err(HpackError::Compression)?;
                found(TableField { line: &self.line, name_len, note: part }, first & 0xF0 == 0x10);
                if indexed {
                    self.table.add(&self.line, name_len, part);
                }
            }
        }
        self.line.clear();
        self.line.shrink_to(KEPT);
        outcome
    }

    fn size_updates(&mut self, reader: &mut Reader<'_>) -> Result<(), &'static str> {
        while let Some(&first) = reader.rest.first()
            && first & 0xE0 == 0x20
        {
            let size = reader.integer(5)?;
            if size > self.max_table {
                return Err("a table size update above what was advertised");
            }
            if self.due.take().is_some_and(|due| size > due) {
                return Err("a table size update that does not follow what was advertised");
            }
            self.table.set_max(size);
        }
        if self.due.is_some() { Err("no table size update after a smaller one was advertised") } else { Ok(()) }
    }

    /// Returns the field with this index (RFC 7541 section 2.3.3).
    #[inline]
    fn field(&self, index: usize) -> Result<TableField<'_, HeadPart>, &'static str> {
        let Some(place) = index.checked_sub(1) else { return Err("index 0") };
        if let Some(field) = static_table::FIELDS.get(place) {
            return Ok(TableField { line: field.line, name_len: field.name_len, note: field.part });
        }
        self.table.get(place - static_table::FIELDS.len()).ok_or("an index beyond the table")
    }

    /// Reads a literal into `self.line`. Returns the length of its name, and what it is.
    fn literal(&mut self, reader: &mut Reader<'_>, bits: u32) -> Result<(usize, HeadPart), &'static str> {
        let index = reader.integer(bits)?;
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let mut known = HeadPart::Malformed;
        if index == 0 {
            reader.text(&mut line)?;
        } else {
            let field = self.field(index)?;
            known = field.note;
            line.extend_from_slice(&field.line[..field.name_len]);
        }
        let name_len = line.len();
        line.extend_from_slice(b": ");
        reader.text(&mut line)?;
        line.extend_from_slice(b"\r\n");
        let part = if known == HeadPart::Malformed {
            HeadPart::of(&line, name_len)
        } else {
            known.with_value(&line[name_len + 2..line.len() - 2])
        };
        self.line = line;
        Ok((name_len, part))
    }
}

impl Reader<'_> {
    #[inline]
    fn integer(&mut self, bits: u32) -> Result<usize, &'static str> {
        let (value, len) = integer::read(self.rest, bits)?;
        self.rest = &self.rest[len..];
        Ok(value)
    }

    /// Appends a text (RFC 7541 section 5.2) to `out`.
    #[inline]
    fn text(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let coded = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let len = self.integer(7)?;
        let Some((text, rest)) = self.rest.split_at_checked(len) else { return Err("a block that ends in a text") };
        self.rest = rest;
        if coded {
            huffman::decode(text, out)
        } else {
            out.extend_from_slice(text);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
