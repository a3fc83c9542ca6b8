//! How attempts end.

use std::time::Duration;

use crate::clock::Instant as Now;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// No connection could be made.
    ConnectFailed,
    /// No head of an answer in time.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Reset,
    /// The head of an answer.
    Status(u16),
    /// The gateway gave it up for a reason that says nothing about the instance.
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

/// How an attempt that began at `began` ended, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptEnd {
    pub(super) began: Now,
    pub(super) outcome: AttemptOutcome,
    pub(super) latency: Duration,
}
