//! All kinds of authenticators, and the authenticators of a plan.

use std::sync::Arc;
use std::time::Duration;

use pylae_core::hook::HookCall;
use pylae_core::{Exchange, Problem};
use serde::{Deserialize, Serialize};

use super::api_key::{self, ApiKey};
use super::basic::{self, Basic};
use super::client_certificate::{self, ClientCertificate};
use super::failures::FailureLimit;
use super::function::{self, FunctionAuthenticator, IdentityFunction};
use super::identity::Identity;
use super::jwt::{self, Jwt};
use super::outcome::AuthenticatorOutcome;
use crate::config;

/// The `auth` part of a plan.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The realm that challenges name.
    realm: String,
    /// Failed authentications per client address; None is unlimited.
    failure_limit: Option<FailureLimit>,
    authenticators: Vec<AnyConfig>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum AnyConfig {
    Jwt(Box<jwt::Config>),
    ApiKey(api_key::Config),
    Basic(basic::Config),
    ClientCertificate(client_certificate::Config),
    Function(Box<function::Config>),
}

/// An authenticator of any kind.
pub(super) enum Authenticator {
    Jwt(Jwt),
    ApiKey(Box<ApiKey>),
    Basic(Basic),
    ClientCertificate(ClientCertificate),
    Function(FunctionAuthenticator),
}

/// The compiled authenticators of a plan.
#[derive(Default)]
pub struct Authenticators {
    pub(crate) realm: String,
    pub(super) failure_limit: Option<FailureLimit>,
    pub(super) list: Vec<Arc<Authenticator>>,
}

impl Authenticators {
    /// Parses and builds the `auth` part of a plan. Paths of problems are relative to it.
    pub fn build(config: Option<&serde_json::Value>, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        let Some(config) = config else { return Ok(Self::default()) };
        let config: Config = config::read(config)?;
        let mut list = Vec::new();
        let mut problems = Vec::new();
        for (index, config) in config.authenticators.into_iter().enumerate() {
            match Authenticator::build(config, identity) {
                Ok(built) => list.push(Arc::new(built)),
                Err(own) => {
                    let at = format!("authenticators[{index}]");
                    problems.extend(own.into_iter().map(|problem| problem.under(&at)));
                }
            }
        }
        if pylae_http::Edits::default().set(b"WWW-Authenticate", config.realm.as_bytes()).is_err()
            || config.realm.contains(['"', '\\'])
        {
            problems.push(Problem::at("realm", "cannot stand in a header"));
        }
        let Config { realm, failure_limit, .. } = Config { authenticators: Vec::new(), ..config };
        if problems.is_empty() { Ok(Self { realm, failure_limit, list }) } else { Err(problems) }
    }
}

impl Authenticators {
    /// Names of the fields and parameters that carry credentials of the gateway's own.
    pub(crate) fn credential_names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().flat_map(|authenticator| authenticator.credential_names())
    }

    /// Has `connect` give the function of each authenticator that has one. It is given the authenticator's index, the
    /// call, and whether the function sees only a part of each request. The functions belong to the configuration of
    /// number `revision`.
    pub fn connect(
        &self,
        revision: u64,
        mut connect: impl FnMut(usize, &HookCall, bool) -> Option<Arc<dyn IdentityFunction>>,
    ) {
        for (index, authenticator) in self.list.iter().enumerate() {
            let Authenticator::Function(asked) = &**authenticator else { continue };
            let (call, keyed) = asked.call();
            if let Some(function) = connect(index, call, keyed) {
                asked.connect(function, revision);
            }
        }
    }
}

impl Authenticator {
    fn build(config: AnyConfig, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        match config {
            AnyConfig::Jwt(config) => Jwt::build(*config, identity).map(Self::Jwt),
            AnyConfig::ApiKey(config) => ApiKey::build(config, identity).map(|keys| Self::ApiKey(Box::new(keys))),
            AnyConfig::Basic(config) => Basic::build(config, identity).map(Self::Basic),
            AnyConfig::ClientCertificate(config) => {
                ClientCertificate::build(config, identity).map(Self::ClientCertificate)
            }
            AnyConfig::Function(config) => FunctionAuthenticator::build(*config, identity).map(Self::Function),
        }
    }

    fn credential_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::ApiKey(keys) => Box::new(keys.credential_names()),
            Self::Function(asked) => Box::new(asked.credential_names()),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Returns the name by which routes refer to the authenticator.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Jwt(jwt) => jwt.name(),
            Self::ApiKey(_) => "api_key",
            Self::Basic(_) => "basic",
            Self::ClientCertificate(_) => "client_certificate",
            Self::Function(asked) => asked.name(),
        }
    }

    /// Returns true if the authenticator reads bearer tokens.
    pub(super) fn takes_bearer_tokens(&self) -> bool {
        matches!(self, Self::Jwt(_))
    }

    /// Returns the challenge for `WWW-Authenticate` (RFC 9110 section 11.6.1).
    pub(super) fn challenge(&self, realm: &str) -> String {
        match self {
            Self::Jwt(_) => format!("Bearer realm=\"{realm}\""),
            // The scheme is not registered, but a 401 must name one.
            Self::ApiKey(_) => format!("ApiKey realm=\"{realm}\""),
            Self::Basic(_) => format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            // Not registered either.
            Self::ClientCertificate(_) => format!("ClientCertificate realm=\"{realm}\""),
            Self::Function(asked) => format!("{} realm=\"{realm}\"", asked.scheme()),
        }
    }

    /// Authenticates the request. `lockout` returns how long the address must wait if it has failed too often; it is
    /// called before anything expensive.
    #[inline]
    pub(super) fn authenticate(
        &self,
        exchange: &Exchange,
        lockout: impl FnOnce() -> Option<Duration>,
    ) -> AuthenticatorOutcome {
        match self {
            Self::Jwt(jwt) => jwt.authenticate(exchange, lockout),
            Self::ApiKey(keys) => keys.authenticate(exchange),
            Self::Basic(basic) => basic.authenticate(exchange, lockout),
            Self::ClientCertificate(certificates) => certificates.authenticate(exchange),
            Self::Function(asked) => asked.authenticate(exchange, lockout),
        }
    }

    /// Authenticates the request immediately and without side effects, for explanations.
    pub(super) fn preview(&self, exchange: &Exchange) -> AuthenticatorOutcome {
        match self {
            Self::Jwt(jwt) => jwt.preview(exchange),
            Self::ApiKey(keys) => keys.authenticate(exchange),
            Self::Basic(basic) => basic.preview(exchange),
            Self::ClientCertificate(certificates) => certificates.authenticate(exchange),
            Self::Function(asked) => asked.preview(exchange),
        }
    }

    /// Removes the credential from the forwarded request, unless it is configured to be forwarded.
    pub(super) fn strip_credential(&self, exchange: &mut Exchange) {
        match self {
            Self::Jwt(jwt) => jwt.strip_credential(exchange),
            Self::ApiKey(keys) => keys.strip_credential(exchange),
            Self::Basic(basic) => basic.strip_credential(exchange),
            // The certificate is not part of the request.
            Self::ClientCertificate(_) => {}
            Self::Function(asked) => asked.strip_credential(exchange),
        }
    }
}
