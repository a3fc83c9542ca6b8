//! Circuit breaker: stops sending requests that would probably fail, and tests with a few probes when it may send again
//! (after M. Nygard, *Release It!*). In the half-open state the first probe that returns decides. All workers share one
//! breaker; every transition is one compare-and-swap.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::{self, Instant};
use crate::plan;

/// When a breaker opens and closes: `plan::CircuitBreaker` in a form ready for use.
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
    /// How long the breaker stays open before it lets a probe through.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Converts the rules of `plan`.
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

    /// Returns true if a response with `status` is a failure.
    pub fn is_failure(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }
}

/// State of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// All requests pass.
    Closed,
    /// No request passes.
    Open,
    /// A few probes pass.
    HalfOpen,
}

/// Permission for one attempt. It must come back through [`Breaker::record`] or [`Breaker::release`]; [`super::Picked`]
/// takes care of that.
#[derive(Debug, PartialEq, Eq)]
pub struct BreakerPermit {
    generation: u32,
}

/// A transition to another state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The state entered.
    pub to: BreakerState,
    /// Why it was entered.
    pub cause: Cause,
}

/// Cause of a transition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// This many consecutive failures.
    Consecutive(u32),
    /// This many failures among this many attempts of the window.
    Share(u64, u64),
    /// A probe failed.
    ProbeFailed,
    /// A probe succeeded.
    ProbeSucceeded,
    /// Its timeout passed.
    TimeoutPassed,
    /// An operator asked for it.
    Request,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Consecutive(failures) => write!(to, "{failures} failures in a row"),
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

/// A breaker. The rules are an argument of each call, so that a reload can change them and keep the state.
#[derive(Debug)]
pub struct Breaker {
    /// Two bits of state, 32 of probes in flight, 30 of generation. Each transition starts a new generation; permits of
    /// an older one have no effect.
    word: AtomicU64,
    /// When an open breaker lets a probe through.
    until: AtomicU64,
    /// Failures since the last success.
    failures: AtomicU32,
    /// True if the breaker went half open and that was not reported yet.
    half_open_unreported: AtomicBool,
    /// Slices of a tenth of the window: 24 bits of epoch, 20 of failures, 20 of all results.
    slices: [AtomicU64; SLICES],
    /// Why it last opened, for people.
    reason: Mutex<Option<Box<str>>>,
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
            half_open_unreported: AtomicBool::new(false),
            slices: std::array::from_fn(|_| AtomicU64::new(0)),
            reason: Mutex::default(),
        }
    }
}

impl Breaker {
    /// Asks for permission for one attempt. If refused, returns the time until it is worth asking again (zero: once a
    /// probe has returned).
    #[inline]
    pub fn admit(&self, rules: &BreakerRules, now: Instant) -> Result<BreakerPermit, Duration> {
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let word = Word::unpack(seen);
            let next = match word.position {
                BreakerState::Closed => return Ok(BreakerPermit { generation: word.generation }),
                BreakerState::Open => {
                    let left = self.remaining(now);
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
                    self.half_open_unreported.store(true, Ordering::Release);
                }
                return Ok(BreakerPermit { generation: next.generation });
            }
        }
    }

    /// Returns whether [`Self::admit`] would succeed now, or else the time until it may.
    #[inline]
    pub fn ready(&self, rules: &BreakerRules, now: Instant) -> Result<(), Duration> {
        let word = Word::unpack(self.word.load(Ordering::Acquire));
        match word.position {
            BreakerState::Open => match self.remaining(now) {
                Duration::ZERO => Ok(()),
                left => Err(left),
            },
            BreakerState::HalfOpen if word.probes >= rules.probes => Err(Duration::ZERO),
            BreakerState::Closed | BreakerState::HalfOpen => Ok(()),
        }
    }

    /// Records the result of the attempt with `permit`.
    pub fn record(&self, rules: &BreakerRules, permit: &BreakerPermit, now: Instant, ok: bool) -> Option<Transition> {
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
                let rate_exceeded = rules.rate.and_then(|rate| {
                    self.count(rules, now, true);
                    self.rate_exceeded(rules, rate, now)
                });
                let cause =
                    if failures >= rules.threshold { Some(Cause::Consecutive(failures)) } else { rate_exceeded };
                self.open(rules, permit, now, cause?)
            }
            BreakerState::HalfOpen if ok => self.close(permit),
            BreakerState::HalfOpen => self.open(rules, permit, now, Cause::ProbeFailed),
            BreakerState::Open => None,
        }
    }

    /// Ends the attempt with `permit` without a result; another probe may take its place.
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

    /// Closes the breaker from any state and clears its counts. Permits given before have no effect any more.
    pub fn reset(&self) -> Option<Transition> {
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let word = Word::unpack(seen);
            self.clear_counts();
            if self.swap(seen, word.enter(BreakerState::Closed, 0)) {
                self.half_open_unreported.store(false, Ordering::Release);
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

    /// Restores the failures that a success had cleared which was none in the end.
    pub(super) fn restore_failures(&self, permit: &BreakerPermit, failures: u32) {
        let word = Word::unpack(self.word.load(Ordering::Acquire));
        if word.generation == permit.generation {
            self.failures.fetch_max(failures, Ordering::AcqRel);
        }
    }

    /// Returns the state, and how long it stays open.
    pub fn position(&self, now: Instant) -> (BreakerState, Duration) {
        let position = Word::unpack(self.word.load(Ordering::Acquire)).position;
        (position, if position == BreakerState::Open { self.remaining(now) } else { Duration::ZERO })
    }

    /// Returns the transition to half open if it has happened since the last call.
    pub fn take_half_open(&self) -> Option<Transition> {
        (self.half_open_unreported.load(Ordering::Acquire) && self.half_open_unreported.swap(false, Ordering::AcqRel))
            .then_some(Transition { to: BreakerState::HalfOpen, cause: Cause::TimeoutPassed })
    }

    fn remaining(&self, now: Instant) -> Duration {
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
            // Before the swap: nothing is counted while half open, and the first results of the closed state must not
            // be lost.
            self.clear_counts();
            if self.swap(seen, word.enter(BreakerState::Closed, 0)) {
                return Some(Transition { to: BreakerState::Closed, cause: Cause::ProbeSucceeded });
            }
        }
    }

    fn clear_counts(&self) {
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

    fn rate_exceeded(&self, rules: &BreakerRules, rate: f64, now: Instant) -> Option<Cause> {
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

    /// Returns why it last opened, or None while it is closed.
    pub fn reason(&self) -> Option<Box<str>> {
        let closed = Word::unpack(self.word.load(Ordering::Acquire)).position == BreakerState::Closed;
        if closed { None } else { self.reason.lock().clone() }
    }

    /// Sets the reason for opening, for people.
    pub(super) fn set_reason(&self, reason: String) {
        *self.reason.lock() = Some(reason.into());
    }
}

#[cfg(test)]
mod tests;
