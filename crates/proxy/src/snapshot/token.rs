//! The token that instances of a service get from the gateway (RFC 6749 section 4.4): which one is in force, and when
//! the next one is fetched. `background/tokens.rs` does the fetching.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;
use pylae_core::Instant;
use pylae_core::plan::ClientCredentials;

use crate::io::clock;

/// How long a token is used whose lifetime the server does not say, before another one is fetched.
const USUAL_RENEWAL: Duration = Duration::from_secs(300);
/// Shortest time between two fetches that succeed.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(1);
/// Longest time until a token is renewed, however long it is good for.
const LONGEST_RENEWAL: Duration = Duration::from_secs(24 * 3600);
/// Shortest time between two renewals that answers of instances ask for.
const EARLY_RENEWAL: Duration = Duration::from_secs(30);
/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two fetches that fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A token for the instances of all services with the same settings. It survives reloads that do not change them.
pub(crate) struct ServiceToken {
    settings: ClientCredentials,
    current: ArcSwapOption<IssuedToken>,
    state: Mutex<TokenState>,
    /// Fetches that have failed.
    failures: AtomicU64,
}

/// A token that the server has issued.
#[derive(Debug)]
pub(crate) struct IssuedToken {
    /// The value of `Authorization`.
    pub(crate) authorization: Box<[u8]>,
    /// When it expires; None if the server has not said it.
    expires: Option<Instant>,
}

/// What a fetch has brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    /// The value of `Authorization`.
    pub(crate) authorization: String,
    /// How long it is good for, if the server has said it.
    pub(crate) lifetime: Option<Duration>,
}

struct TokenState {
    /// When the next fetch is due.
    due: Instant,
    fetching: bool,
    /// Fetches that have failed one after the other.
    failed: u32,
    /// When an instance has last refused the token in force.
    refused: Option<Instant>,
    /// Requests that wait for the running or due fetch.
    wakers: Vec<Waker>,
}

/// What the outcome of a fetch changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenChange {
    /// Nothing that is worth a line of the log.
    Usual,
    /// The first failure after a success.
    Failing(String),
    /// The first success after a failure.
    Recovered,
}

impl ServiceToken {
    pub(crate) fn new(settings: ClientCredentials, now: Instant) -> Self {
        let state = TokenState { due: now, fetching: false, failed: 0, refused: None, wakers: Vec::new() };
        Self { settings, current: ArcSwapOption::empty(), state: Mutex::new(state), failures: AtomicU64::new(0) }
    }

    pub(crate) fn settings(&self) -> &ClientCredentials {
        &self.settings
    }

    /// Returns the token in force.
    pub(crate) fn current(&self, now: Instant) -> Option<Guard<Option<Arc<IssuedToken>>>> {
        let current = self.current.load();
        let is_good = current.as_ref().is_some_and(|token| token.expires.is_none_or(|expires| now < expires));
        is_good.then_some(current)
    }

    /// Returns the line of a head that has the token in force; nothing without one.
    pub(crate) fn line(&self, now: Instant) -> Vec<u8> {
        let current = self.current(now);
        let token = current.as_ref().and_then(|current| current.as_ref());
        token.map_or_else(Vec::new, |token| [b"Authorization: ", &token.authorization[..], b"\r\n"].concat())
    }

    /// Returns when the next fetch is due; None while one is running.
    pub(crate) fn due(&self) -> Option<Instant> {
        let state = self.state.lock();
        (!state.fetching).then_some(state.due)
    }

    pub(crate) fn begin_fetch(&self) {
        self.state.lock().fetching = true;
    }

    /// Ends a fetch that began at `began`, and plans the next one.
    pub(crate) fn finish_fetch(&self, outcome: Result<Issue, String>, began: Instant, now: Instant) -> TokenChange {
        let mut state = self.state.lock();
        state.fetching = false;
        let change = match outcome {
            Ok(Issue { authorization, lifetime }) => {
                let expires = lifetime.map(|lifetime| began.saturating_add(lifetime));
                let authorization = authorization.into_bytes().into();
                self.current.store(Some(Arc::new(IssuedToken { authorization, expires })));
                let renewal = lifetime.map_or(USUAL_RENEWAL, |lifetime| lifetime.mul_f64(0.8));
                state.due = now.saturating_add(renewal.clamp(SHORTEST_RENEWAL, LONGEST_RENEWAL));
                if std::mem::take(&mut state.failed) > 0 { TokenChange::Recovered } else { TokenChange::Usual }
            }
            Err(why) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let pause = FIRST_PAUSE.saturating_mul(1 << state.failed.min(6)).min(LONGEST_PAUSE);
                state.due = now.saturating_add(pause);
                state.failed = state.failed.saturating_add(1);
                if state.failed == 1 { TokenChange::Failing(why) } else { TokenChange::Usual }
            }
        };
        for waker in state.wakers.drain(..) {
            waker.wake();
        }
        change
    }

    /// Has the token renewed because an instance has refused it, unless that was asked for lately.
    pub(crate) fn renew_early(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.refused.is_none_or(|refused| now >= refused.saturating_add(EARLY_RENEWAL)) && state.failed == 0 {
            state.refused = Some(now);
            state.due = state.due.min(now);
        }
    }

    /// Waits until there is a token, or the running or due fetch has failed.
    pub(crate) fn poll_fetched(&self, cx: &mut Context<'_>) -> Poll<()> {
        let now = clock::now();
        let mut state = self.state.lock();
        if self.current(now).is_some() || !state.is_coming(now) {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Returns how long it is until the next fetch begins.
    pub(crate) fn next_fetch(&self, now: Instant) -> Duration {
        self.state.lock().due.since(now)
    }

    /// Returns how long the token in force is still good for: zero without one, None if the server has not said it.
    pub(crate) fn lifetime(&self, now: Instant) -> Option<Duration> {
        match &*self.current.load() {
            None => Some(Duration::ZERO),
            Some(token) => token.expires.map(|expires| expires.since(now)),
        }
    }

    /// Returns how many fetches have failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl TokenState {
    fn is_coming(&self, now: Instant) -> bool {
        self.fetching || self.due <= now
    }
}

#[cfg(test)]
mod tests;
