//! Permits for streams on a shared connection.

use std::cell::Cell;
use std::rc::Rc;

use pylae_core::Instant;

use crate::io::clock;

/// Counts the open streams of a connection.
#[derive(Default)]
pub(crate) struct StreamPermits {
    in_use: Cell<usize>,
    idle_since: Cell<Instant>,
    retired: Cell<bool>,
    aborted: Cell<bool>,
}

/// Counts a stream as open until it is dropped.
pub(crate) struct StreamPermit(Rc<StreamPermits>);

impl StreamPermits {
    /// No stream is open, as of now.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { idle_since: Cell::new(clock::coarse()), ..Self::default() })
    }

    /// Counts a new stream.
    pub(crate) fn acquire(self: &Rc<Self>) -> StreamPermit {
        self.in_use.set(self.in_use.get() + 1);
        StreamPermit(Rc::clone(self))
    }

    /// Number of open streams.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.get()
    }

    /// Marks the connection as closed to new streams.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
    }

    /// Returns true if the connection is closed to new streams.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Marks the connection as cut off because its client does not read.
    pub(crate) fn mark_aborted(&self) {
        self.aborted.set(true);
    }

    /// When the last open stream ended.
    pub(crate) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }
}

impl StreamPermit {
    /// Marks the connection as closed to new streams.
    pub(crate) fn retire(&self) {
        self.0.retire();
    }

    /// Returns true if the connection was cut off because its client does not read.
    pub(crate) fn is_aborted(&self) -> bool {
        self.0.aborted.get()
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.in_use.set(self.0.in_use.get() - 1);
        if self.0.in_use.get() == 0 {
            self.0.idle_since.set(clock::coarse());
        }
    }
}
