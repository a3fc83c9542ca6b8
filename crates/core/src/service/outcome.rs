//! Outcomes of attempts.

use std::time::Duration;

use crate::clock::Instant as Now;
use crate::exchange::halt::Shortage;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Connecting failed.
    ConnectFailed,
    /// The response head did not arrive in time.
    Timeout,
    /// The connection broke, or the response was not valid HTTP.
    Reset,
    /// The response head arrived, with this status.
    Status(u16),
    /// The gateway cancelled the attempt for a reason unrelated to the instance.
    Cancelled,
    /// The gateway lacked something of its own to connect.
    Shortage(Shortage),
}

impl AttemptOutcome {
    /// Returns true if it says nothing about the instance, and counts neither for nor against it.
    #[inline]
    pub(super) fn is_unrelated(self) -> bool {
        matches!(self, Self::Cancelled | Self::Shortage(_))
    }
}

impl std::fmt::Display for AttemptOutcome {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConnectFailed => to.write_str("no connection"),
            Self::Timeout => to.write_str("no answer in time"),
            Self::Reset => to.write_str("connection broke"),
            Self::Status(status) => write!(to, "status {status}"),
            Self::Cancelled => to.write_str("cancelled"),
            Self::Shortage(what) => write!(to, "the gateway is out of {}", what.resource()),
        }
    }
}

/// When an attempt began, how it ended, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptEnd {
    pub(super) began: Now,
    pub(super) outcome: AttemptOutcome,
    pub(super) latency: Duration,
}
