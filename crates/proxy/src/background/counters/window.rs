//! How many calls may be on their way to the store at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::store::{StoreError, StoreResult};

/// Calls that a window has at first. A server needs some milliseconds for them.
const FIRST: usize = 256;
/// The smallest window: what many nodes together may send to a server that is behind.
const LEAST: usize = 16;

/// Bounds the calls of flushes that are on their way, so that a server that has much to catch up with answers in time:
/// after it was away, thousands of keys may have something to tell it. Grows while it answers fast, and shrinks when it
/// does not. One task uses it.
#[derive(Debug)]
pub(super) struct CallWindow {
    timeout: Duration,
    most: usize,
    size: AtomicUsize,
    under_way: AtomicUsize,
}

/// Calls that are on their way, until this is dropped.
#[derive(Debug)]
pub(super) struct CallsUnderWay<'a> {
    window: &'a CallWindow,
    calls: usize,
    /// The window was used so much that it may be too small.
    full: bool,
}

impl CallWindow {
    /// A window of at most `most` calls, which are given up after `timeout`.
    pub(super) fn new(timeout: Duration, most: usize) -> Self {
        Self { timeout, most, size: AtomicUsize::new(FIRST), under_way: AtomicUsize::new(0) }
    }

    /// Calls that may be sent now.
    pub(super) fn room(&self) -> usize {
        self.size.load(Ordering::Relaxed).saturating_sub(self.under_way.load(Ordering::Relaxed))
    }

    /// Begins anew: the server is another one, or was away.
    pub(super) fn reset(&self) {
        self.size.store(FIRST, Ordering::Relaxed);
    }

    /// Counts calls that are sent now.
    pub(super) fn send(&self, calls: usize) -> CallsUnderWay<'_> {
        let all = self.under_way.fetch_add(calls, Ordering::Relaxed) + calls;
        CallsUnderWay { window: self, calls, full: all >= self.size.load(Ordering::Relaxed) / 2 }
    }
}

impl CallsUnderWay<'_> {
    /// Learns from results that took so long. What was not sent says nothing.
    pub(super) fn learn<'a>(&self, mut results: impl Iterator<Item = &'a StoreResult>, after: Duration) {
        if results.any(|result| matches!(result, Ok(_) | Err(StoreError::TimedOut))) {
            self.answered(after);
        }
    }

    fn answered(&self, after: Duration) {
        let size = self.window.size.load(Ordering::Relaxed);
        let next = if after > self.window.timeout / 2 {
            (size / 2).max(LEAST)
        } else if self.full && after < self.window.timeout / 4 {
            (size * 2).min(self.window.most)
        } else {
            size
        };
        self.window.size.store(next, Ordering::Relaxed);
    }
}

impl Drop for CallsUnderWay<'_> {
    fn drop(&mut self) {
        self.window.under_way.fetch_sub(self.calls, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(50);

    #[test]
    fn grows_while_answers_are_fast_and_it_is_used() {
        let window = CallWindow::new(TIMEOUT, 4096);
        window.send(10).answered(Duration::from_millis(1));
        assert_eq!(window.room(), FIRST, "few calls say nothing about many");
        for _ in 0..10 {
            window.send(window.room()).answered(Duration::from_millis(1));
        }
        assert_eq!(window.room(), 4096);
        window.send(4096).answered(Duration::from_millis(20));
        assert_eq!(window.room(), 4096);
        window.send(4096).answered(Duration::from_millis(30));
        assert_eq!(window.room(), 2048);
        window.reset();
        assert_eq!(window.room(), FIRST);
    }

    #[test]
    fn finds_the_size_that_a_server_can_do_in_time() {
        for (nodes, micros) in [(1, 25), (16, 25), (100, 25)] {
            let windows: Vec<_> = (0..nodes).map(|_| CallWindow::new(TIMEOUT, 4096)).collect();
            let mut late = 0;
            for round in 0..100 {
                let sent: Vec<_> = windows.iter().map(|window| window.send(window.room())).collect();
                let time = Duration::from_micros(sent.iter().map(|sent| sent.calls as u64 * micros).sum());
                late += u32::from(round >= 10 && time > TIMEOUT);
                for sent in &sent {
                    sent.answered(time.min(TIMEOUT));
                }
            }
            assert_eq!(late, 0, "{nodes} nodes");
        }
    }

    #[test]
    fn what_is_under_way_takes_room() {
        let window = CallWindow::new(TIMEOUT, 4096);
        let first = window.send(200);
        assert_eq!(window.room(), 56);
        let more = window.send(100);
        assert_eq!(window.room(), 0);
        drop((first, more));
        assert_eq!(window.room(), FIRST);
    }
}
