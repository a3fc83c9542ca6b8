//! Inputs and outcomes of authenticators.

pub(super) mod challenges;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::request::session::NoSession;
use pylae_core::{Answer, Exchange, Instant, Rejection, User};
use pylae_http::{Edits, Name};

/// The reason to refuse a text that no issuer of JSON Web Tokens has made.
pub(super) const NOT_A_TOKEN: &str = "this is not a JSON Web Token";

/// The outcome of one authenticator.
pub(super) enum AuthenticatorOutcome {
    /// The request has no credential of this kind.
    Absent,
    /// The request has a cookie for a session that counts as none, for this reason. Otherwise like `Absent`.
    NoSession(NoSession),
    /// The credential is valid.
    Accepted(Arc<User>),
    /// The credential is refused.
    Refused(Refusal),
    /// The same, by the authenticator whose it is to judge: nobody outside needs to be asked about it.
    Judged(Refusal),
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
    /// Adds fields for whatever answer comes.
    pub(super) fn with_fields(self, fields: Edits) -> Self {
        if fields.is_empty() { self } else { Self::WithFields(fields, Box::new(self)) }
    }

    /// Returns the outcome without fields for the answer, and without whose it was to judge.
    pub(super) fn bare(self) -> Self {
        match self {
            Self::Judged(why) => Self::Refused(why),
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
    /// A service answers so.
    Answered {
        /// With status 401.
        answer: Box<Answer>,
        /// Whether the request has a credential. Without one, it is a failure only where a user is required.
        credential: bool,
    },
    /// Nobody is known by the credential. It counts as a failure only where a user is required.
    Unknown,
    /// The address has failed too often and must wait this long.
    Limited(Duration),
    /// The credential cannot be checked now, for this reason. Not the client's fault.
    Unchecked(&'static str),
    /// The same, and this says so.
    Unavailable(Box<Rejection>),
}

impl Refusal {
    /// Of several refusals of a request, the first one of the greatest weight counts.
    pub(super) fn weight(&self) -> u8 {
        match self {
            // Another one knows what is wrong with it.
            Self::Unknown => 0,
            Self::Answered { credential: false, .. } => 1,
            Self::Bad(_) | Self::Unproven(_) | Self::Rejected(_) | Self::Answered { .. } => 2,
            // The authenticator that could not check might have accepted the credential.
            Self::Limited(_) | Self::Unchecked(_) | Self::Unavailable(_) => 3,
        }
    }
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
