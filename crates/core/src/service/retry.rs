//! Retries: which failure may be tried again, how soon, and how many at all.

pub(super) mod budget;

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ServiceState;
use super::hashing::mix;
use super::instance::Instance;
use super::outcome::AttemptOutcome;
use crate::clock::Instant as Now;
use crate::plan::RetryOn;

/// A failed attempt, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct AttemptReport<'a> {
    /// How it ended.
    pub outcome: AttemptOutcome,
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
pub enum RetryVerdict {
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

impl AttemptReport<'_> {
    /// Whether this attempt may be followed by another, time and budget aside.
    pub fn may_repeat(&self) -> Result<(), Reason> {
        let asked = |on: RetryOn| self.retry_on.contains(&on);
        let harmless = match self.outcome {
            AttemptOutcome::Timeout => self.idempotent || asked(RetryOn::Timeout),
            // No connection, and sent all the same: over a kept one that died, before there was to be a new one.
            AttemptOutcome::ConnectFailed | AttemptOutcome::Reset => self.idempotent || asked(RetryOn::Reset),
            AttemptOutcome::Status(500..) if asked(RetryOn::ServerError) => true,
            AttemptOutcome::Status(502..=504) => self.idempotent || asked(RetryOn::GatewayError),
            AttemptOutcome::Cancelled | AttemptOutcome::Status(_) => return Err(Reason::NoFailure),
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
        self.outcome == AttemptOutcome::ConnectFailed && !self.sent
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
    pub fn retry(&self, attempt: &AttemptReport<'_>, now: Now, random: u64) -> RetryVerdict {
        if let Err(reason) = attempt.may_repeat() {
            return RetryVerdict::GiveUp(reason);
        }
        let pause = back_off(attempt.number, random);
        // Before the budget: what cannot happen must not be paid for.
        if attempt.last.is_some_and(|last| now.saturating_add(pause) >= last) {
            return RetryVerdict::GiveUp(Reason::TooLate);
        }
        let started = || self.slots.iter().map(|slot| newly_started(&slot.instance)).sum();
        // What reached no instance burdens none: only repeated requests can become a storm.
        if attempt.reached_nobody() || self.shared.budget.withdraw(&self.budget, now, started) {
            RetryVerdict::Again(pause)
        } else {
            RetryVerdict::GiveUp(Reason::Budget)
        }
    }
}

/// Attempts since the last call.
fn newly_started(instance: &Instance) -> u64 {
    let started = instance.started.load(Ordering::Acquire);
    started.saturating_sub(instance.accounted.swap(started, Ordering::AcqRel))
}

#[cfg(test)]
mod tests;
