//! The policies of one route, in table order.

use std::collections::BTreeMap;

use pylae_core::{Exchange, Problem, Resume, Verdict};
use serde_json::Value;

use crate::access_log::AccessLog;
use crate::admission::RouteAccess;
use crate::hooks::Hooked;
use crate::mirror::Mirror;
use crate::policy::Parts;
use crate::rate_limit::RateLimit;
use crate::table::AnyPolicy;

/// The policies of one route, ready to run.
#[derive(Default)]
pub struct Chain {
    policies: Box<[AnyPolicy]>,
    body_limit: Option<usize>,
    /// Place of the hooks.
    hooks: Option<usize>,
    /// Place of the mirror.
    mirror: Option<usize>,
}

impl Chain {
    /// Builds the policies that `configs` names. All problems are reported, each with a path that starts with the policy's name.
    pub fn build(configs: &BTreeMap<String, Value>, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut built = Vec::with_capacity(configs.len());
        let mut problems = Vec::new();
        for (name, config) in configs {
            match AnyPolicy::build(name, config, parts) {
                Ok(policy) => built.push(policy),
                Err(own) => problems.extend(own.into_iter().map(|problem| problem.under(name))),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        built.sort_by_key(|policy| AnyPolicy::position(policy.name()));
        let body_limit = built.iter().filter_map(AnyPolicy::body_limit).max();
        let mirror = built.iter().position(|policy| matches!(policy, AnyPolicy::mirror(_)));
        let hooks = built.iter().position(|policy| matches!(policy, AnyPolicy::hooks(_)));
        Ok(Self { policies: built.into_boxed_slice(), body_limit, hooks, mirror })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Runs the request halves that have not run yet, up to the first that does not let the exchange pass.
    #[inline]
    pub fn request(&self, exchange: &mut Exchange) -> Verdict {
        while let Some(policy) = self.policies.get(exchange.entered) {
            exchange.entered += 1;
            match policy.on_request(exchange) {
                Verdict::Continue => {}
                verdict => return verdict,
            }
        }
        Verdict::Continue
    }

    /// Enters all policies without asking them: for what was refused before any could decide. Their response halves complete it.
    pub fn enter_all(&self, exchange: &mut Exchange) {
        exchange.entered = self.policies.len();
    }

    /// Bytes of the request body that the policies want to see, if any does.
    #[inline]
    pub fn body_limit(&self) -> Option<usize> {
        self.body_limit
    }

    /// Asks the policy entered last again, and goes on.
    pub fn rerun_last(&self, exchange: &mut Exchange) -> Verdict {
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

    /// Runs the body halves from the one at `next` on, up to the first that does not let the exchange pass. `body` is what
    /// was read of the request body, all of it if `complete`.
    pub fn body(&self, next: &mut usize, exchange: &mut Exchange, body: &[u8], complete: bool) -> Verdict {
        while let Some(policy) = self.policies.get(*next) {
            *next += 1;
            if policy.body_limit().is_some() {
                match policy.on_body(exchange, body, complete) {
                    Verdict::Continue => {}
                    verdict => return verdict,
                }
            }
        }
        Verdict::Continue
    }

    /// Runs the response halves of all policies whose request half was entered, last entered first.
    #[inline]
    pub fn response(&self, exchange: &mut Exchange) {
        while exchange.entered > 0 {
            exchange.entered -= 1;
            self.policies[exchange.entered].on_response(exchange);
        }
    }

    /// The name of the policy before `next`: the one asked last, where that is the one to be asked next.
    pub fn name_before(&self, next: usize) -> Option<&'static str> {
        self.policies.get(next.checked_sub(1)?).map(AnyPolicy::name)
    }

    /// The access log, if there is one.
    pub fn access_log(&self) -> Option<&AccessLog> {
        // The table has it first.
        match self.policies.first() {
            Some(AnyPolicy::access_log(log)) => Some(log),
            _ => None,
        }
    }

    /// The policy of rate limits that is called `name`, if there is one.
    pub fn rate_limit(&self, name: &str) -> Option<&RateLimit> {
        self.policies.iter().find(|policy| policy.name() == name).and_then(|policy| match policy {
            AnyPolicy::rate_limit(limits) => Some(limits),
            AnyPolicy::address_limit(limits) => Some(&limits.0),
            _ => None,
        })
    }

    /// The mirror, if there is one.
    #[inline]
    pub fn mirror(&self) -> Option<&Mirror> {
        match &self.policies[self.mirror?] {
            AnyPolicy::mirror(mirror) => Some(mirror),
            _ => None,
        }
    }

    /// The hooks, if there are any.
    pub fn hooks(&self) -> Option<&Hooked> {
        match &self.policies[self.hooks?] {
            AnyPolicy::hooks(hooks) => Some(hooks),
            _ => None,
        }
    }

    /// Whether the exchange has come as far as the hooks.
    #[inline]
    pub fn has_reached_hooks(&self, exchange: &Exchange) -> bool {
        self.hooks.is_some_and(|index| exchange.entered > index)
    }

    /// Whom the policies let in.
    pub fn access(&self) -> RouteAccess<'_> {
        let mut access = RouteAccess::default();
        for policy in &self.policies {
            match policy {
                AnyPolicy::ip_access(addresses) => access.addresses = Some(addresses),
                AnyPolicy::authentication(authentication) => {
                    access.authenticators = authentication.required_authenticators()
                }
                AnyPolicy::authorization(authorization) => {
                    access.permissions = authorization.permissions();
                    access.roles = authorization.roles();
                }
                _ => {}
            }
        }
        access
    }

    /// Whether one of the policies answers CORS preflights.
    pub fn answers_preflights(&self) -> bool {
        self.policies.iter().any(AnyPolicy::answers_preflights)
    }

    /// Each policy with what it would decide.
    pub fn preview(&self, exchange: &mut Exchange) -> Vec<(&'static str, String)> {
        let previewed = self.policies.iter().map(|policy| {
            let decision = policy.preview(exchange);
            policy.apply_preview(exchange);
            (policy.name(), decision)
        });
        previewed.collect()
    }

    /// The configuration of the policy called `name` as the native side understands it: equal to `config`, or both sides disagree.
    pub fn echo(name: &str, config: &Value) -> Result<Value, Vec<Problem>> {
        AnyPolicy::echo(name, config)
    }
}
