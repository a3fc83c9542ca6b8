//! The policies of one route, in table order.

mod timed;

use std::collections::BTreeMap;

use pylae_core::limit::Limiter;
use pylae_core::{Exchange, Problem, Resume, Verdict};
use serde_json::Value;

use crate::admission::RouteAccess;
use crate::policy::Parts;
use crate::rate_limit::RateLimit;
use crate::table::{AnyPolicy, Outlet, TABLE};

/// In [`Chain::indices`] a policy that the chain does not have.
const ABSENT: u8 = u8::MAX;

/// The compiled policies of one route.
pub struct Chain {
    policies: Box<[AnyPolicy]>,
    body_limit: Option<usize>,
    /// Names of the limits that are settled.
    settled: Box<[Box<str>]>,
    /// Index of each policy of the table.
    indices: [u8; TABLE.len()],
}

impl Default for Chain {
    fn default() -> Self {
        Self { policies: Box::default(), body_limit: None, settled: Box::default(), indices: [ABSENT; TABLE.len()] }
    }
}

impl Chain {
    /// Builds the policies named in `configs`. Reports all problems; each path starts with the policy's name.
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
        built.sort_by_key(AnyPolicy::position);
        let body_limit = built.iter().filter_map(AnyPolicy::body_limit).max();
        let mut indices = [ABSENT; TABLE.len()];
        for (index, policy) in built.iter().enumerate() {
            indices[policy.position()] = index as u8;
        }
        let mut chain = Self { policies: built.into_boxed_slice(), body_limit, settled: Box::default(), indices };
        chain.settled = chain.settling().into_iter().flat_map(RateLimit::settled).collect();
        Ok(chain)
    }

    /// Returns true if the route has no policies.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Runs the remaining request halves before those that ask who the user is, and stops at the first that does not
    /// return [`Verdict::Continue`].
    pub fn request_before_users(&self, exchange: &mut Exchange) -> Verdict {
        if exchange.timed {
            return self.timed_request(exchange, |policy| !policy.asks_for_users());
        }
        while let Some(policy) = self.policies.get(exchange.entered).filter(|policy| !policy.asks_for_users()) {
            exchange.entered += 1;
            match policy.on_request(exchange) {
                Verdict::Continue => {}
                verdict => return verdict,
            }
        }
        Verdict::Continue
    }

    /// Runs the remaining request halves and stops at the first that does not return [`Verdict::Continue`].
    #[inline]
    pub fn request(&self, exchange: &mut Exchange) -> Verdict {
        if exchange.timed {
            return self.timed_request(exchange, |_| true);
        }
        while let Some(policy) = self.policies.get(exchange.entered) {
            exchange.entered += 1;
            match policy.on_request(exchange) {
                Verdict::Continue => {}
                verdict => return verdict,
            }
        }
        Verdict::Continue
    }

    /// Marks all policies as entered without running their request halves. Used for a request that is refused before
    /// the chain runs, so that all response halves still see the answer.
    pub fn enter_all(&self, exchange: &mut Exchange) {
        exchange.entered = self.policies.len();
    }

    /// Returns how many bytes of the request body the policies need in memory, or None if no policy reads the body.
    #[inline]
    pub fn body_limit(&self) -> Option<usize> {
        self.body_limit
    }

    /// Runs the request half of the last entered policy again, then the remaining ones.
    pub fn rerun_last(&self, exchange: &mut Exchange) -> Verdict {
        exchange.entered = exchange.entered.saturating_sub(1);
        self.request(exchange)
    }

    /// Continues after a policy that returned [`Verdict::Wait`], once its future has completed.
    pub fn resume(&self, exchange: &mut Exchange, resume: Resume) -> Verdict {
        let verdict = if exchange.timed { self.timed_resume(exchange, resume) } else { resume(exchange) };
        match verdict {
            Verdict::Continue => self.request(exchange),
            verdict => verdict,
        }
    }

    /// Runs the body halves starting at `next` and stops at the first that does not return [`Verdict::Continue`].
    /// `body` is what was read of the request body: all of it if `complete` is true.
    pub fn body(&self, next: &mut usize, exchange: &mut Exchange, body: &[u8], complete: bool) -> Verdict {
        while let Some(policy) = self.policies.get(*next) {
            *next += 1;
            if policy.body_limit().is_some() {
                let verdict = if exchange.timed {
                    policy.timed_body(exchange, body, complete)
                } else {
                    policy.on_body(exchange, body, complete)
                };
                match verdict {
                    Verdict::Continue => {}
                    verdict => return verdict,
                }
            }
        }
        Verdict::Continue
    }

    /// Runs the response halves of all entered policies, in reverse order.
    #[inline]
    pub fn response(&self, exchange: &mut Exchange) {
        if exchange.timed {
            return self.timed_response(exchange);
        }
        while exchange.entered > 0 {
            exchange.entered -= 1;
            self.policies[exchange.entered].on_response(exchange);
        }
    }

    /// Returns the names of the limits that are settled, in the order of their reservations.
    #[inline]
    pub fn settled(&self) -> &[Box<str>] {
        &self.settled
    }

    /// Reads the true costs that an instance's response states.
    #[inline]
    pub fn read_costs(&self, exchange: &Exchange) {
        if !self.settled.is_empty() {
            self.settling().inspect(|limits| limits.read_costs(exchange));
        }
    }

    /// Settles the limits of an exchange that is over. Returns how many estimates stay.
    pub fn settle(&self, exchange: &Exchange) -> usize {
        self.settling().map_or(0, |limits| limits.settle(exchange, true))
    }

    /// The policy whose limits may be settled.
    fn settling(&self) -> Option<&RateLimit> {
        self.rate_limit(Limiter::Rate.name())
    }

    /// Returns the name of the policy before index `next`, which is the one that ran last.
    pub fn name_before(&self, next: usize) -> Option<&'static str> {
        self.policies.get(next.checked_sub(1)?).map(AnyPolicy::name)
    }

    /// The policies, each with its position in the table and its name.
    pub fn names(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.policies.iter().map(|policy| (policy.position(), policy.name()))
    }

    /// Returns the position in the table of the policy before index `next`, which is the one that ran last.
    pub fn position_before(&self, next: usize) -> Option<usize> {
        self.policies.get(next.checked_sub(1)?).map(AnyPolicy::position)
    }

    /// Returns the route's policy of this type, for the part of it that is outside of this crate.
    #[inline]
    pub fn outlet<P: Outlet>(&self) -> Option<&P> {
        P::of(self.policies.get(usize::from(self.indices[P::POSITION]))?)
    }

    /// Returns true once the policy of this type has been entered.
    #[inline]
    pub fn has_reached<P: Outlet>(&self, exchange: &Exchange) -> bool {
        exchange.entered > usize::from(self.indices[P::POSITION])
    }

    /// Returns the rate limits configured under `name`: `rate_limit` or `address_limit`.
    pub fn rate_limit(&self, name: &str) -> Option<&RateLimit> {
        self.policies.iter().find(|policy| policy.name() == name).and_then(|policy| match policy {
            AnyPolicy::rate_limit(limits) => Some(limits),
            AnyPolicy::address_limit(limits) => Some(&limits.0),
            _ => None,
        })
    }

    /// Summarizes which clients the policies admit.
    pub fn access(&self) -> RouteAccess<'_> {
        let mut access = RouteAccess::default();
        for policy in &self.policies {
            match policy {
                AnyPolicy::ip_access(addresses) => access.addresses = Some(addresses),
                AnyPolicy::authentication(authentication) => {
                    access.authenticators = authentication.required_authenticators();
                }
                AnyPolicy::authorization(authorization) => {
                    access.permissions = authorization.permissions();
                    access.roles = authorization.roles();
                }
                AnyPolicy::require(requirements) => access.requirements = Some(requirements),
                _ => {}
            }
        }
        access
    }

    /// Returns true if a user can become known.
    pub fn authenticates(&self) -> bool {
        self.policies.iter().any(|policy| matches!(policy, AnyPolicy::authentication(one) if one.asks()))
    }

    /// Returns true if one of the policies answers CORS preflights.
    pub fn answers_preflights(&self) -> bool {
        self.policies.iter().any(AnyPolicy::answers_preflights)
    }

    /// Describes what each policy would decide, without side effects.
    pub fn preview(&self, exchange: &mut Exchange) -> Vec<(&'static str, String)> {
        let previewed = self.policies.iter().map(|policy| {
            let decision = policy.preview(exchange);
            policy.apply_preview(exchange);
            (policy.name(), decision)
        });
        previewed.collect()
    }

    /// Deserializes the configuration of policy `name` and serializes it again. The result differs from `config` if
    /// Python and Rust disagree about the format.
    pub fn echo(name: &str, config: &Value) -> Result<Value, Vec<Problem>> {
        AnyPolicy::echo(name, config)
    }
}
