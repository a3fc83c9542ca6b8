//! The table of all kinds of authenticators.

pub(super) mod api_key;
pub(super) mod basic;
pub(super) mod client_certificate;
pub(super) mod function;
pub(super) mod introspection;
pub(super) mod jwt;
pub(super) mod oidc;

use std::sync::Arc;
use std::time::Duration;

use pylae_core::hook::HookCall;
use pylae_core::{Exchange, Problem, User};
use serde::Deserialize;

use super::asked::IdentityFunction;
use super::authenticator::AuthenticatorKind;
use super::identity::Identity;
use super::outcome::AuthenticatorOutcome;

/// Declares [`AuthenticatorConfig`] and [`Authenticator`], with one variant per row of the table, and the dispatch to
/// the kind.
macro_rules! authenticator_table {
    ($($kind:ident: $authenticator:ty),+ $(,)?) => {
        /// What the plan says about an authenticator. The kind is spelt as in the table.
        #[derive(Deserialize)]
        #[serde(tag = "kind")]
        #[allow(non_camel_case_types)] // the variant is the kind's name, spelt as everywhere else
        pub(super) enum AuthenticatorConfig {
            $($kind(Box<<$authenticator as AuthenticatorKind>::Config>)),+
        }

        /// An authenticator of any kind.
        #[allow(non_camel_case_types)]
        pub(super) enum Authenticator {
            $($kind($authenticator)),+
        }

        impl Authenticator {
            pub(super) fn build(config: AuthenticatorConfig, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
                match config {
                    $(AuthenticatorConfig::$kind(config) =>
                        <$authenticator as AuthenticatorKind>::build(*config, identity).map(Self::$kind),)+
                }
            }

            /// Returns the name by which routes refer to the authenticator.
            pub(super) fn name(&self) -> &str {
                match self { $(Self::$kind(one) => one.name().unwrap_or(stringify!($kind))),+ }
            }

            pub(super) fn challenge(&self, realm: &str) -> String {
                match self { $(Self::$kind(one) => one.challenge(realm)),+ }
            }

            pub(super) fn second_challenge(&self) -> Option<String> {
                match self { $(Self::$kind(one) => one.second_challenge()),+ }
            }

            #[inline]
            pub(super) fn authenticate(
                &self,
                exchange: &Exchange,
                lockout: impl FnOnce() -> Option<Duration>,
            ) -> AuthenticatorOutcome {
                match self { $(Self::$kind(one) => one.authenticate(exchange, lockout)),+ }
            }

            pub(super) fn preview(&self, exchange: &Exchange) -> AuthenticatorOutcome {
                match self { $(Self::$kind(one) => one.preview(exchange)),+ }
            }

            pub(super) fn strip_credential(&self, exchange: &mut Exchange) {
                match self { $(Self::$kind(one) => one.strip_credential(exchange)),+ }
            }

            pub(super) fn credential_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
                match self { $(Self::$kind(one) => Box::new(one.credential_names())),+ }
            }

            pub(super) fn call(&self) -> Option<(&HookCall, bool)> {
                match self { $(Self::$kind(one) => one.call()),+ }
            }

            pub(super) fn connect(&self, function: Arc<dyn IdentityFunction>, revision: u64) {
                match self { $(Self::$kind(one) => one.connect(function, revision)),+ }
            }

            pub(super) fn invites(&self) -> bool {
                match self { $(Self::$kind(one) => one.invites()),+ }
            }

            pub(super) fn invite(&self, exchange: &Exchange) -> AuthenticatorOutcome {
                match self { $(Self::$kind(one) => one.invite(exchange)),+ }
            }

            pub(super) fn takes_bearer_tokens(&self) -> bool {
                match self { $(Self::$kind(one) => one.takes_bearer_tokens()),+ }
            }

            pub(super) fn asks_about_tokens(&self) -> bool {
                match self { $(Self::$kind(one) => one.asks_about_tokens()),+ }
            }

            pub(super) fn reserved_fields(&self) -> &[String] {
                match self { $(Self::$kind(one) => one.reserved_fields()),+ }
            }

            pub(super) fn pass_on(&self, exchange: &mut Exchange, user: &User) {
                match self { $(Self::$kind(one) => one.pass_on(exchange, user)),+ }
            }
        }
    };
}

authenticator_table! {
    api_key: api_key::ApiKey,
    basic: basic::Basic,
    client_certificate: client_certificate::ClientCertificate,
    function: function::FunctionAuthenticator,
    introspection: introspection::Introspection,
    jwt: jwt::Jwt,
    oidc: oidc::Oidc,
}
