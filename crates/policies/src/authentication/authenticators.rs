//! The authenticators of a plan.

use std::sync::Arc;

use pylae_core::Problem;
use pylae_core::hook::HookCall;
use serde::Deserialize;

use super::asked::IdentityFunction;
use super::failures::FailureLimit;
use super::identity::Identity;
use super::kinds::{Authenticator, AuthenticatorConfig};
use crate::config;

/// The `auth` part of a plan.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The realm that challenges name.
    realm: String,
    /// Failed authentications per client address; None is unlimited.
    failure_limit: Option<FailureLimit>,
    authenticators: Vec<AuthenticatorConfig>,
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
            problems.push(Problem::at("realm", "cannot be sent in a header"));
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

    /// Names of the fields that only authenticators may send to instances.
    pub fn reserved_fields(&self) -> impl Iterator<Item = &str> {
        self.list.iter().flat_map(|authenticator| authenticator.reserved_fields()).map(String::as_str)
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
            let Some((call, keyed)) = authenticator.call() else { continue };
            if let Some(function) = connect(index, call, keyed) {
                authenticator.connect(function, revision);
            }
        }
    }
}
