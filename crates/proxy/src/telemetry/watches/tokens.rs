//! The tokens that ask for the trace of one request: made here, good for a few minutes and once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::Instant;
use pylae_core::request::trace_token::{BadTraceToken, LONGEST, TraceKey, TraceToken};

use crate::telemetry::log::{Log, Refusals};

/// Tokens that were used and are not stale yet. Only good ones are remembered.
const MOST_USED: usize = 10_000;

/// Makes tokens and takes each once.
pub(crate) struct TraceTokens {
    /// None if the system had no random numbers: then there are no tokens.
    key: Option<TraceKey>,
    /// When they become stale, by id.
    used: Mutex<HashMap<u128, u64>>,
    refused: [AtomicU64; BadTraceToken::ALL.len()],
    reports: Refusals,
}

impl TraceTokens {
    pub(super) fn new() -> Self {
        Self {
            key: TraceKey::generate(),
            used: Mutex::default(),
            refused: Default::default(),
            reports: Refusals::default(),
        }
    }

    /// Returns a token with this id that is good for `seconds`, at most [`LONGEST`]. `wall` is the time since 1970.
    pub(crate) fn issue(&self, id: u128, seconds: u64, wall: Duration) -> Option<String> {
        let expires = wall.as_secs() + seconds.clamp(1, LONGEST);
        Some(self.key.as_ref()?.issue(TraceToken { id, expires }))
    }

    /// Takes a token. One that is not good is counted.
    pub(crate) fn take(&self, text: &[u8], wall: Duration) -> Result<TraceToken, BadTraceToken> {
        let taken = match &self.key {
            None => Err(BadTraceToken::Forged),
            Some(key) => key.verify(text, wall).and_then(|token| self.use_up(token, wall.as_secs())),
        };
        taken.inspect_err(|why| {
            self.refused[*why as usize].fetch_add(1, Ordering::Relaxed);
        })
    }

    fn use_up(&self, token: TraceToken, now: u64) -> Result<TraceToken, BadTraceToken> {
        let mut used = self.used.lock();
        if used.len() >= MOST_USED {
            used.retain(|_, expires| *expires > now);
        }
        if used.len() >= MOST_USED || used.insert(token.id, token.expires).is_some() {
            return Err(BadTraceToken::Used);
        }
        Ok(token)
    }

    /// Logs that a token was not good, but not more often than once a second. Says nothing of what it was.
    pub(crate) fn report(&self, why: BadTraceToken, log: &Log, now: Instant) {
        self.reports.report(log, now, "trace_token_refused", || {
            format!("a token in X-Pylae-Trace is not good: {}; the request was served without a trace", why.name())
        });
    }

    /// Tokens that were not good, by why.
    pub(crate) fn refused(&self) -> [(&'static str, u64); BadTraceToken::ALL.len()] {
        BadTraceToken::ALL.map(|why| (why.name(), self.refused[why as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once() {
        let (tokens, wall) = (TraceTokens::new(), Duration::from_secs(1000));
        let text = tokens.issue(7, 9999, wall).unwrap();
        assert_eq!(tokens.take(text.as_bytes(), wall), Ok(TraceToken { id: 7, expires: 1300 }));
        assert_eq!(tokens.take(text.as_bytes(), wall), Err(BadTraceToken::Used));
        let short = tokens.issue(8, 1, wall).unwrap();
        assert_eq!(tokens.take(short.as_bytes(), wall + Duration::from_secs(1)), Err(BadTraceToken::Stale));
        assert_eq!(tokens.take(b"x", wall), Err(BadTraceToken::Forged));
        assert_eq!(tokens.refused(), [("forged", 1), ("stale", 1), ("used", 1)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let tokens = TraceTokens::new();
        for id in 0..MOST_USED as u128 {
            assert!(tokens.use_up(TraceToken { id, expires: 1300 }, 1000).is_ok());
        }
        let one_more = TraceToken { id: u128::MAX, expires: 1500 };
        assert_eq!(tokens.use_up(one_more, 1000), Err(BadTraceToken::Used));
        assert!(tokens.use_up(one_more, 1300).is_ok(), "the others are stale by now");
    }
}
