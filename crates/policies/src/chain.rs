//! The policies of one route, in table order.

use std::collections::BTreeMap;

use pylae_core::{Exchange, Problem, Resume, Verdict};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::access_log::AccessLog;
use crate::{AnyPolicy, Parts};

/// The policies of one route, ready to run.
#[derive(Default)]
pub struct Chain(Box<[AnyPolicy]>);

impl Chain {
    /// Builds the policies that `configs` names. All problems are reported, each with a path that starts with the policy's name.
    pub fn build(configs: &BTreeMap<String, Value>, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut built = Vec::with_capacity(configs.len());
        let mut problems = Vec::new();
        for (name, config) in configs {
            match AnyPolicy::build(name, config, parts) {
                Ok(policy) => built.push(policy),
                Err(found) => problems.extend(found.into_iter().map(|problem| problem.under(name))),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        built.sort_by_key(|policy| AnyPolicy::position(policy.name()));
        Ok(Self(built.into_boxed_slice()))
    }

    /// Runs the request halves that have not run yet, up to the first that does not let the exchange pass.
    #[inline]
    pub fn request(&self, exchange: &mut Exchange) -> Verdict {
        while let Some(policy) = self.0.get(exchange.entered) {
            exchange.entered += 1;
            match policy.on_request(exchange) {
                Verdict::Continue => {}
                verdict => return verdict,
            }
        }
        Verdict::Continue
    }

    /// Asks the policy entered last again, and goes on.
    pub fn again(&self, exchange: &mut Exchange) -> Verdict {
        exchange.entered = exchange.entered.saturating_sub(1);
        self.request(exchange)
    }

    /// Goes on behind a policy that had to wait.
    pub fn resume(&self, exchange: &mut Exchange, resume: Resume) -> Verdict {
        match resume(exchange) {
            Verdict::Continue => self.request(exchange),
            verdict => verdict,
        }
    }

    /// Runs the response halves of all policies whose request half was entered, last entered first.
    #[inline]
    pub fn response(&self, exchange: &mut Exchange) {
        while exchange.entered > 0 {
            exchange.entered -= 1;
            self.0[exchange.entered].on_response(exchange);
        }
    }

    /// The access log, if there is one.
    pub fn access_log(&self) -> Option<&AccessLog> {
        // The table has it first.
        match self.0.first() {
            Some(AnyPolicy::access_log(log)) => Some(log),
            _ => None,
        }
    }

    /// Whether one of the policies answers CORS preflights.
    pub fn answers_preflights(&self) -> bool {
        self.0.iter().any(AnyPolicy::answers_preflights)
    }

    /// Each policy with what it would decide.
    pub fn preview(&self, exchange: &mut Exchange) -> Vec<(&'static str, String)> {
        let previewed = self.0.iter().map(|policy| {
            let decision = policy.preview(exchange);
            policy.foresee(exchange);
            (policy.name(), decision)
        });
        previewed.collect()
    }

    /// The configuration of the policy called `name` as the native side understands it: equal to `config`, or both sides disagree.
    pub fn echo(name: &str, config: &Value) -> Result<Value, Vec<Problem>> {
        AnyPolicy::echo(name, config)
    }
}

/// Reads a policy's configuration.
pub(crate) fn read<C: DeserializeOwned>(config: &Value) -> Result<C, Vec<Problem>> {
    C::deserialize(config).map_err(|error| vec![Problem::at("", error.to_string())])
}

/// Writes a policy's configuration.
pub(crate) fn write<C: Serialize>(config: C) -> Result<Value, Vec<Problem>> {
    serde_json::to_value(config).map_err(|error| vec![Problem::at("", error.to_string())])
}
