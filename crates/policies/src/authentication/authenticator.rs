//! What every kind of authenticator can do.

use std::sync::Arc;
use std::time::Duration;

use pylae_core::hook::HookCall;
use pylae_core::{Exchange, Problem, User};
use serde::de::DeserializeOwned;

use super::asked::IdentityFunction;
use super::identity::Identity;
use super::outcome::AuthenticatorOutcome;

/// A kind of authenticator. It is built from its part of the plan, and shared by all workers.
pub(super) trait AuthenticatorKind: Sized {
    /// What the plan says about it, besides its kind.
    type Config: DeserializeOwned;

    /// Checks the configuration and computes everything that can be computed once. Paths of problems are relative to
    /// `config`.
    fn build(config: Self::Config, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>>;

    /// Returns the name by which routes refer to it; None if it is that of its kind, because a plan has one at most.
    fn name(&self) -> Option<&str> {
        None
    }

    /// Returns the challenge for `WWW-Authenticate` (RFC 9110 section 11.6.1).
    fn challenge(&self, realm: &str) -> String;

    /// Returns a challenge of another scheme that it understands too.
    fn second_challenge(&self) -> Option<String> {
        None
    }

    /// Authenticates the request. `lockout` returns how long the address must wait if it has failed too often; call it
    /// before anything expensive.
    fn authenticate(&self, exchange: &Exchange, lockout: impl FnOnce() -> Option<Duration>) -> AuthenticatorOutcome;

    /// Authenticates the request for an explanation: immediately and without side effects. A kind overrides it if
    /// `authenticate` waits, remembers or asks somebody.
    fn preview(&self, exchange: &Exchange) -> AuthenticatorOutcome {
        self.authenticate(exchange, || None)
    }

    /// Removes the credential from the forwarded request, unless it is configured to be forwarded.
    fn strip_credential(&self, _exchange: &mut Exchange) {}

    /// Names of the fields and query parameters of its own that carry credentials. Logs do not show their values.
    fn credential_names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// The Python function that it asks, and whether that sees only a part of each request.
    fn call(&self) -> Option<(&HookCall, bool)> {
        None
    }

    /// Has `function` asked from now on. It belongs to the configuration of this number.
    fn connect(&self, _function: Arc<dyn IdentityFunction>, _revision: u64) {}

    /// Returns true if it can send people elsewhere to log in.
    fn invites(&self) -> bool {
        false
    }

    /// Begins a login for a navigation by which nobody is known: answers it, or rejects it.
    fn invite(&self, _exchange: &Exchange) -> AuthenticatorOutcome {
        AuthenticatorOutcome::Absent
    }

    /// Returns true if it reads bearer tokens: a client that sent a bad one is told why (RFC 6750 section 3).
    fn takes_bearer_tokens(&self) -> bool {
        false
    }

    /// Returns true if it asks somebody outside about bearer tokens: not about those that another authenticator has
    /// recognised.
    fn asks_about_tokens(&self) -> bool {
        false
    }

    /// Names of fields that only this authenticator may send to instances. No request of a client keeps them.
    fn reserved_fields(&self) -> &[String] {
        &[]
    }

    /// Adds to the forwarded request what belongs to a user that it has accepted.
    fn pass_on(&self, _exchange: &mut Exchange, _user: &User) {}
}
