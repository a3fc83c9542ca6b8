//! Places on a connection that streams share.

use std::cell::Cell;
use std::rc::Rc;

use pylae_core::Instant;

use crate::io::clock;

/// How many streams are open on a connection, and since when there is none.
#[derive(Default)]
pub(crate) struct StreamPermits {
    taken: Cell<usize>,
    free_since: Cell<Instant>,
    retired: Cell<bool>,
    cut: Cell<bool>,
}

/// A stream's place, until dropped.
pub(crate) struct StreamPermit(Rc<StreamPermits>);

impl StreamPermits {
    /// All free from now on.
    pub(crate) fn free() -> Rc<Self> {
        Rc::new(Self { free_since: Cell::new(clock::coarse()), ..Self::default() })
    }

    /// Takes a place.
    pub(crate) fn take(self: &Rc<Self>) -> StreamPermit {
        self.taken.set(self.taken.get() + 1);
        StreamPermit(Rc::clone(self))
    }

    /// Number of places taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.get()
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
    pub(crate) fn cut(&self) {
        self.cut.set(true);
    }

    /// When the last place became free.
    pub(crate) fn free_since(&self) -> Instant {
        self.free_since.get()
    }
}

impl StreamPermit {
    /// Says that the connection is to be given no more.
    pub(crate) fn retire(&self) {
        self.0.retire();
    }

    /// Whether the connection was cut off because its client does not read.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.cut.get()
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get() - 1);
        if self.0.taken.get() == 0 {
            self.0.free_since.set(clock::coarse());
        }
    }
}
