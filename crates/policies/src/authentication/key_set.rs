//! A JWK set that lies at an address: when it is fetched, and what holds meanwhile. Who fetches it is somebody else.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use pylae_core::Instant;

use super::keys::{Keys, SignatureAlgorithm};

/// Shortest time between two fetches, whatever is asked for.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// Bytes of a JWK set.
pub const MAX_KEY_SET_BYTES: usize = 1024 * 1024;

/// What is done for authenticators outside the workers.
pub trait Background: Send + Sync {
    /// Runs `job`, which takes long, on one of a few threads. False, and it is dropped, if too many wait already.
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> bool;

    /// Looks after `set` from now on, as long as it lives: fetches it when it is due. To be called again when it has
    /// become due earlier than it said.
    fn watch(&self, set: &Arc<KeySet>);
}

/// The keys at an address.
pub struct KeySet {
    url: String,
    algorithms: Vec<SignatureAlgorithm>,
    refresh: Duration,
    keys: RwLock<Option<Arc<Keys>>>,
    /// Which of all sets that were ever fetched is in force: no two have the same, wherever they come from.
    generation: AtomicU64,
    fetches: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last document, to see whether another one differs.
    document: Vec<u8>,
    /// When the next fetch is due; zero is at once.
    due: Instant,
    /// When the last fetch began.
    fetch_started: Option<Instant>,
    fetching: bool,
    failures: u32,
    wakers: Vec<Waker>,
}

/// What came of a fetch, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// As expected: nothing to tell.
    Usual,
    /// The first that failed in a row.
    Failing(String),
    /// The first that succeeded after failures.
    Recovered,
}

/// What a request may hope for when it lacks a key.
pub(super) enum KeyFetch {
    /// A fetch is under way or about to begin.
    Soon,
    /// Nothing is fetched before long.
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

    /// Where it lies.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address without what may be secret in it, for logs.
    pub fn redacted_url(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// When it is to be fetched; none while it is being fetched.
    pub fn due(&self) -> Option<Instant> {
        let state = self.state.lock();
        (!state.fetching).then_some(state.due)
    }

    /// Says that a fetch begins.
    pub fn begin_fetch(&self, now: Instant) {
        let mut state = self.state.lock();
        state.fetching = true;
        state.fetch_started = Some(now);
    }

    /// Takes what was fetched. What is no usable set changes nothing: the last good one stays in force.
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
                // Without any key nobody gets in, so the first attempts follow each other soon.
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

    /// The keys in force, and which set they are; none before the first was fetched.
    pub(super) fn current(&self) -> Option<Arc<Keys>> {
        self.keys.read().clone()
    }

    /// Tells sets that were ever in force apart.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Asks for a newer set: fetched at once, but not within 30 seconds of the last time.
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

    /// Waits until the fetch that is due or under way is over.
    pub(super) async fn wait_for_fetch(&self, now: Instant) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            // A due date later than `now` was set by a fetch that is over.
            if !state.fetching && state.due > now {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The sets that authenticators use, by address: one that is used again after a reload keeps its keys.
#[derive(Default)]
pub(super) struct KeySets {
    by_url: Mutex<BTreeMap<String, Weak<KeySet>>>,
    /// Counts the sets that were fetched. A set that is let go and taken up again must not be taken for what it was
    /// before: tokens are remembered longer.
    fetches: Arc<AtomicU64>,
}

impl KeySets {
    /// The set at `url`.
    pub(super) fn get(&self, url: &str, algorithms: &[SignatureAlgorithm], refresh: Duration) -> Arc<KeySet> {
        let mut sets = self.by_url.lock();
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
