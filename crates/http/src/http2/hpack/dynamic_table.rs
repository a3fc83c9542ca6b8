//! The dynamic table (RFC 7541 section 2.3.2): lines of HTTP/1 one after the other in one buffer, the oldest first.

use std::collections::VecDeque;

/// What a field costs besides its name and value (RFC 7541 section 4.1).
pub(super) const OVERHEAD: usize = 32;
/// What a line has besides its name and value.
pub(super) const PUNCTUATION: usize = ": \r\n".len();

/// The most recent fields, within a size, each with a note.
#[derive(Clone, Debug)]
pub(super) struct DynamicTable<N> {
    /// The lines. As an entry costs more than its line has punctuation, they are never larger than the table may be.
    bytes: Vec<u8>,
    /// Position of the first byte of `bytes`, counted from the first byte that ever was in it.
    base: u32,
    entries: VecDeque<TableEntry<N>>,
    /// Number of fields that were ever added.
    added: u32,
    size: usize,
    max: usize,
}

#[derive(Clone, Copy, Debug)]
struct TableEntry<N> {
    /// Position of its line, counted like `base`.
    start: u32,
    len: u32,
    name_len: u32,
    note: N,
}

/// A field of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableField<'a, N> {
    /// The field as a line of HTTP/1.
    pub(super) line: &'a [u8],
    /// Length of its name.
    pub(super) name_len: usize,
    /// What was noted about it.
    pub(super) note: N,
}

impl<'a, N> TableField<'a, N> {
    /// Returns the name.
    pub(super) fn name(&self) -> &'a [u8] {
        &self.line[..self.name_len]
    }

    /// Returns the value.
    pub(super) fn value(&self) -> &'a [u8] {
        &self.line[self.name_len + 2..self.line.len() - 2]
    }
}

impl<N: Copy> DynamicTable<N> {
    /// Creates an empty table of at most `max` bytes as RFC 7541 section 4.1 counts them.
    pub(super) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), base: 0, entries: VecDeque::new(), added: 0, size: 0, max }
    }

    /// Returns its size in bytes as RFC 7541 section 4.1 counts them.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Returns what its size may be.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Returns the number of the newest field, counted from 1 on.
    pub(super) fn added(&self) -> u32 {
        self.added
    }

    /// Returns the field with this number, and its place.
    pub(super) fn numbered(&self, number: u32) -> Option<(usize, TableField<'_, N>)> {
        let place = self.added.wrapping_sub(number) as usize;
        self.get(place).map(|field| (place, field))
    }

    /// Changes what its size may be, and removes what no longer fits.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.make_room(0);
    }

    /// Returns the field at `place`: 0 is the newest.
    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<TableField<'_, N>> {
        let entry = self.entries.get(self.entries.len().checked_sub(place + 1)?)?;
        let start = entry.start.wrapping_sub(self.base) as usize;
        let line = self.bytes.get(start..start + entry.len as usize)?;
        Some(TableField { line, name_len: entry.name_len as usize, note: entry.note })
    }

    /// Adds a line. If it is larger than the table may be, the table is empty afterwards (RFC 7541 section 4.4).
    pub(super) fn add(&mut self, line: &[u8], name_len: usize, note: N) {
        let size = line.len() - PUNCTUATION + OVERHEAD;
        if !self.make_room(size) {
            return;
        }
        let front = self.entries.front().map_or(self.bytes.len(), |oldest| self.offset(oldest));
        if front == self.bytes.len() || self.bytes.len() + line.len() > self.max {
            self.bytes.drain(..front);
            self.base = self.base.wrapping_add(front as u32);
        }
        let start = self.base.wrapping_add(self.bytes.len() as u32);
        self.bytes.extend_from_slice(line);
        self.entries.push_back(TableEntry { start, len: line.len() as u32, name_len: name_len as u32, note });
        self.size += size;
        self.added = self.added.wrapping_add(1);
    }

    fn offset(&self, entry: &TableEntry<N>) -> usize {
        entry.start.wrapping_sub(self.base) as usize
    }

    /// Removes the oldest fields until one of `size` fits, or all. Returns whether it fits.
    fn make_room(&mut self, size: usize) -> bool {
        while self.size + size > self.max {
            let Some(oldest) = self.entries.pop_front() else { return false };
            self.size -= oldest.len as usize - PUNCTUATION + OVERHEAD;
        }
        true
    }
}

#[cfg(test)]
mod tests;
