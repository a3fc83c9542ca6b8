//! A remote JWK set: when it is fetched, and which keys are in force meanwhile. A [`Background`] does the fetching.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use pylae_core::Instant;

use super::keys::{Keys, SignatureAlgorithm};

/// Minimum time between two fetches.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// Maximum bytes of a JWK set.
pub const MAX_KEY_SET_BYTES: usize = 1024 * 1024;

/// Work that authenticators need done outside the workers.
pub trait Background: Send + Sync {
    /// Queues the slow `job` for one of a few threads. Drops it and returns false if too many jobs are queued.
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> bool;

    /// Fetches `set` whenever it is due, until it is dropped. Must be called again when the set becomes due earlier
    /// than it reported.
    fn watch(&self, set: &Arc<KeySet>);
}

/// The JWK set at a URL.
pub struct KeySet {
    url: String,
    algorithms: Vec<SignatureAlgorithm>,
    refresh: Duration,
    keys: RwLock<Option<Arc<Keys>>>,
    /// Identifies the document in force. Unique among all documents ever fetched, from any URL.
    generation: AtomicU64,
    fetches: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last document, to detect changes.
    document: Vec<u8>,
    /// When the next fetch is due; zero is now.
    due: Instant,
    /// When the last fetch started.
    fetch_started: Option<Instant>,
    fetching: bool,
    failures: u32,
    wakers: Vec<Waker>,
}

/// The result of a fetch, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing to log: the same result as last time.
    Usual,
    /// The first failure in a row.
    Failing(String),
    /// The first success after failures.
    Recovered,
}

/// Whether a request that lacks a key can wait for a fetch.
pub(super) enum KeyFetch {
    /// A fetch is in progress or about to start.
    Soon,
    /// No fetch is coming soon.
    NotSoon,
}

impl KeySet {
    fn new(url: &str, algorithms: &[SignatureAlgorithm], refresh: Duration, fetches: &Arc<AtomicU64>) -> Self {
        Self {
            fetches: Arc::clone(fetches),
            url: url.to_owned(),
            algorithms: algorithms.to_vec(),
            refresh,
            keys: RwLock::default(),
            generation: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// Returns the URL of the set.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the URL without its query and fragment, which may hold secrets, for logs.
    pub fn redacted_url(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// Returns when the set must be fetched, or None while a fetch is in progress.
    pub fn due(&self) -> Option<Instant> {
        let state = self.state.lock();
        (!state.fetching).then_some(state.due)
    }

    /// Marks the start of a fetch.
    pub fn begin_fetch(&self, now: Instant) {
        let mut state = self.state.lock();
        state.fetching = true;
        state.fetch_started = Some(now);
    }

    /// Takes the result of a fetch. After a failure or an unusable document the last good set stays in force.
    pub fn finish_fetch(&self, document: Result<Vec<u8>, String>, now: Instant) -> Fetched {
        let parsed = document.and_then(|document| {
            let keys = Keys::from_jwks(&document, &self.algorithms, false)?;
            Ok((document, keys))
        });
        let mut state = self.state.lock();
        let fetched = match parsed {
            Ok((document, keys)) => {
                if document != state.document {
                    *self.keys.write() = Some(Arc::new(keys));
                    self.generation.store(self.fetches.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    state.document = document;
                }
                state.due = now.saturating_add(self.refresh);
                if std::mem::take(&mut state.failures) > 0 { Fetched::Recovered } else { Fetched::Usual }
            }
            Err(why) => {
                // Without any keys no client is admitted, so the first retries come sooner.
                let loaded = self.keys.read().is_some();
                let pause = if loaded {
                    MIN_INTERVAL
                } else {
                    MIN_INTERVAL.min(Duration::from_secs(1 << state.failures.min(5)))
                };
                state.due = now.saturating_add(pause);
                state.failures += 1;
                if state.failures == 1 { Fetched::Failing(why) } else { Fetched::Usual }
            }
        };
        state.fetching = false;
        for waker in state.wakers.drain(..) {
            waker.wake();
        }
        fetched
    }

    /// Returns the keys in force, or None before the first successful fetch.
    pub(super) fn current(&self) -> Option<Arc<Keys>> {
        self.keys.read().clone()
    }

    /// Returns the identifier of the document in force.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Requests a newer set now, unless the last fetch started less than `MIN_INTERVAL` ago.
    pub(super) fn request_fetch(&self, now: Instant) -> KeyFetch {
        let mut state = self.state.lock();
        if state.fetching || state.due <= now {
            return KeyFetch::Soon;
        }
        if state.fetch_started.is_some_and(|started| now < started.saturating_add(MIN_INTERVAL)) {
            return KeyFetch::NotSoon;
        }
        state.due = now;
        KeyFetch::Soon
    }

    /// Waits until the due or running fetch has finished.
    pub(super) async fn wait_for_fetch(&self, now: Instant) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            // Only a finished fetch sets a due time later than `now`.
            if !state.fetching && state.due > now {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The sets in use, by URL and settings. A set that is still used after a reload keeps its keys.
#[derive(Default)]
pub(super) struct KeySets {
    in_use: Mutex<BTreeMap<String, Weak<KeySet>>>,
    /// Counts fetched documents. Verified tokens are remembered longer than a set lives, so a set that is dropped and
    /// created again must not reuse an identifier.
    fetches: Arc<AtomicU64>,
}

impl KeySets {
    /// Returns the set at `url`, and creates it if it is not in use.
    pub(super) fn get(&self, url: &str, algorithms: &[SignatureAlgorithm], refresh: Duration) -> Arc<KeySet> {
        let mut sets = self.in_use.lock();
        sets.retain(|_, set| set.strong_count() > 0);
        let name = format!("{url} {algorithms:?} {refresh:?}");
        if let Some(set) = sets.get(&name).and_then(Weak::upgrade) {
            return set;
        }
        let set = Arc::new(KeySet::new(url, algorithms, refresh, &self.fetches));
        sets.insert(name, Arc::downgrade(&set));
        set
    }
}
