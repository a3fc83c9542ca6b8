//! Places on a connection that streams share.

use std::cell::Cell;
use std::rc::Rc;

use pylae_core::Instant;

use crate::io::clock;

/// How many streams are open on a connection, and since when there is none.
#[derive(Default)]
pub(crate) struct StreamPermits {
    in_use: Cell<usize>,
    idle_since: Cell<Instant>,
    retired: Cell<bool>,
    aborted: Cell<bool>,
}

/// A stream's place, until dropped.
pub(crate) struct StreamPermit(Rc<StreamPermits>);

impl StreamPermits {
    /// All free from now on.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { idle_since: Cell::new(clock::coarse()), ..Self::default() })
    }

    /// Takes a place.
    pub(crate) fn acquire(self: &Rc<Self>) -> StreamPermit {
        self.in_use.set(self.in_use.get() + 1);
        StreamPermit(Rc::clone(self))
    }

    /// Number of places taken.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.get()
    }

    /// Says that the connection is to be given no more.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
    }

    /// Whether it is to be given no more.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Says that the connection is cut off because its client does not read.
    pub(crate) fn mark_aborted(&self) {
        self.aborted.set(true);
    }

    /// When the last place became free.
    pub(crate) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }
}

impl StreamPermit {
    /// Says that the connection is to be given no more.
    pub(crate) fn retire(&self) {
        self.0.retire();
    }

    /// Whether the connection was cut off because its client does not read.
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
