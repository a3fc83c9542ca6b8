//! Retries: which failures may be retried, how soon, and how many in total.

pub(super) mod budget;

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ServiceState;
use super::hashing::mix;
use super::instance::Instance;
use super::outcome::AttemptOutcome;
use crate::clock::Instant as Now;
use crate::exchange::halt::Shortage;
use crate::plan::RetryOn;

/// A failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct AttemptReport<'a> {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// `retries` of the route.
    pub retries: u32,
    /// `retry_on` of the route.
    pub retry_on: &'a [RetryOn],
    /// True if the request is idempotent (RFC 9110 section 9.2.2).
    pub idempotent: bool,
    /// True if any of the request was written to the instance, which may have acted on it.
    pub sent: bool,
    /// True if the whole body can be sent again.
    pub replayable: bool,
    /// Deadline of the exchange's response.
    pub last: Option<Now>,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryVerdict {
    /// Retry after this time.
    Again(Duration),
    /// Do not retry.
    GiveUp(Reason),
}

/// Why an attempt is not retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The response is not a failure, or no other attempt would fare better.
    NoFailure,
    /// Every instance was tried.
    NoOther,
    /// The route's `retries` are used up.
    Exhausted,
    /// The instance may have acted on the request, and must not do so twice.
    NotIdempotent,
    /// The body is no longer available.
    NotReplayable,
    /// The next attempt would begin after the deadline.
    TooLate,
    /// The service has had too many retries lately.
    Budget,
}

impl AttemptReport<'_> {
    /// Checks whether this attempt may be retried, apart from deadline and budget.
    pub fn may_retry(&self) -> Result<(), Reason> {
        let asked = |on: RetryOn| self.retry_on.contains(&on);
        let harmless = match self.outcome {
            AttemptOutcome::Timeout => self.idempotent || asked(RetryOn::Timeout),
            // A failed connect after sending: a kept connection died under the request, and no new one could be made.
            // Ports are counted per address of an instance, so another one may be reached.
            AttemptOutcome::ConnectFailed | AttemptOutcome::Reset | AttemptOutcome::Shortage(Shortage::Ports) => {
                self.idempotent || asked(RetryOn::Reset)
            }
            AttemptOutcome::Status(500..) if asked(RetryOn::ServerError) => true,
            AttemptOutcome::Status(502..=504) => self.idempotent || asked(RetryOn::GatewayError),
            AttemptOutcome::Cancelled | AttemptOutcome::Status(_) | AttemptOutcome::Shortage(_) => {
                return Err(Reason::NoFailure);
            }
        };
        if self.number > self.retries {
            Err(Reason::Exhausted)
        } else if self.was_never_sent() {
            Ok(())
        } else if self.sent && !harmless {
            Err(Reason::NotIdempotent)
        } else if !self.replayable {
            Err(Reason::NotReplayable)
        } else {
            Ok(())
        }
    }

    /// Returns true if no instance has received any of the request.
    fn was_never_sent(&self) -> bool {
        matches!(self.outcome, AttemptOutcome::ConnectFailed | AttemptOutcome::Shortage(_)) && !self.sent
    }
}

/// Returns how long to wait after attempt `number` (from 1): up to 25 ms, doubled each time up to 1 s ("full jitter",
/// M. Brooker, *Exponential Backoff And Jitter*, 2015).
pub fn back_off(number: u32, random: u64) -> Duration {
    const FIRST: u64 = 25_000_000;
    const MOST: u64 = 1_000_000_000;
    let ceiling = FIRST.saturating_mul(1_u64.checked_shl(number.saturating_sub(1)).unwrap_or(u64::MAX)).min(MOST);
    Duration::from_nanos(((u128::from(mix(random)) * u128::from(ceiling)) >> 64) as u64)
}

impl ServiceState {
    /// Decides whether to retry a failed attempt, and withdraws the retry from the budget.
    pub fn retry(&self, attempt: &AttemptReport<'_>, now: Now, random: u64) -> RetryVerdict {
        if let Err(reason) = attempt.may_retry() {
            return RetryVerdict::GiveUp(reason);
        }
        if matches!(attempt.outcome, AttemptOutcome::Shortage(_)) && attempt.number as usize >= self.slots.len() {
            return RetryVerdict::GiveUp(Reason::NoOther);
        }
        let pause = back_off(attempt.number, random);
        // Before the budget: a retry that cannot happen must not be withdrawn.
        if attempt.last.is_some_and(|last| now.saturating_add(pause) >= last) {
            return RetryVerdict::GiveUp(Reason::TooLate);
        }
        let started = || self.slots.iter().map(|slot| newly_started(&slot.instance)).sum();
        // A request that reached no instance puts no load on any: only repeated requests can become a storm.
        if attempt.was_never_sent() || self.shared.budget.withdraw(&self.budget, now, started) {
            RetryVerdict::Again(pause)
        } else {
            RetryVerdict::GiveUp(Reason::Budget)
        }
    }
}

/// Returns the number of attempts since the last call.
fn newly_started(instance: &Instance) -> u64 {
    let started = instance.started.load(Ordering::Acquire);
    started.saturating_sub(instance.accounted.swap(started, Ordering::AcqRel))
}

#[cfg(test)]
mod tests;
