//! Circuit breaker: stops sending what would fail anyway, and finds out with a few probes when it would not (after
//! M. Nygard, *Release It!*). Half open, the first probe that comes back decides for all. One breaker is shared by all
//! workers; every transition is one compare-and-swap.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::{self, Instant};
use crate::plan;

/// When a breaker opens and closes: `plan::CircuitBreaker`, ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerRules {
    threshold: u32,
    rate: Option<f64>,
    slice: u64,
    minimum: u32,
    timeout: Duration,
    probes: u32,
    statuses: Box<[u16]>,
    /// What one breaker protects.
    pub scope: plan::BreakerScope,
}

impl BreakerRules {
    /// How long it stays open before it lets a probe through.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The rules that `plan` asks for.
    pub fn from_plan(plan: &plan::CircuitBreaker) -> Self {
        Self {
            threshold: plan.failure_threshold.max(1),
            rate: plan.failure_rate,
            slice: (clock::nanos(plan.window.0) / SLICES as u64).max(1),
            minimum: plan.minimum_requests,
            timeout: plan.timeout.0,
            probes: plan.half_open_requests.max(1),
            statuses: plan.failure_statuses.clone().into(),
            scope: plan.scope,
        }
    }

    /// Whether an answer with `status` is a failure.
    pub fn is_failure(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }
}

/// The three states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// A few probes pass.
    HalfOpen,
}

/// The right to one attempt. It must come back through [`Breaker::settle`] or [`Breaker::release`], which
/// [`super::Picked`] sees to.
#[derive(Debug, PartialEq, Eq)]
pub struct BreakerPermit {
    generation: u32,
}

/// Which state was entered, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The state entered.
    pub to: BreakerState,
    /// What brought it about.
    pub cause: Cause,
}

/// What moves a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// So many failures in a row.
    InARow(u32),
    /// So many failures among so many attempts of the window.
    Share(u64, u64),
    /// A probe failed.
    ProbeFailed,
    /// A probe succeeded.
    ProbeSucceeded,
    /// Its timeout passed.
    TimeoutPassed,
    /// Somebody asked for it.
    Request,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InARow(failures) => write!(to, "{failures} failures in a row"),
            Self::Share(failures, all) => write!(to, "{failures} of {all} attempts of the window failed"),
            Self::ProbeFailed => to.write_str("a probe failed"),
            Self::ProbeSucceeded => to.write_str("a probe succeeded"),
            Self::TimeoutPassed => to.write_str("its timeout passed"),
            Self::Request => to.write_str("by request"),
        }
    }
}

const SLICES: usize = 10;
const PROBES_SHIFT: u32 = 2;
const GENERATION_SHIFT: u32 = 34;
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const EPOCH_MASK: u64 = (1 << 24) - 1;

/// State of a breaker. The rules come in with each call, so that a reload may change them and keep the state.
#[derive(Debug)]
pub struct Breaker {
    /// Two bits of position, 32 of probes under way, 30 of generation. A generation ends with each transition, and
    /// what was admitted in one has no say in another.
    word: AtomicU64,
    /// When an open one lets a probe through.
    until: AtomicU64,
    /// Failures since the last success.
    failures: AtomicU32,
    /// It went half open and nobody was told yet.
    unannounced: AtomicBool,
    /// A tenth of the window each: 24 bits of epoch, 20 of failures, 20 of all results.
    slices: [AtomicU64; SLICES],
    /// Why it opened last, in words.
    why: Mutex<Option<Box<str>>>,
}

#[derive(Clone, Copy)]
struct Word {
    position: BreakerState,
    probes: u32,
    generation: u32,
}

impl Word {
    const fn unpack(word: u64) -> Self {
        let position = match word & 3 {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        };
        Self { position, probes: (word >> PROBES_SHIFT) as u32, generation: (word >> GENERATION_SHIFT) as u32 }
    }

    const fn pack(self) -> u64 {
        ((self.generation as u64) << GENERATION_SHIFT) | ((self.probes as u64) << PROBES_SHIFT) | self.position as u64
    }

    const fn enter(self, position: BreakerState, probes: u32) -> Self {
        Self { position, probes, generation: (self.generation + 1) & ((1 << 30) - 1) }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            word: AtomicU64::new(0),
            until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            unannounced: AtomicBool::new(false),
            slices: std::array::from_fn(|_| AtomicU64::new(0)),
            why: Mutex::default(),
        }
    }
}

impl Breaker {
    /// Asks to let one attempt through; refused, the time until it is worth asking again (zero: when a probe is back).
    #[inline]
    pub fn admit(&self, rules: &BreakerRules, now: Instant) -> Result<BreakerPermit, Duration> {
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let word = Word::unpack(seen);
            let next = match word.position {
                BreakerState::Closed => return Ok(BreakerPermit { generation: word.generation }),
                BreakerState::Open => {
                    let left = self.left(now);
                    if !left.is_zero() {
                        return Err(left);
                    }
                    word.enter(BreakerState::HalfOpen, 1)
                }
                BreakerState::HalfOpen if word.probes >= rules.probes => return Err(Duration::ZERO),
                BreakerState::HalfOpen => Word { probes: word.probes + 1, ..word },
            };
            if self.swap(seen, next) {
                if word.position == BreakerState::Open {
                    self.unannounced.store(true, Ordering::Release);
                }
                return Ok(BreakerPermit { generation: next.generation });
            }
        }
    }

    /// Whether [`Self::admit`] would say yes now, and if not the time until it may.
    #[inline]
    pub fn ready(&self, rules: &BreakerRules, now: Instant) -> Result<(), Duration> {
        let word = Word::unpack(self.word.load(Ordering::Acquire));
        match word.position {
            BreakerState::Open => match self.left(now) {
                Duration::ZERO => Ok(()),
                left => Err(left),
            },
            BreakerState::HalfOpen if word.probes >= rules.probes => Err(Duration::ZERO),
            BreakerState::Closed | BreakerState::HalfOpen => Ok(()),
        }
    }

    /// The attempt of `permit` went well or failed.
    pub fn settle(&self, rules: &BreakerRules, permit: &BreakerPermit, now: Instant, ok: bool) -> Option<Transition> {
        let seen = self.word.load(Ordering::Acquire);
        let word = Word::unpack(seen);
        if word.generation != permit.generation {
            return None;
        }
        match word.position {
            BreakerState::Closed if ok => {
                if self.failures.load(Ordering::Relaxed) != 0 {
                    self.failures.store(0, Ordering::Relaxed);
                }
                if rules.rate.is_some() {
                    self.count(rules, now, false);
                }
                None
            }
            BreakerState::Closed => {
                let failures = self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1);
                let over_rate = rules.rate.and_then(|rate| {
                    self.count(rules, now, true);
                    self.over_rate(rules, rate, now)
                });
                let cause = if failures >= rules.threshold { Some(Cause::InARow(failures)) } else { over_rate };
                self.open(rules, permit, now, cause?)
            }
            BreakerState::HalfOpen if ok => self.close(permit),
            BreakerState::HalfOpen => self.open(rules, permit, now, Cause::ProbeFailed),
            BreakerState::Open => None,
        }
    }

    /// The attempt of `permit` ended without saying anything about the other side; a probe may be tried again.
    pub fn release(&self, permit: &BreakerPermit) {
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let word = Word::unpack(seen);
            if word.generation != permit.generation || word.position != BreakerState::HalfOpen || word.probes == 0 {
                return;
            }
            if self.swap(seen, Word { probes: word.probes - 1, ..word }) {
                return;
            }
        }
    }

    /// Closes it and forgets what was counted, whatever state it is in. What was admitted before has no say any more.
    pub fn reset(&self) -> Option<Transition> {
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let word = Word::unpack(seen);
            self.forget();
            if self.swap(seen, word.enter(BreakerState::Closed, 0)) {
                self.unannounced.store(false, Ordering::Release);
                return (word.position != BreakerState::Closed)
                    .then_some(Transition { to: BreakerState::Closed, cause: Cause::Request });
            }
        }
    }

    /// Failures since the last success.
    #[inline]
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Counts `failures` again that a success had ended which was none after all.
    pub(super) fn recall(&self, permit: &BreakerPermit, failures: u32) {
        let word = Word::unpack(self.word.load(Ordering::Acquire));
        if word.generation == permit.generation {
            self.failures.fetch_max(failures, Ordering::AcqRel);
        }
    }

    /// The state, and how long it still keeps everything out.
    pub fn position(&self, now: Instant) -> (BreakerState, Duration) {
        let position = Word::unpack(self.word.load(Ordering::Acquire)).position;
        (position, if position == BreakerState::Open { self.left(now) } else { Duration::ZERO })
    }

    /// That it went half open since the last call, once.
    pub fn announce(&self) -> Option<Transition> {
        (self.unannounced.load(Ordering::Acquire) && self.unannounced.swap(false, Ordering::AcqRel))
            .then_some(Transition { to: BreakerState::HalfOpen, cause: Cause::TimeoutPassed })
    }

    fn left(&self, now: Instant) -> Duration {
        Instant::from_nanos(self.until.load(Ordering::Acquire)).since(now)
    }

    fn swap(&self, seen: u64, next: Word) -> bool {
        self.word.compare_exchange(seen, next.pack(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn open(&self, rules: &BreakerRules, permit: &BreakerPermit, now: Instant, cause: Cause) -> Option<Transition> {
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let word = Word::unpack(seen);
            if word.generation != permit.generation {
                return None;
            }
            self.until.store(now.saturating_add(rules.timeout).as_nanos(), Ordering::Release);
            if self.swap(seen, word.enter(BreakerState::Open, 0)) {
                return Some(Transition { to: BreakerState::Open, cause });
            }
        }
    }

    fn close(&self, permit: &BreakerPermit) -> Option<Transition> {
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let word = Word::unpack(seen);
            if word.generation != permit.generation {
                return None;
            }
            // Before the swap: nothing is counted while half open, and the first results of the closed state must not be lost.
            self.forget();
            if self.swap(seen, word.enter(BreakerState::Closed, 0)) {
                return Some(Transition { to: BreakerState::Closed, cause: Cause::ProbeSucceeded });
            }
        }
    }

    fn forget(&self) {
        self.failures.store(0, Ordering::Relaxed);
        for slice in &self.slices {
            slice.store(0, Ordering::Relaxed);
        }
    }

    fn count(&self, rules: &BreakerRules, now: Instant, failed: bool) {
        let epoch = now.as_nanos() / rules.slice;
        let slice = &self.slices[(epoch % SLICES as u64) as usize];
        let mut seen = slice.load(Ordering::Relaxed);
        loop {
            let (mut all, mut failures) = (seen & COUNT_MAX, (seen >> COUNT_BITS) & COUNT_MAX);
            if seen >> (2 * COUNT_BITS) != epoch & EPOCH_MASK {
                (all, failures) = (0, 0);
            }
            if all < COUNT_MAX {
                all += 1;
                failures += u64::from(failed);
            }
            let next = ((epoch & EPOCH_MASK) << (2 * COUNT_BITS)) | (failures << COUNT_BITS) | all;
            match slice.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    fn over_rate(&self, rules: &BreakerRules, rate: f64, now: Instant) -> Option<Cause> {
        let epoch = now.as_nanos() / rules.slice;
        let (mut all, mut failures) = (0, 0);
        for slice in &self.slices {
            let word = slice.load(Ordering::Relaxed);
            let age = (epoch & EPOCH_MASK).wrapping_sub(word >> (2 * COUNT_BITS)) & EPOCH_MASK;
            if age < SLICES as u64 {
                all += word & COUNT_MAX;
                failures += (word >> COUNT_BITS) & COUNT_MAX;
            }
        }
        #[allow(clippy::cast_precision_loss)] // ten counts of 20 bits
        let over = failures as f64 >= rate * all as f64;
        (all >= u64::from(rules.minimum) && over).then_some(Cause::Share(failures, all))
    }

    /// Why it opened last; none while it is closed.
    pub fn why(&self) -> Option<Box<str>> {
        let closed = Word::unpack(self.word.load(Ordering::Acquire)).position == BreakerState::Closed;
        if closed { None } else { self.why.lock().clone() }
    }

    /// Notes why it opened, for people.
    pub(super) fn note(&self, why: String) {
        *self.why.lock() = Some(why.into());
    }
}

#[cfg(test)]
mod tests;
