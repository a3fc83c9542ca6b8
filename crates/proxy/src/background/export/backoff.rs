//! When to try again (OTLP specification, "Failures").

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// The shortest and the longest wait that a collector may ask for.
const LEAST_ASKED: Duration = Duration::from_millis(100);
const MOST_ASKED: Duration = Duration::from_secs(300);

/// Exponential back-off with jitter. It goes on over batches: what counts is the collector.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `asked` is what the collector has said, `random` from 0 to 1.
    pub(super) fn next(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        let steps = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        match asked {
            Some(asked) => asked.clamp(LEAST_ASKED, MOST_ASKED),
            None => FIRST.saturating_mul(1 << steps).min(LONGEST).mul_f64(0.5 + random / 2.0),
        }
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.next(None, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.next(None, 0.0), Duration::from_millis(500), "half of it at random");
    }

    #[test]
    fn what_a_collector_asks_for_has_a_bound() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_secs(7)), 0.0).as_secs(), 7);
        assert_eq!(backoff.next(Some(Duration::from_secs(1 << 40)), 0.0), MOST_ASKED);
        assert_eq!(backoff.next(Some(Duration::ZERO), 0.0), LEAST_ASKED, "not as fast as it can answer");
    }
}
