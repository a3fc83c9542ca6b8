//! How much of what was sent a client has read, and whether that is fast enough. What waits in the gateway's own kernel is not read:
//! only what the client's kernel has acknowledged is.

use std::time::Duration;

use crate::{Instant, Pace};

/// Measures what is sent to one client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery {
    pace: Pace,
    /// Bytes handed to the kernel.
    sent: u64,
    /// Bytes of them that are known to be acknowledged.
    acknowledged: u64,
    /// Since when, as far as is known, the client has acknowledged nothing although it is waited for.
    still_since: Option<Instant>,
}

impl Delivery {
    /// A delivery that is to go at this pace.
    pub fn new(pace: Pace) -> Self {
        Self { pace, ..Self::default() }
    }

    /// A delivery of which everything was sent, and so many bytes are not acknowledged: from now on the client is waited for.
    pub fn of_rest(pace: Pace, now: Instant, unacknowledged: u64) -> Self {
        let mut delivery = Self { sent: unacknowledged, ..Self::new(pace) };
        delivery.wait(now);
        delivery
    }

    /// Bytes handed to the kernel.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The kernel has taken `bytes` more.
    pub fn send(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The kernel takes nothing more: the client is waited for.
    pub fn wait(&mut self, now: Instant) {
        self.pace.wait(now);
        self.still_since.get_or_insert(now);
    }

    /// The kernel takes something again: the client is not waited for any more.
    pub fn go_on(&mut self, now: Instant) {
        self.pace.go_on(now);
        self.still_since = None;
    }

    /// Whether the client is waited for.
    pub fn is_waiting(&self) -> bool {
        self.pace.is_waiting()
    }

    /// When the client has become too slow: for its pace, or because it has acknowledged nothing for as long as `patience`. None while it
    /// is not waited for. How many of all the bytes that were written to it are not acknowledged is asked only where that time seems
    /// to have come, since it takes a system call.
    pub fn due(&mut self, now: Instant, patience: Duration, unacknowledged: impl FnOnce() -> u64) -> Option<Instant> {
        let due = self.known_due(patience)?;
        if due > now {
            return Some(due);
        }
        // The last bytes that were written are those of this delivery.
        let acknowledged = self.sent.saturating_sub(unacknowledged());
        if acknowledged > self.acknowledged {
            self.acknowledged = acknowledged;
            self.pace.reach(acknowledged);
            self.still_since = Some(now);
        }
        self.known_due(patience)
    }

    fn known_due(&self, patience: Duration) -> Option<Instant> {
        let still = self.still_since?.saturating_add(patience);
        Some(self.pace.due().map_or(still, |due| due.min(still)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    /// At least 100 bytes per second behind 10 seconds.
    fn delivery() -> Delivery {
        Delivery::new(Pace::new(100, Duration::from_secs(10)))
    }

    fn nobody_asks() -> u64 {
        panic!("the kernel was asked before it had to be")
    }

    #[test]
    fn what_the_kernel_holds_is_not_read() {
        let mut delivery = delivery();
        delivery.send(1_000_000);
        assert_eq!(delivery.due(at(100), PATIENCE, nobody_asks), None);
        delivery.wait(at(100));
        assert_eq!(delivery.due(at(109), PATIENCE, nobody_asks), Some(at(110)));
        assert_eq!(delivery.due(at(110), PATIENCE, || 1_000_000), Some(at(110)));
        // What was written before this delivery is not acknowledged either.
        assert_eq!(delivery.due(at(110), PATIENCE, || 2_000_000), Some(at(110)));
    }

    #[test]
    fn what_was_acknowledged_earns_time_though_the_kernel_takes_nothing() {
        let mut delivery = delivery();
        delivery.send(10_000);
        delivery.wait(at(0));
        assert_eq!(delivery.due(at(10), PATIENCE, || 9_000), Some(at(20)));
        assert_eq!(delivery.due(at(20), PATIENCE, || 9_000), Some(at(20)));
        assert_eq!(delivery.due(at(20), PATIENCE, || 7_000), Some(at(40)));
        // Asked again, a kernel cannot have taken back what it has acknowledged.
        assert_eq!(delivery.due(at(40), PATIENCE, || 9_000), Some(at(40)));
    }

    #[test]
    fn silence_is_bounded_whatever_was_earned() {
        let mut delivery = delivery();
        delivery.send(1_000_000);
        delivery.wait(at(0));
        assert_eq!(delivery.due(at(10), PATIENCE, || 100_000), Some(at(70)));
        assert_eq!(delivery.due(at(70), PATIENCE, || 99_999), Some(at(130)));
        assert_eq!(delivery.due(at(130), PATIENCE, || 99_999), Some(at(130)));
    }

    #[test]
    fn only_waiting_spends_time() {
        let mut delivery = delivery();
        delivery.send(100);
        delivery.wait(at(0));
        delivery.go_on(at(4));
        delivery.send(100);
        assert!(!delivery.is_waiting());
        assert_eq!(delivery.due(at(1000), PATIENCE, nobody_asks), None);
        delivery.wait(at(1000));
        assert_eq!(delivery.due(at(1005), PATIENCE, nobody_asks), Some(at(1006)));
        assert_eq!(delivery.due(at(1006), PATIENCE, || 100), Some(at(1007)));
    }

    #[test]
    fn where_no_rate_is_asked_for_there_is_patience() {
        let mut delivery = Delivery::of_rest(Pace::new(0, Duration::ZERO), at(5), 1000);
        assert_eq!(delivery.due(at(5), PATIENCE, nobody_asks), Some(at(65)));
        assert_eq!(delivery.due(at(65), PATIENCE, || 1000), Some(at(65)));
        assert_eq!(delivery.due(at(65), PATIENCE, || 10), Some(at(125)));
    }
}
