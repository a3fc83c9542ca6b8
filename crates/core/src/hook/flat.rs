//! Exchanges as flat bytes, on their way to a hook host and back. What comes from a host is read as if anybody had
//! written it: nothing is taken that a hook in the gateway's own process could not have set.

mod changes;
mod exchange;
mod message;
mod outcome;

pub use self::changes::{Bodies, HookChanges, write_changes};
pub use self::exchange::{read_exchange, write_exchange};
pub use self::message::{FlatMessage, FlatMessageKind, HEAD, MOST};
pub use self::outcome::{HostedStep, read_step, write_step};

/// Writes values one after the other.
#[derive(Debug, Default)]
pub struct FlatWriter(pub Vec<u8>);

/// Reads what a [`FlatWriter`] has written, and refuses what it cannot have written.
#[derive(Clone, Copy, Debug)]
pub struct FlatReader<'a>(&'a [u8]);

impl FlatWriter {
    /// Writes a byte.
    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Writes a truth value.
    pub fn flag(&mut self, value: bool) {
        self.0.push(value.into());
    }

    /// Writes a number of 32 bits.
    pub fn short(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a number of 64 bits.
    pub fn long(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a length or an index.
    pub fn size(&mut self, value: usize) {
        self.short(value as u32);
    }

    /// Writes bytes, preceded by their number.
    pub fn bytes(&mut self, value: &[u8]) {
        self.size(value.len());
        self.0.extend_from_slice(value);
    }

    /// Writes whether there is a value, and the value with `write`.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

impl<'a> FlatReader<'a> {
    /// Begins to read.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads a byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    /// Reads a truth value.
    pub fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// Reads a number of 32 bits.
    pub fn short(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// Reads a number of 64 bits.
    pub fn long(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// Reads a length or an index.
    pub fn size(&mut self) -> Option<usize> {
        self.short().map(|size| size as usize)
    }

    /// Reads bytes.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.size()?;
        self.take(count)
    }

    /// Reads text.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// Reads a value that may be missing with `read`.
    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    /// Reads the number of values that follow, each of which takes at least a byte.
    pub fn count(&mut self) -> Option<usize> {
        self.size().filter(|count| *count <= self.0.len())
    }

    /// Reads as many values as a number says with `read`, each of which takes at least a byte.
    pub fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        (0..count).map(|_| read(self)).collect()
    }

    /// Returns what is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Returns true if nothing is left.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
