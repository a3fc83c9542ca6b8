//! Limits how slowly a client may send or read: a minimum average rate over the whole body, counting only time spent
//! waiting for the client.

use std::time::Duration;

use crate::Instant;

/// Measures one direction of one body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    grace: Duration,
    rate: u64,
    bytes: u64,
    waited: Duration,
    since: Option<Instant>,
}

impl Pace {
    /// Requires `rate` bytes per second (0: no limit) once `grace` has passed.
    pub fn new(rate: u64, grace: Duration) -> Self {
        Self { grace, rate, ..Self::default() }
    }

    /// Starts waiting for the client.
    pub fn start_waiting(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Records that the client has sent or read `bytes` bytes.
    pub fn transferred(&mut self, now: Instant, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.stop_waiting(now);
    }

    /// Stops waiting for the client.
    pub fn stop_waiting(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now.since(since);
        }
    }

    /// Sets the total number of bytes.
    pub fn set_total(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// Returns true while the client is waited for.
    pub fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// Returns when the client is too slow unless it makes progress; None while it is not waited for.
    pub fn due(&self) -> Option<Instant> {
        let since = self.since?;
        let earned = Duration::from_millis(self.bytes.saturating_mul(1000).checked_div(self.rate)?);
        Some(since.saturating_add((self.grace + earned).saturating_sub(self.waited)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_client_that_moves_nothing_has_the_grace() {
        let mut pace = Pace::new(100, Duration::from_secs(10));
        assert_eq!(pace.due(), None);
        assert!(!pace.is_waiting());
        pace.start_waiting(at(5));
        pace.start_waiting(at(7));
        assert!(pace.is_waiting());
        assert_eq!(pace.due(), Some(at(15)));
    }

    #[test]
    fn bytes_earn_time_and_only_waiting_spends_it() {
        let mut pace = Pace::new(100, Duration::from_secs(10));
        pace.start_waiting(at(0));
        pace.transferred(at(4), 300);
        // A long pause costs the client nothing if nothing waited for it.
        pace.start_waiting(at(1000));
        assert_eq!(pace.due(), Some(at(1009)));
    }

    #[test]
    fn rate_zero_is_no_bound() {
        let mut pace = Pace::new(0, Duration::ZERO);
        pace.start_waiting(at(0));
        assert_eq!(pace.due(), None);
    }
}
