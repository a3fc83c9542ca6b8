//! The latest exchanges, for the dashboard and the command line. Each worker keeps a few per second, and nearly all
//! while they are being watched. Memory is bounded, and only exchanges that are kept cost anything.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::telemetry::metrics::Counter;

/// Exchanges that a worker keeps per second normally.
const UNWATCHED_RATE: u32 = 64;
/// Exchanges that a worker keeps per second while they are being watched.
const WATCHED_RATE: u32 = 2048;
/// Most exchanges kept per worker.
const CAPACITY: usize = 1024;
/// Most bytes kept per worker.
const CAPACITY_BYTES: usize = 1 << 20;
/// Longest line of an exchange in bytes.
const MAX_LINE: usize = 1 << 14;
/// How long a read counts as watching, in seconds.
const WATCH_SECONDS: u64 = 5;

/// The writing half, owned by a worker.
#[derive(Default)]
pub(crate) struct RecentExchanges {
    left: Cell<u32>,
    ring: Arc<RecentRing>,
}

/// The kept exchanges of a worker, for readers.
#[derive(Debug, Default)]
pub(crate) struct RecentRing {
    lines: Mutex<RecentLines>,
    passed_over: Counter,
    /// Second of the engine's clock until which the exchanges are being watched.
    watched: AtomicU64,
}

#[derive(Debug, Default)]
struct RecentLines {
    lines: VecDeque<Box<str>>,
    bytes: usize,
    /// Ordinal of the next exchange.
    next: u64,
}

/// Exchanges, oldest first within each worker.
#[derive(Debug, Default)]
pub struct Exchanges {
    /// One JSON object each, as in access logs.
    pub lines: Vec<Box<str>>,
    /// Cursors for the next read, per worker.
    pub cursors: Vec<u64>,
    /// Exchanges since the given cursors that were dropped.
    pub missed: u64,
    /// Exchanges since the start that were never kept.
    pub passed_over: u64,
}

impl RecentExchanges {
    /// Keeps exchanges in `ring`.
    pub(crate) fn new(ring: Arc<RecentRing>) -> Self {
        Self { left: Cell::new(UNWATCHED_RATE), ring }
    }

    /// Resets the number of exchanges to keep at the beginning of a second.
    pub(crate) fn refill(&self, now: u64) {
        let watched = self.ring.watched.load(Ordering::Relaxed) >= now;
        self.left.set(if watched { WATCHED_RATE } else { UNWATCHED_RATE });
    }

    /// Keeps the line that `describe` writes, if the number for this second is not used up.
    pub(crate) fn keep(&self, describe: impl FnOnce(&mut Vec<u8>)) {
        let left = self.left.get();
        if left == 0 {
            self.ring.passed_over.add(1);
            return;
        }
        self.left.set(left - 1);
        let mut line = Vec::with_capacity(512);
        describe(&mut line);
        match String::from_utf8(line) {
            Ok(line) if line.len() <= MAX_LINE => self.ring.lines.lock().push(line.trim_end().into()),
            _ => self.ring.passed_over.add(1),
        }
    }
}

impl RecentLines {
    fn push(&mut self, line: Box<str>) {
        self.bytes += line.len();
        self.next += 1;
        self.lines.push_back(line);
        while self.lines.len() > CAPACITY || self.bytes > CAPACITY_BYTES {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }
}

impl Exchanges {
    /// Adds the latest exchanges of a worker from the ordinal `after` on, at most `max`. `watch`, a second of the
    /// engine's clock, marks them as being watched from then on.
    pub(crate) fn read(&mut self, ring: &RecentRing, after: u64, max: usize, watch: Option<u64>) {
        if let Some(now) = watch {
            ring.watched.store(now + WATCH_SECONDS, Ordering::Relaxed);
        }
        self.passed_over += ring.passed_over.get();
        let kept = ring.lines.lock();
        let fresh = kept.next.saturating_sub(after);
        let count = usize::try_from(fresh).unwrap_or(usize::MAX).min(kept.lines.len()).min(max);
        self.missed += fresh - count as u64;
        self.cursors.push(kept.next);
        self.lines.extend(kept.lines.iter().skip(kept.lines.len() - count).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(recent: &RecentExchanges, after: u64, max: usize) -> Exchanges {
        let mut found = Exchanges::default();
        found.read(&recent.ring, after, max, None);
        found
    }

    fn keep(recent: &RecentExchanges, text: &str) {
        recent.keep(|out| out.extend_from_slice(text.as_bytes()));
    }

    #[test]
    fn a_few_of_each_second_and_many_while_somebody_watches() {
        let recent = RecentExchanges::default();
        keep(&recent, "0");
        assert_eq!(read(&recent, 0, 10).passed_over, 1, "before the first second begins");
        recent.refill(1);
        (0..UNWATCHED_RATE + 5).for_each(|_| keep(&recent, "1"));
        let found = read(&recent, 0, usize::MAX);
        assert_eq!((found.lines.len(), found.passed_over), (UNWATCHED_RATE as usize, 6));
        Exchanges::default().read(&recent.ring, 0, 1, Some(1));
        for second in [2, 1 + WATCH_SECONDS] {
            recent.refill(second);
            assert_eq!(recent.left.get(), WATCHED_RATE);
        }
        recent.refill(2 + WATCH_SECONDS);
        assert_eq!(recent.left.get(), UNWATCHED_RATE);
    }

    #[test]
    fn a_read_continues_where_the_last_one_ended() {
        let recent = RecentExchanges::default();
        recent.refill(1);
        (0..3).for_each(|n| keep(&recent, &n.to_string()));
        let first = read(&recent, 0, 2);
        assert_eq!(first.lines.iter().map(|line| &**line).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((first.cursors.as_slice(), first.missed), ([3].as_slice(), 1));
        assert!(read(&recent, 3, 10).lines.is_empty());
        keep(&recent, "3");
        assert_eq!(read(&recent, 3, 10).lines.len(), 1);
    }

    #[test]
    fn it_is_bounded_in_number_and_in_bytes() {
        let recent = RecentExchanges::default();
        let fill = |text: &str, times: usize| {
            for _ in 0..times {
                recent.left.set(1);
                keep(&recent, text);
            }
        };
        fill("1", CAPACITY + 10);
        let found = read(&recent, 0, usize::MAX);
        assert_eq!((found.lines.len(), found.missed), (CAPACITY, 10));
        let long = format!("\"{}\"", "x".repeat(MAX_LINE - 2));
        fill(&long, CAPACITY);
        assert!(recent.ring.lines.lock().bytes <= CAPACITY_BYTES);
        assert_eq!(recent.ring.lines.lock().lines.len(), CAPACITY_BYTES / MAX_LINE);
        fill(&format!("\"{long}\""), 1);
        assert_eq!(read(&recent, 0, 1).passed_over, 1);
    }
}
