//! Why an attempt yields no response, and why a response is not sent completely.

use pylae_core::service::AttemptOutcome;
use pylae_core::{Halt, Shortage};

/// Why an attempt yielded no response.
pub(crate) enum Failure {
    /// The exchange ends, and the instance is not to blame.
    Halt(Halt),
    /// The instance is to blame, unless the outcome says otherwise.
    Instance(Fault),
}

/// A failure of an instance, and how far the attempt had come.
pub(crate) struct Fault {
    pub(crate) outcome: AttemptOutcome,
    /// True if any of the request was written, so that the instance may have acted on it.
    pub(crate) sent: bool,
    /// True if any byte of a response was read.
    pub(crate) response_started: bool,
}

impl Failure {
    pub(crate) fn instance(outcome: AttemptOutcome, sent: bool, response_started: bool) -> Self {
        Self::Instance(Fault { outcome, sent, response_started })
    }

    /// The gateway itself lacked something to connect.
    pub(crate) fn shortage(what: Shortage) -> Self {
        Self::instance(AttemptOutcome::Shortage(what), false, false)
    }

    /// Returns true if the connection ended or was reset before the first byte of a response.
    pub(crate) fn ended_before_response(&self) -> bool {
        matches!(self, Self::Instance(fault) if fault.outcome == AttemptOutcome::Reset && !fault.response_started)
    }

    /// Returns true if the instance may have acted on the request.
    pub(crate) fn is_sent(&self) -> bool {
        matches!(self, Self::Instance(fault) if fault.sent)
    }

    /// Marks the request as sent if it was already sent over an earlier connection.
    pub(crate) fn after_sent(self, sent: bool) -> Self {
        match self {
            Self::Instance(fault) => Self::Instance(Fault { sent: fault.sent || sent, ..fault }),
            halt @ Self::Halt(_) => halt,
        }
    }
}

/// Why a response could not be sent completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayError {
    /// The client closed or reset the connection.
    Client,
    /// The instance broke off midway.
    Instance,
    /// A hook that sees the body failed.
    Hook,
}
