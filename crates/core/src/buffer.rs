//! A byte buffer of fixed capacity that sockets read into.

/// Bytes read so far, with room behind them. The memory is initialised once, so that reading needs no unsafe code.
#[derive(Clone, Debug, Default)]
pub struct Buffer {
    memory: Vec<u8>,
    filled: usize,
}

impl Buffer {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { memory: vec![0; capacity], filled: 0 }
    }

    /// The bytes held.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.filled]
    }

    /// Number of bytes held.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether no byte is held.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Bytes that fit in all.
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// The room behind the bytes held.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.filled..]
    }

    /// Counts `n` bytes that were written into `room` as held.
    pub fn advance(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.memory.len());
    }

    /// Forgets the first `n` bytes and moves the rest to the front.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.filled);
        self.memory.copy_within(n..self.filled, 0);
        self.filled -= n;
    }

    /// Appends as much of `bytes` as fits and returns how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.memory.len() - self.filled);
        self.memory[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        n
    }

    /// Forgets all bytes behind the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.filled = self.filled.min(n);
    }

    /// Forgets all bytes.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Makes room for `capacity` bytes in all, if there is less.
    pub fn grow(&mut self, capacity: usize) {
        if capacity > self.memory.len() {
            self.memory.resize(capacity, 0);
        }
    }

    /// Gives memory beyond `capacity` back. The bytes held must fit.
    pub fn shrink(&mut self, capacity: usize) {
        if self.memory.len() > capacity && self.filled <= capacity {
            self.memory.truncate(capacity);
            self.memory.shrink_to_fit();
        }
    }
}
