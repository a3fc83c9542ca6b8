//! Start of an exchange, its current time, and the time it spent upstream.

use std::time::Duration;

use crate::clock::Instant;

/// Times of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// When the request head was complete.
    pub started: Instant,
    /// The current time as decisions of this stage see it.
    pub now: Instant,
    /// When the request head was complete, since the Unix epoch.
    pub wall: Duration,
    /// Time from asking an instance until the head of its response, over all attempts.
    pub upstream: Duration,
}
