//! Inputs and outcomes of authenticators.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::{Answer, Exchange, Instant, Rejection, User};
use pylae_http::{Edits, Name};

/// The outcome of one authenticator.
pub(super) enum AuthenticatorOutcome {
    /// The request has no credential of this kind.
    Absent,
    /// The credential is valid.
    Accepted(Arc<User>),
    /// The credential is refused.
    Refused(Refusal),
    /// The authenticator answers the request itself, as a login does.
    Answered(Box<Answer>),
    /// The request ends with this rejection, whatever other authenticators would say.
    Rejected(Box<Rejection>),
    /// One of the others, and fields for whatever answer comes.
    WithFields(Edits, Box<AuthenticatorOutcome>),
    /// The outcome is not known yet.
    Wait(Pin<Box<dyn Future<Output = AuthenticatorOutcome>>>),
}

impl AuthenticatorOutcome {
    /// Returns the outcome without fields for the answer.
    pub(super) fn bare(self) -> Self {
        match self {
            Self::WithFields(_, outcome) => outcome.bare(),
            outcome => outcome,
        }
    }
}

/// Why a credential is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The credential is invalid, for this reason.
    Bad(&'static str),
    /// The credential may be valid, but is bound to a key that the client has not shown.
    Unproven(Box<Unproven>),
    /// The credential is invalid, and this says so.
    Rejected(Box<Rejection>),
    /// Nobody is known by the credential. It counts as a failure only where a user is required.
    Unknown,
    /// The address has failed too often and must wait this long.
    Limited(Duration),
    /// The credential cannot be checked now, for this reason. Not the client's fault.
    Unchecked(&'static str),
}

/// A token that was not sent by the owner of its key, or so it seems, and what the client is told (RFC 9449 sections
/// 7.1 and 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unproven {
    pub(super) why: &'static str,
    /// `invalid_token`, `invalid_dpop_proof` or `use_dpop_nonce`.
    pub(super) error: &'static str,
    /// The value of `WWW-Authenticate` without the error.
    pub(super) challenge: String,
    /// What the next proof must repeat.
    pub(super) nonce: Option<String>,
}

/// The time at which a request is authenticated.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) wall: Duration,
}

impl Moment {
    pub(super) fn of(exchange: &Exchange) -> Self {
        Self { now: exchange.times.now, wall: exchange.times.wall }
    }
}

/// Returns the credentials after `scheme` in `Authorization` (RFC 9110 section 11.4).
pub(super) fn credential<'a>(exchange: &'a Exchange, scheme: &str) -> Option<&'a [u8]> {
    let value = exchange.request.head.fields.get(&exchange.request.buffer, Name::Authorization)?;
    let (name, rest) = value.split_at_checked(scheme.len())?;
    let (b' ', _) = rest.split_first().map(|(first, rest)| (*first, rest))? else { return None };
    name.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.trim_ascii())
}
