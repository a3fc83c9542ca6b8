//! When an exchange began, what time it is for it, and where its time went.

use std::time::Duration;

use crate::clock::Instant;

/// Moments of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// When the request head was complete.
    pub started: Instant,
    /// Now, as far as decisions of this stage are concerned.
    pub now: Instant,
    /// When the request head was complete, since the Unix epoch.
    pub wall: Duration,
    /// Time spent on asking instances, until the head of the answer.
    pub upstream: Duration,
}
