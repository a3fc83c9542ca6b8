//! The retry budget of a service.

use parking_lot::Mutex;

use crate::clock::Instant as Now;
use crate::plan;

/// The retries that a service has left: a share of its recent requests, or a few per second if that is more.
///
/// Requests are counted only when a retry is asked for, from the counters of the instances, so that the budget costs
/// nothing while there are no failures.
#[derive(Debug)]
pub(crate) struct RetryAllowance(Mutex<RetryAccount>);

#[derive(Debug)]
struct RetryAccount {
    /// Retries earned by requests; below zero if some were granted by `floor` only.
    earned: f64,
    /// Retries left of the rate per second.
    floor: f64,
    /// Retries allowed whose attempt has not been counted yet.
    expected: u64,
    /// All retries allowed.
    allowed: u64,
    /// All retries refused.
    refused: u64,
    last: Now,
}

/// Seconds over which earned retries expire: a quiet hour must not pay for a retry storm.
const MEMORY: f64 = 10.0;

impl RetryAllowance {
    /// Creates the budget of a service that starts at `now`.
    pub(crate) fn new(now: Now) -> Self {
        // The plan's rate caps `floor` at each withdrawal.
        let full = RetryAccount { earned: 0.0, floor: f64::INFINITY, expected: 0, allowed: 0, refused: 0, last: now };
        Self(Mutex::new(full))
    }

    pub(super) fn withdraw(&self, plan: &plan::RetryBudget, now: Now, attempts: impl FnOnce() -> u64) -> bool {
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

    /// Returns the retries allowed and refused so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let account = self.0.lock();
        (account.allowed, account.refused)
    }
}

impl RetryAccount {
    #[allow(clippy::cast_precision_loss)]
    fn earn(&mut self, plan: &plan::RetryBudget, now: Now, attempts: u64) {
        // Retries earn nothing.
        let retries = attempts.min(self.expected);
        self.expected -= retries;
        let requests = (attempts - retries) as f64;
        let passed = now.since(self.last).as_secs_f64();
        self.last = self.last.max(now);
        // When the requests arrived is unknown; an even rate is the best guess, and old requests earn nothing.
        let recent = if passed > MEMORY { requests * MEMORY / passed } else { requests };
        self.earned = self.earned * (1.0 - passed / MEMORY).max(0.0) + plan.ratio * recent;
        // At least one: a rate far below one per second would otherwise never allow a retry.
        let most = if plan.min_per_second > 0.0 { plan.min_per_second.max(1.0) } else { 0.0 };
        self.floor = (self.floor + plan.min_per_second * passed).min(most);
    }
}
