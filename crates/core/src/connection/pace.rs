//! How slowly a client may send or read: a minimum average rate over the whole body, counting only time spent waiting for the client.

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
    /// At least `rate` bytes per second (0: no bound) once `grace` has passed.
    pub fn new(rate: u64, grace: Duration) -> Self {
        Self { grace, rate, ..Self::default() }
    }

    /// The client is being waited for.
    pub fn wait(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The client moved `bytes` bytes.
    pub fn moved(&mut self, now: Instant, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.go_on(now);
    }

    /// The client is not waited for any more.
    pub fn go_on(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now.since(since);
        }
    }

    /// The client has moved `bytes` bytes in all.
    pub fn reach(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// Whether the client is being waited for.
    pub fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// When the client has become too slow, unless it moves; none while nobody waits for it.
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
        pace.wait(at(5));
        pace.wait(at(7));
        assert!(pace.is_waiting());
        assert_eq!(pace.due(), Some(at(15)));
    }

    #[test]
    fn bytes_earn_time_and_only_waiting_spends_it() {
        let mut pace = Pace::new(100, Duration::from_secs(10));
        pace.wait(at(0));
        pace.moved(at(4), 300);
        // A long pause in which nobody waited for the client costs it nothing.
        pace.wait(at(1000));
        assert_eq!(pace.due(), Some(at(1009)));
    }

    #[test]
    fn rate_zero_is_no_bound() {
        let mut pace = Pace::new(0, Duration::ZERO);
        pace.wait(at(0));
        assert_eq!(pace.due(), None);
    }
}
