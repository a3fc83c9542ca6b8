//! Positions in a buffer.

/// A range of bytes in a buffer that the caller holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// Creates the span from `start` up to, but not including, `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, len: (end - start) as u32 }
    }

    /// Returns the offset after the last byte.
    pub fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    /// Returns the bytes. `buf` must be the buffer that the span was made for.
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.end()]
    }
}
