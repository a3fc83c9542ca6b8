//! Functions that say who the client is: how they are asked, and what becomes of what they say.

use std::pin::Pin;
use std::time::Duration;

use pylae_core::hook::Identified;
use pylae_core::{Answer, Exchange, Rejection, User};
use pylae_http::Edits;

use super::outcome::{AuthenticatorOutcome, Refusal};

/// Calls the function of an authenticator.
pub trait IdentityFunction: Send + Sync {
    /// Asks about a copy of a request.
    fn ask(&self, exchange: Box<Exchange>) -> AskedFunction;
}

/// What comes of asking.
pub enum AskedFunction {
    /// The function has ended.
    Ended(Box<FunctionResult>),
    /// It has not yet.
    Pending(Pin<Box<dyn Future<Output = Box<FunctionResult>>>>),
}

/// How a function has ended.
pub struct FunctionResult {
    /// The request it was asked about, with what the function has left in it.
    pub exchange: Box<Exchange>,
    /// What it has said.
    pub end: FunctionEnd,
}

/// What a function has said besides who the client is.
pub enum FunctionEnd {
    /// Nothing.
    Continue,
    /// It answers the request.
    Answer(Box<Answer>),
    /// It rejects the request, or has failed.
    Reject(Box<Rejection>),
}

/// All that a function has said.
pub(super) struct Said {
    pub(super) end: FunctionEnd,
    /// Who the client is.
    pub(super) identified: Identified,
    /// Until when that may be remembered at most, since the Unix epoch; None if it has not said.
    pub(super) until: Option<Duration>,
    /// Fields for whatever answer comes. With any, nothing is remembered: each answer needs its own.
    pub(super) fields: Edits,
}

/// Asks about `request`, and has `conclude` judge what the function says.
pub(super) fn ask(
    function: &dyn IdentityFunction,
    request: Box<Exchange>,
    conclude: impl FnOnce(Said) -> AuthenticatorOutcome + 'static,
) -> AuthenticatorOutcome {
    match function.ask(request) {
        AskedFunction::Ended(result) => conclude(result.said()),
        AskedFunction::Pending(waiting) => {
            AuthenticatorOutcome::Wait(Box::pin(async move { conclude(waiting.await.said()) }))
        }
    }
}

impl FunctionResult {
    fn said(self) -> Said {
        let Self { mut exchange, end } = self;
        let visit = exchange.hook_visit();
        let (fields, identified) = (std::mem::take(&mut visit.fields), std::mem::take(&mut visit.identified));
        Said { end, identified, until: visit.identified_until.take(), fields }
    }
}

impl FunctionEnd {
    /// What it is for the request, whoever the client is.
    pub(super) fn outcome(self) -> AuthenticatorOutcome {
        match self {
            Self::Answer(answer) => AuthenticatorOutcome::Answered(answer),
            Self::Reject(rejection) if rejection.status == 401 => {
                AuthenticatorOutcome::Refused(Refusal::Rejected(rejection))
            }
            Self::Reject(rejection) => AuthenticatorOutcome::Rejected(rejection),
            // It has failed, and the program says that the request goes on then.
            Self::Continue => AuthenticatorOutcome::Absent,
        }
    }
}

/// Returns about how many bytes the texts of a user take.
pub(super) fn size_of_user(user: &User) -> usize {
    let permissions: usize = user.permissions.iter().map(String::len).sum();
    let claims: usize = user.claims.iter().map(|(name, value)| name.len() + value.to_string().len()).sum();
    user.id.len() + user.email.len() + user.role.len() + permissions + claims
}
