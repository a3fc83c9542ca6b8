//! Exemplars: for each bucket of the page, the latest exchange with a trace that is sent and that was counted in it.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use pylae_core::Exchange;

use crate::telemetry::metrics::page::bounds::{BUCKETS, bucket};

/// How often a reader looks again at an exemplar that is being written.
const TRIES: usize = 8;

/// The trace of an exchange, beside its duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    /// The duration.
    pub(crate) nanos: u64,
    /// When the exchange ended, since the Unix epoch.
    pub(crate) ended: Duration,
}

/// The exemplars of a histogram, by bucket of the page.
pub(crate) type BucketExemplars = [Option<Exemplar>; BUCKETS];

impl Exemplar {
    /// The exemplar of an exchange that is over.
    pub(crate) fn of(exchange: &Exchange, nanos: u64) -> Self {
        let context = &exchange.trace_context;
        Self {
            trace_id: context.trace_id,
            span_id: context.span_id,
            nanos,
            ended: exchange.times.wall.saturating_add(Duration::from_nanos(nanos)),
        }
    }
}

/// The exemplars of one worker's histogram. One thread writes them, and others may read them at the same time.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Exemplars([Cell; BUCKETS]);

/// One exemplar. Its parts are written one by one, between two changes of the version.
#[derive(Debug, Default)]
struct Cell {
    /// Zero if nothing was written yet, odd while something is.
    version: AtomicU64,
    parts: [AtomicU64; 5],
}

impl Default for Exemplars {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Cell::default()))
    }
}

impl Exemplars {
    pub(crate) fn record(&self, exemplar: &Exemplar) {
        self.0[bucket(exemplar.nanos)].write(exemplar);
    }

    /// Replaces those in `latest` that are older.
    pub(crate) fn add_to(&self, latest: &mut BucketExemplars) {
        for (kept, cell) in latest.iter_mut().zip(&self.0) {
            if let Some(found) = cell.read() {
                *kept = Some(kept.filter(|kept| kept.ended >= found.ended).unwrap_or(found));
            }
        }
    }
}

impl Cell {
    /// Only one thread may write.
    fn write(&self, exemplar: &Exemplar) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Whoever sees a part of what follows sees the odd version too.
        fence(Ordering::Release);
        let ended = u64::try_from(exemplar.ended.as_nanos()).unwrap_or(u64::MAX);
        let (high, low) = ((exemplar.trace_id >> 64) as u64, exemplar.trace_id as u64);
        for (part, value) in self.parts.iter().zip([high, low, exemplar.span_id, exemplar.nanos, ended]) {
            part.store(value, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// Returns what was written last. None if nothing was, or if it changes all the time.
    fn read(&self) -> Option<Exemplar> {
        for _ in 0..TRIES {
            let version = self.version.load(Ordering::Acquire);
            if version == 0 {
                return None;
            }
            let [high, low, span_id, nanos, ended] = self.parts.each_ref().map(|part| part.load(Ordering::Relaxed));
            // The parts are read before the version is looked at again.
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                let trace_id = u128::from(high) << 64 | u128::from(low);
                return Some(Exemplar { trace_id, span_id, nanos, ended: Duration::from_nanos(ended) });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn exemplar(n: u64) -> Exemplar {
        Exemplar { trace_id: u128::from(n) << 64 | u128::from(n), span_id: n, nanos: n, ended: Duration::from_nanos(n) }
    }

    #[test]
    fn the_latest_of_each_bucket_over_all_workers_counts() {
        let (one, other) = (Exemplars::default(), Exemplars::default());
        one.record(&exemplar(3_000));
        one.record(&exemplar(5_000));
        other.record(&exemplar(4_000));
        other.record(&exemplar(90_000_000_000));
        let mut latest = [None; BUCKETS];
        one.add_to(&mut latest);
        other.add_to(&mut latest);
        assert_eq!(latest[0], Some(exemplar(5_000)));
        assert_eq!(latest[BUCKETS - 1], Some(exemplar(90_000_000_000)));
        assert_eq!(latest.iter().flatten().count(), 2);
    }

    #[test]
    fn a_reader_never_sees_a_part_of_one_and_a_part_of_another() {
        let (cell, stop) = (Cell::default(), AtomicBool::new(false));
        cell.write(&exemplar(1));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (1..1000).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    cell.write(&exemplar(n));
                }
            });
            for _ in 0..20_000 {
                if let Some(found) = cell.read() {
                    assert_eq!(found, exemplar(found.span_id));
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn an_exchange_is_one_by_its_own_span_and_when_it_ended() {
        let mut exchange = Exchange::default();
        (exchange.trace_context.trace_id, exchange.trace_context.span_id) = (7, 8);
        exchange.times.wall = Duration::from_secs(5);
        let found = Exemplar::of(&exchange, 250_000_000);
        assert_eq!((found.trace_id, found.span_id, found.ended.as_millis()), (7, 8, 5250));
    }
}
