//! The state of one key: 32 bytes, two to a cache line.

use crate::limit::charge::Limit;
use crate::limit::fixed_window::Count;
use crate::limit::shape::LimitAlgorithm;
use crate::limit::tag::CounterTag;
use crate::limit::token_bucket::{BucketAccount, Level};

/// Highest limit id that fits into a slot.
pub(super) const MAX_ID: u32 = (1 << 24) - 1;

/// `until` is on the wall clock.
const WALL: u32 = 1 << 24;
/// `used` is the index of a log.
const LOG: u32 = 1 << 25;
/// The key was charged only once since it was last idle.
const ONCE: u32 = 1 << 26;
/// The slot belongs to a charge that is being decided.
const PINNED: u32 = 1 << 27;
/// `used` is the index of an account.
const ACCOUNT: u32 = 1 << 28;

/// Both clocks in nanoseconds; they never go back within a shard.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Clock {
    pub(super) now: u64,
    pub(super) wall: u64,
}

/// Position of a slot.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum SlotIndex {
    /// None yet.
    #[default]
    None,
    /// In the table.
    Own {
        /// Index of the set.
        set: usize,
        /// Index within the set.
        way: usize,
    },
    /// In the list of counters shared by keys without a slot of their own.
    Shared(usize),
}

/// The state of one key.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct CounterSlot {
    pub(super) tag: CounterTag,
    /// When the limit is completely unused again, whatever the algorithm: from then on the slot is idle.
    pub(super) until: u64,
    /// Token bucket: fraction of `until`, or an account; fixed window: count; sliding window: count of a single run, or
    /// a log.
    pub(super) used: u32,
    /// Id of the limit (0: empty) and flags.
    meta: u32,
}

/// An account, and what its slot has no room for.
#[derive(Copy, Clone, Debug)]
pub(super) struct KeptAccount {
    /// Fraction of the slot's `until`.
    pub(super) early: u32,
    pub(super) account: BucketAccount,
}

impl CounterSlot {
    pub(super) fn fresh(tag: CounterTag, limit: &Limit) -> Self {
        let wall = if limit.shape.algorithm == LimitAlgorithm::FixedWindow { WALL } else { 0 };
        Self { tag, until: 0, used: 0, meta: limit.id | wall }
    }

    pub(super) fn id(&self) -> u32 {
        self.meta & MAX_ID
    }

    pub(super) fn is_empty(&self) -> bool {
        self.id() == 0
    }

    pub(super) fn is_of(&self, tag: CounterTag) -> bool {
        (self.tag[0] ^ tag[0]) | (self.tag[1] ^ tag[1]) | u64::from(self.is_empty()) == 0
    }

    pub(super) fn is_idle(&self, clock: Clock) -> bool {
        self.until <= if self.has(WALL) { clock.wall } else { clock.now }
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.has(PINNED)
    }

    pub(super) fn is_charged_once(&self) -> bool {
        self.has(ONCE)
    }

    /// Index of its log, if it has one.
    pub(super) fn log(&self) -> Option<usize> {
        self.has(LOG).then_some(self.used as usize)
    }

    pub(super) fn pin(&mut self, on: bool) {
        self.set(PINNED, on);
    }

    pub(super) fn charged(&mut self, first: bool) {
        self.set(ONCE, first);
    }

    pub(super) fn set_log(&mut self, log: usize) {
        self.used = log as u32;
        self.set(LOG, true);
    }

    /// The slot without its log, which makes it idle.
    pub(super) fn without_log(mut self) -> Self {
        self.set(LOG, false);
        self.with(0, 0)
    }

    /// Index of its account, if it has one.
    pub(super) fn account(&self) -> Option<usize> {
        self.has(ACCOUNT).then_some(self.used as usize)
    }

    /// The level of a token bucket without an account.
    pub(super) fn level(&self) -> Level {
        Level { until: self.until, early: self.used }
    }

    /// The slot with the level of a token bucket, without an account.
    pub(super) fn with_level(mut self, level: Level) -> Self {
        self.set(ACCOUNT, false);
        self.with(level.until, level.early)
    }

    pub(super) fn set_account(&mut self, account: usize) {
        self.used = account as u32;
        self.set(ACCOUNT, true);
    }

    pub(super) fn count(&self) -> Count {
        Count { until: self.until, used: self.used }
    }

    pub(super) fn with(mut self, until: u64, used: u32) -> Self {
        (self.until, self.used) = (until, used);
        self
    }

    fn has(&self, flag: u32) -> bool {
        self.meta & flag != 0
    }

    fn set(&mut self, flag: u32, on: bool) {
        self.meta = if on { self.meta | flag } else { self.meta & !flag };
    }
}
