//! Measures how much of the sent data a client has read, and whether that is fast enough. Data waiting in the gateway's
//! own kernel is not read: only what the client's kernel has acknowledged counts.

use std::time::Duration;

use crate::{Instant, Pace};

/// Measures the delivery of data to one client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery {
    pace: Pace,
    /// Bytes handed to the kernel.
    sent: u64,
    /// Bytes known to be acknowledged.
    acknowledged: u64,
    /// Since when the client has acknowledged nothing while it is waited for, as far as known.
    idle_since: Option<Instant>,
}

impl Delivery {
    /// Creates a measurement with this pace.
    pub fn new(pace: Pace) -> Self {
        Self { pace, ..Self::default() }
    }

    /// Creates a measurement of data that is completely sent but has unacknowledged bytes: from now on the client is
    /// waited for.
    pub fn of_unacknowledged(pace: Pace, now: Instant, unacknowledged: u64) -> Self {
        let mut delivery = Self { sent: unacknowledged, ..Self::new(pace) };
        delivery.start_waiting(now);
        delivery
    }

    /// Bytes handed to the kernel.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Records that the kernel has accepted `bytes` more.
    pub fn send(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Records that the kernel accepts no more data: the client is waited for.
    pub fn start_waiting(&mut self, now: Instant) {
        self.pace.start_waiting(now);
        self.idle_since.get_or_insert(now);
    }

    /// Records that the kernel accepts data again: the client is no longer waited for.
    pub fn stop_waiting(&mut self, now: Instant) {
        self.pace.stop_waiting(now);
        self.idle_since = None;
    }

    /// Returns true while the client is waited for.
    pub fn is_waiting(&self) -> bool {
        self.pace.is_waiting()
    }

    /// Returns when the client is too slow: for its pace, or because it acknowledges nothing for as long as `patience`.
    /// Returns None while it is not waited for. `unacknowledged`, the number of all unacknowledged bytes sent to it, is
    /// called only once that time seems to have come, because it takes a system call.
    pub fn due(&mut self, now: Instant, patience: Duration, unacknowledged: impl FnOnce() -> u64) -> Option<Instant> {
        let due = self.due_so_far(patience)?;
        if due > now {
            return Some(due);
        }
        // The last bytes written are those of this delivery.
        let acknowledged = self.sent.saturating_sub(unacknowledged());
        if acknowledged > self.acknowledged {
            self.acknowledged = acknowledged;
            self.pace.set_total(acknowledged);
            self.idle_since = Some(now);
        }
        self.due_so_far(patience)
    }

    fn due_so_far(&self, patience: Duration) -> Option<Instant> {
        let still = self.idle_since?.saturating_add(patience);
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
        delivery.start_waiting(at(100));
        assert_eq!(delivery.due(at(109), PATIENCE, nobody_asks), Some(at(110)));
        assert_eq!(delivery.due(at(110), PATIENCE, || 1_000_000), Some(at(110)));
        // What was written before this delivery is not acknowledged either.
        assert_eq!(delivery.due(at(110), PATIENCE, || 2_000_000), Some(at(110)));
    }

    #[test]
    fn what_was_acknowledged_earns_time_though_the_kernel_takes_nothing() {
        let mut delivery = delivery();
        delivery.send(10_000);
        delivery.start_waiting(at(0));
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
        delivery.start_waiting(at(0));
        assert_eq!(delivery.due(at(10), PATIENCE, || 100_000), Some(at(70)));
        assert_eq!(delivery.due(at(70), PATIENCE, || 99_999), Some(at(130)));
        assert_eq!(delivery.due(at(130), PATIENCE, || 99_999), Some(at(130)));
    }

    #[test]
    fn only_waiting_spends_time() {
        let mut delivery = delivery();
        delivery.send(100);
        delivery.start_waiting(at(0));
        delivery.stop_waiting(at(4));
        delivery.send(100);
        assert!(!delivery.is_waiting());
        assert_eq!(delivery.due(at(1000), PATIENCE, nobody_asks), None);
        delivery.start_waiting(at(1000));
        assert_eq!(delivery.due(at(1005), PATIENCE, nobody_asks), Some(at(1006)));
        assert_eq!(delivery.due(at(1006), PATIENCE, || 100), Some(at(1007)));
    }

    #[test]
    fn where_no_rate_is_asked_for_there_is_patience() {
        let mut delivery = Delivery::of_unacknowledged(Pace::new(0, Duration::ZERO), at(5), 1000);
        assert_eq!(delivery.due(at(5), PATIENCE, nobody_asks), Some(at(65)));
        assert_eq!(delivery.due(at(65), PATIENCE, || 1000), Some(at(65)));
        assert_eq!(delivery.due(at(65), PATIENCE, || 10), Some(at(125)));
    }
}
