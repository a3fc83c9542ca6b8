//! Who waits for which exchange, and the traces that were made of those that came. While nobody waits, an exchange
//! pays for one look at a flag. Everything is bounded: watches, traces, their bytes and their life.

mod kept;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use pylae_core::exchange::filter::ExchangeFilter;
use pylae_core::request::trace_token::TraceToken;
use pylae_core::{Exchange, Instant};
use serde::{Deserialize, Serialize};

use self::kept::KeptTraces;
pub(crate) use self::tokens::TraceTokens;

/// Watches at once.
const MOST_WATCHES: usize = 32;
/// Traces that one watch waits for.
const MOST_TRACES: u32 = 100;
/// How long a watch may last.
const LONGEST: Duration = Duration::from_secs(3600);

/// What somebody waits for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchQuestion {
    /// The exchanges.
    filter: ExchangeFilter,
    /// How many of them.
    count: u32,
    /// For how many seconds.
    seconds: f64,
}

/// What has come of a watch.
#[derive(Clone, Debug, Serialize)]
pub struct WatchProgress {
    /// Ids of the traces so far.
    pub traces: Vec<String>,
    /// True if it waits for no more.
    pub over: bool,
}

/// One watch.
#[derive(Debug)]
struct ExchangeWatch {
    id: u64,
    filter: ExchangeFilter,
    left: u32,
    until: Instant,
    found: Vec<String>,
}

/// All watches of an engine and the traces that it keeps.
pub(crate) struct Watches {
    /// True while there is a watch.
    active: AtomicBool,
    open: RwLock<Vec<ExchangeWatch>>,
    begun: AtomicU64,
    kept: Mutex<KeptTraces>,
    pub(crate) tokens: TraceTokens,
}

impl Default for Watches {
    fn default() -> Self {
        Self {
            active: AtomicBool::new(false),
            open: RwLock::default(),
            begun: AtomicU64::new(0),
            kept: Mutex::default(),
            tokens: TraceTokens::new(),
        }
    }
}

impl Watches {
    /// Whether somebody waits for an exchange with this request.
    #[inline]
    pub(crate) fn wants(&self, exchange: &Exchange) -> bool {
        self.active.load(Ordering::Relaxed) && self.is_wanted(exchange)
    }

    #[cold]
    fn is_wanted(&self, exchange: &Exchange) -> bool {
        let now = exchange.times.started;
        self.open.read().iter().any(|watch| watch.waits(now) && watch.filter.fits_request(exchange))
    }

    /// Begins a watch. Returns its id, or why there is none.
    pub(crate) fn begin(&self, question: WatchQuestion, now: Instant) -> Result<u64, &'static str> {
        let span = Duration::try_from_secs_f64(question.seconds).unwrap_or(LONGEST).min(LONGEST);
        let mut watches = self.open.write();
        watches.retain(|watch| watch.until > now);
        if watches.len() >= MOST_WATCHES {
            return Err("there are as many watches as there may be");
        }
        let id = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let (left, until) = (question.count.clamp(1, MOST_TRACES), now.saturating_add(span));
        watches.push(ExchangeWatch { id, filter: question.filter, left, until, found: Vec::new() });
        self.active.store(true, Ordering::Relaxed);
        Ok(id)
    }

    /// What has come of a watch, or None if there is none with this id.
    pub(crate) fn progress(&self, id: u64, now: Instant) -> Option<WatchProgress> {
        let watches = self.open.read();
        let watch = watches.iter().find(|watch| watch.id == id)?;
        Some(WatchProgress { traces: watch.found.clone(), over: !watch.waits(now) })
    }

    /// Ends a watch.
    pub(crate) fn end(&self, id: u64) {
        let mut watches = self.open.write();
        watches.retain(|watch| watch.id != id);
        self.active.store(!watches.is_empty(), Ordering::Relaxed);
    }

    /// Offers an exchange that is over to those that waited for it when it began. `token` is the one that it came
    /// with; `describe` makes the trace, whose id is given.
    pub(crate) fn offer(
        &self,
        exchange: &Exchange,
        route: Option<&str>,
        (token, random): (Option<TraceToken>, u128),
        describe: impl FnOnce(&str) -> String,
    ) {
        let (now, status) = (exchange.times.started, exchange.response.status);
        let id = format!("{:032x}", token.map_or(random, |token| token.id));
        let mut wanted = token.is_some();
        for watch in self.open.write().iter_mut() {
            if watch.waits(now) && watch.filter.fits_request(exchange) && watch.filter.fits_end(route, status) {
                watch.left -= 1;
                watch.found.push(id.clone());
                wanted = true;
            }
        }
        if wanted {
            let document = describe(&id);
            self.kept.lock().push(id, document, now);
        }
    }

    /// The traces that are kept, latest first.
    pub(crate) fn traces(&self, now: Instant) -> Vec<Arc<str>> {
        self.kept.lock().all(now)
    }

    /// The trace with this id.
    pub(crate) fn trace(&self, id: &str, now: Instant) -> Option<Arc<str>> {
        self.kept.lock().find(id, now)
    }
}

impl ExchangeWatch {
    fn waits(&self, now: Instant) -> bool {
        self.left > 0 && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(count: u32, seconds: f64) -> WatchQuestion {
        WatchQuestion { filter: ExchangeFilter::default(), count, seconds }
    }

    fn exchange(second: u64) -> Exchange {
        let mut exchange = Exchange::default();
        (exchange.times.started, exchange.response.status) = (at(second), 200);
        exchange
    }

    fn at(second: u64) -> Instant {
        Instant::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn a_watch_gets_so_many_and_is_over() {
        let watches = Watches::default();
        assert!(!watches.wants(&exchange(1)));
        let id = watches.begin(question(2, 60.0), at(1)).unwrap();
        for random in 1..=3 {
            assert_eq!(watches.wants(&exchange(2)), random <= 2);
            watches.offer(&exchange(2), None, (None, random), |id| format!("\"{id}\""));
        }
        let progress = watches.progress(id, at(2)).unwrap();
        assert_eq!((progress.traces.len(), progress.over), (2, true));
        assert_eq!(watches.traces(at(2)).len(), 2);
        assert_eq!(&*watches.trace(&progress.traces[0], at(2)).unwrap(), format!("\"{:032x}\"", 1));
        watches.end(id);
        assert!(watches.progress(id, at(2)).is_none());
        assert!(!watches.active.load(Ordering::Relaxed));
    }

    #[test]
    fn a_watch_ends_by_itself_and_there_are_only_so_many() {
        let watches = Watches::default();
        for _ in 0..MOST_WATCHES {
            watches.begin(question(1, 10.0), at(0)).unwrap();
        }
        assert!(watches.begin(question(1, 10.0), at(9)).is_err());
        assert!(!watches.wants(&exchange(10)));
        assert!(watches.begin(question(1, 10.0), at(10)).is_ok());
        assert_eq!(watches.open.read().len(), 1);
    }

    #[test]
    fn a_token_needs_no_watch() {
        let watches = Watches::default();
        let token = TraceToken { id: 7, expires: 0 };
        watches.offer(&exchange(1), None, (Some(token), 1), |_| "{}".to_owned());
        assert!(watches.trace(&format!("{:032x}", 7), at(1)).is_some());
        watches.offer(&exchange(1), None, (None, 1), |_| unreachable!());
    }
}
