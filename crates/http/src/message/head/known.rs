//! Field lines that whoever has written them has checked and found already.

use crate::{Field, Fields, Name, Span};

/// Most lines that are remembered. Heads with more are parsed like any other.
const MOST: usize = 128;

/// The field lines of a request head that was written as text of HTTP/1 from parts that had been checked: where they
/// are, so that [`RequestHead::parse`](crate::RequestHead::parse) has to read the first line only.
#[derive(Clone, Debug, Default)]
pub struct KnownLines {
    pub(super) fields: Fields,
    /// Bytes of the whole head; 0 if its lines are not known.
    pub(super) len: usize,
}

impl KnownLines {
    /// Forgets the lines and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.fields.clear();
        self.len = 0;
    }

    /// Adds a line that begins at `start` of the head, after the one before: `name: value`, CR and LF. The name is a
    /// token, and the value has no control characters and no blanks around it.
    pub(crate) fn add(&mut self, start: usize, name_len: usize, len: usize, (id, underscore): (Name, bool)) {
        if self.fields.len() <= MOST {
            let name = Span::new(start, start + name_len);
            let value = Span::new(start + name_len + 2, start + len - 2);
            self.fields.add(Field { name, value, id, underscore });
        }
    }

    /// Says that there is nothing but the blank line behind the last line, which ends at `end`.
    pub(crate) fn complete(&mut self, end: usize) {
        if self.fields.len() <= MOST {
            self.fields.set_lines_end(end);
            self.len = end + 2;
        }
    }
}
