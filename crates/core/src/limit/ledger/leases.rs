//! Leases: what nodes have taken ahead of use.
//!
//! What is leased is held, not charged: were it charged, the bucket would refill before it is used, and more than one
//! bucket would pass. A use is charged when it is reported, which is later, so the ledger never has less debt than a
//! bucket that was charged at the time of use.
//!
//! Leases belong to generations of [`GENERATION`]. A generation is written off (charged) when the one after it is over
//! too: its nodes are gone, or their reports. The first one of a key is named by the time, later ones by the next
//! number, so a name does not come back.

/// Length of a generation in microseconds.
pub const GENERATION: u64 = 1_000_000;

/// What is held of the current generation and of the one before.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseTable {
    /// The current generation.
    pub(super) name: u64,
    /// When the current generation is over.
    pub(super) turn: u64,
    pub(super) held: u64,
    /// What is held of the generation before.
    pub(super) held_before: u64,
}

/// How a report of leases fits.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// So much was held.
    Held(u64),
    /// That generation is written off.
    WrittenOff,
    /// That generation was never heard of: the store has lost a state.
    Unknown,
}

impl LeaseTable {
    pub(super) const fn new(now: u64) -> Self {
        Self { name: now, turn: now + GENERATION, held: 0, held_before: 0 }
    }

    pub(super) const fn total(&self) -> u64 {
        self.held + self.held_before
    }

    /// Returns when the current generation is written off.
    pub(super) const fn end(&self) -> u64 {
        self.turn + GENERATION
    }

    /// Begins the generations that are due, and returns what to charge, with its times, oldest first. A clock that was
    /// set back makes the current generation longer.
    pub(super) fn advance(&mut self, now: u64) -> [(u64, u64); 2] {
        self.turn = self.turn.min(now + GENERATION);
        let before = (self.turn, self.held_before);
        if now < self.turn {
            return [(now, 0); 2];
        }
        if now < self.end() {
            self.name += 1;
            self.turn += GENERATION;
            (self.held, self.held_before) = (0, self.held);
            return [before, (now, 0)];
        }
        let current = (self.end(), self.held);
        self.forget(now);
        [before, current]
    }

    /// Forgets what is held, for good: later reports find their generation written off.
    pub(super) fn forget(&mut self, now: u64) {
        let turn = if self.total() > 0 { now + GENERATION } else { self.turn };
        *self = Self { name: now.max(self.name + 2), turn, held: 0, held_before: 0 };
    }

    /// True if there is nothing left to remember, not even a name.
    pub(super) const fn is_over(&self, now: u64) -> bool {
        self.total() == 0 && now >= self.end()
    }

    /// Lowers what is held by what is reported of a generation.
    pub(super) fn report(&mut self, generation: u64, count: u64) -> Reported {
        let held = if generation > self.name {
            return Reported::Unknown;
        } else if generation == self.name {
            &mut self.held
        } else if generation + 1 == self.name {
            &mut self.held_before
        } else {
            return Reported::WrittenOff;
        };
        let part = count.min(*held);
        *held -= part;
        Reported::Held(part)
    }
}
