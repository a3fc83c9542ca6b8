//! Outcomes of attempts.

use std::time::Duration;

use crate::clock::Instant as Now;

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
}

impl std::fmt::Display for AttemptOutcome {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConnectFailed => to.write_str("no connection"),
            Self::Timeout => to.write_str("no answer in time"),
            Self::Reset => to.write_str("connection broke"),
            Self::Status(status) => write!(to, "status {status}"),
            Self::Cancelled => to.write_str("cancelled"),
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
