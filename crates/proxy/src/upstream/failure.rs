//! Why an attempt brings no answer, and why an answer is not sent to its end.

use pylae_core::Halt;
use pylae_core::service::AttemptOutcome;

/// Why an attempt brought no answer.
pub(crate) enum Failure {
    /// It ends the exchange, whatever the instance does.
    Halt(Halt),
    /// The instance's fault.
    Instance(Fault),
}

/// What an instance did wrong, and what had happened by then.
pub(crate) struct Fault {
    pub(crate) outcome: AttemptOutcome,
    /// Whether any of the request was written, and may have been acted upon.
    pub(crate) sent: bool,
    /// Whether any byte of an answer was read.
    pub(crate) response_started: bool,
}

impl Failure {
    pub(crate) fn instance(outcome: AttemptOutcome, sent: bool, response_started: bool) -> Self {
        Self::Instance(Fault { outcome, sent, response_started })
    }

    /// Whether a connection ended, or was reset, before the first byte of an answer.
    pub(crate) fn ended_before_response(&self) -> bool {
        matches!(self, Self::Instance(fault) if fault.outcome == AttemptOutcome::Reset && !fault.response_started)
    }

    /// Whether any of the request may have been acted upon.
    pub(crate) fn is_sent(&self) -> bool {
        matches!(self, Self::Instance(fault) if fault.sent)
    }

    /// The same, behind a connection on which something was written already.
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
    /// The instance broke off in the middle.
    Instance,
    /// A hook that sees the body failed.
    Hook,
}
