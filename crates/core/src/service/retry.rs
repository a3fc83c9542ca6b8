//! Retries: which failure may be tried again, how soon, and how many at all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Instance, Outcome, ServiceState, mix};
use crate::clock::Instant as Now;
use crate::plan::{self, RetryOn};

/// A failed attempt, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// How it ended.
    pub outcome: Outcome,
    /// Which it was, from 1.
    pub number: u32,
    /// `retries` of the route.
    pub retries: u32,
    /// `retry_on` of the route.
    pub retry_on: &'a [RetryOn],
    /// Whether doing the request twice is like doing it once (RFC 9110 section 9.2.2).
    pub idempotent: bool,
    /// Whether any of the request was written to the instance, and it may have acted on it.
    pub sent: bool,
    /// Whether the whole body can be sent again.
    pub replayable: bool,
    /// When the exchange must have an answer.
    pub last: Option<Now>,
}

/// What to do about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this time.
    Again(Duration),
    /// The client gets what there is.
    GiveUp(Reason),
}

/// Why a failed attempt is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The answer is no failure.
    NoFailure,
    /// `retries` are used up.
    Exhausted,
    /// The instance may have acted on the request, and must not be made to act twice.
    NotIdempotent,
    /// The body is gone.
    NotReplayable,
    /// The next would begin when the time for the exchange is over.
    TooLate,
    /// Others of the service retried too much of late.
    Budget,
}

impl Attempt<'_> {
    /// Whether this attempt may be followed by another, time and budget aside.
    pub fn may_repeat(&self) -> Result<(), Reason> {
        let asked = |on: RetryOn| self.retry_on.contains(&on);
        let harmless = match self.outcome {
            Outcome::Timeout => self.idempotent || asked(RetryOn::Timeout),
            // No connection, and sent all the same: over a kept one that died, before there was to be a new one.
            Outcome::ConnectFailed | Outcome::Reset => self.idempotent || asked(RetryOn::Reset),
            Outcome::Status(500..) if asked(RetryOn::ServerError) => true,
            Outcome::Status(502..=504) => self.idempotent || asked(RetryOn::GatewayError),
            Outcome::Cancelled | Outcome::Status(_) => return Err(Reason::NoFailure),
        };
        if self.number > self.retries {
            Err(Reason::Exhausted)
        } else if self.reached_nobody() {
            Ok(())
        } else if self.sent && !harmless {
            Err(Reason::NotIdempotent)
        } else if !self.replayable {
            Err(Reason::NotReplayable)
        } else {
            Ok(())
        }
    }

    /// Whether no instance has seen anything of the request.
    fn reached_nobody(&self) -> bool {
        self.outcome == Outcome::ConnectFailed && !self.sent
    }
}

/// How long to wait behind attempt `number` (from 1): anything up to 25 ms, doubled each time up to 1 s ("full jitter",
/// M. Brooker, *Exponential Backoff And Jitter*, 2015).
pub fn back_off(number: u32, random: u64) -> Duration {
    const FIRST: u64 = 25_000_000;
    const MOST: u64 = 1_000_000_000;
    let ceiling = FIRST.saturating_mul(1_u64.checked_shl(number.saturating_sub(1)).unwrap_or(u64::MAX)).min(MOST);
    Duration::from_nanos(((u128::from(mix(random)) * u128::from(ceiling)) >> 64) as u64)
}

impl ServiceState {
    /// Decides about a failed attempt and, if it can be repeated in time, takes that from the retry budget.
    pub fn retry(&self, attempt: &Attempt<'_>, now: Now, random: u64) -> Verdict {
        if let Err(reason) = attempt.may_repeat() {
            return Verdict::GiveUp(reason);
        }
        let pause = back_off(attempt.number, random);
        // Before the budget: what cannot happen must not be paid for.
        if attempt.last.is_some_and(|last| now.saturating_add(pause) >= last) {
            return Verdict::GiveUp(Reason::TooLate);
        }
        let started = || self.slots.iter().map(|slot| newly_started(&slot.instance)).sum();
        // What reached no instance burdens none: only repeated requests can become a storm.
        if attempt.reached_nobody() || self.shared.budget.withdraw(&self.budget, now, started) {
            Verdict::Again(pause)
        } else {
            Verdict::GiveUp(Reason::Budget)
        }
    }
}

/// Attempts since the last call.
fn newly_started(instance: &Instance) -> u64 {
    let started = instance.started.load(Ordering::Acquire);
    started.saturating_sub(instance.accounted.swap(started, Ordering::AcqRel))
}

/// How many retries the service may still have: a share of its recent requests, or a few per second if that is more.
///
/// Requests are not counted when they happen but when a retry is asked for, from the counters of the instances, so that
/// the budget costs nothing while all is well.
#[derive(Debug)]
pub(super) struct Budget(Mutex<Account>);

#[derive(Debug)]
struct Account {
    /// Retries earned by requests; below zero when some were had only for `floor`.
    earned: f64,
    /// Retries left of those per second.
    floor: f64,
    /// Retries allowed whose attempt is not among the counted ones yet.
    expected: u64,
    /// All retries allowed.
    allowed: u64,
    /// All retries refused.
    refused: u64,
    last: Now,
}

/// What was earned is forgotten over this time: a quiet hour must not pay for a storm.
const MEMORY: f64 = 10.0;

impl Budget {
    /// The budget of a service that starts at `now`.
    pub(super) fn new(now: Now) -> Self {
        // The plan bounds `floor` from above whenever it is asked for.
        let full = Account { earned: 0.0, floor: f64::INFINITY, expected: 0, allowed: 0, refused: 0, last: now };
        Self(Mutex::new(full))
    }

    fn withdraw(&self, plan: &plan::RetryBudget, now: Now, attempts: impl FnOnce() -> u64) -> bool {
        let mut account = self.0.lock();
        account.earn(plan, now, attempts());
        if account.earned < 1.0 && account.floor < 1.0 {
            account.refused += 1;
            return false;
        }
        account.earned -= 1.0;
        account.floor = (account.floor - 1.0).max(0.0);
        account.expected += 1;
        account.allowed += 1;
        true
    }

    /// Retries allowed and refused so far.
    pub(super) fn totals(&self) -> (u64, u64) {
        let account = self.0.lock();
        (account.allowed, account.refused)
    }
}

impl Account {
    #[allow(clippy::cast_precision_loss)]
    fn earn(&mut self, plan: &plan::RetryBudget, now: Now, attempts: u64) {
        // Retries earn nothing.
        let retries = attempts.min(self.expected);
        self.expected -= retries;
        let requests = (attempts - retries) as f64;
        let passed = now.since(self.last).as_secs_f64();
        self.last = self.last.max(now);
        // When the requests came is not known; evenly is the best guess, and those of long ago earn nothing.
        let recent = if passed > MEMORY { requests * MEMORY / passed } else { requests };
        self.earned = self.earned * (1.0 - passed / MEMORY).max(0.0) + plan.ratio * recent;
        // At least one, or a small share of a second would never come to a retry.
        let most = if plan.min_per_second > 0.0 { plan.min_per_second.max(1.0) } else { 0.0 };
        self.floor = (self.floor + plan.min_per_second * passed).min(most);
    }
}

#[cfg(test)]
mod tests;
