//! Limits what each client may use: rates, quotas and concurrent exchanges, counted per key.

mod concurrency;
mod places;
mod request;
mod scope;
mod settle;
mod settling;
mod shared;
mod standing;

use std::array;
use std::sync::Arc;

use pylae_core::expression::{ExpressionMoment, ExpressionUse, RouteNames};
use pylae_core::limit::store::MAX_CHARGES;
use pylae_core::limit::{
    self, Charge, Clocks, ConcurrencyPermit, Decision, LimitAlgorithm, LimitError, LimitKey, LimitMode, LimitShape,
    Limiter, headers,
};
use pylae_core::plan::Seconds;
use pylae_core::{Exchange, Problem, Rejection, Verdict};
use serde::{Deserialize, Serialize};

use self::concurrency::{Concurrency, ConcurrencyConfig};
use self::request::{KeyRequest, LimitKeys};
use self::scope::{Scope, identity};
use self::settle::{Settle, SettledLimit};
pub use self::standing::{Holder, Standing};
use crate::{Parts, Policy, PolicyShared};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// At most [`MAX_CHARGES`]. Every one of them must admit the request.
    limits: Vec<LimitConfig>,
    concurrency: Option<ConcurrencyConfig>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitConfig {
    /// Unique in the policy. Identifies the counters across reloads and names the limit in header fields.
    name: String,
    limit: u32,
    per: Seconds,
    algorithm: LimitAlgorithm,
    key: LimitKey,
    /// Capacity of a token bucket; defaults to `limit`.
    burst: Option<u32>,
    /// What a request takes, or an estimate of it if there is `settle`.
    cost: u32,
    settle: Option<Settle>,
    per_route: bool,
    scope: Option<Scope>,
    mode: LimitMode,
    /// Whether responses carry header fields for this limit.
    headers: bool,
}

/// The rate limit policy.
pub struct RateLimit {
    limiter: Limiter,
    route: Box<str>,
    service: Box<str>,
    limits: Box<[LimitRule]>,
    concurrency: Option<Concurrency>,
    /// The cluster counts some of the limits.
    is_shared: bool,
    /// The limits that are settled.
    settled: Box<[SettledLimit]>,
    /// The value of `RateLimit-Policy`; empty if no limit is reported in header fields.
    policies: Vec<u8>,
    shared: Arc<PolicyShared>,
}

struct LimitRule {
    name: Box<str>,
    limit: limit::Limit,
    key: LimitKey,
    cost: u32,
    /// The cluster counts it.
    shared: bool,
    reported: bool,
}

impl Policy for RateLimit {
    type Config = Config;

    fn build(config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        Self::build_as(Limiter::Rate, config, parts)
    }

    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let verdict = self.admit(exchange);
        exchange.admitted_mut().by[self.limiter as usize] = Some(matches!(verdict, Verdict::Continue));
        verdict
    }

    fn on_response(&self, exchange: &mut Exchange) {
        if !self.settled.is_empty() {
            self.settle(exchange, false);
            self.hide_costs(exchange);
        }
    }

    fn preview(&self, exchange: &Exchange) -> String {
        let mut parts = Vec::new();
        let mut admits = true;
        let request = KeyRequest::new(exchange, self.names());
        for limit in &self.limits {
            let mut key = Vec::new();
            limit.key.write_key(&request, &mut key);
            let (shape, by) = (limit.limit.shape(), &limit.key);
            let known = self.counters_of(limit).peek(&limit.limit, &key, clocks(exchange));
            admits &= known.is_none_or(|decision| decision.remaining >= limit.cost);
            let left = known.map_or("an unknown number".into(), |decision| decision.remaining.to_string());
            parts.push(format!("`{}`: {} per {:?} by {by}, {left} left", limit.name, shape.limit(), shape.per()));
        }
        if let Some(concurrency) = &self.concurrency {
            let (left, told) = self.preview_concurrency(concurrency, &request);
            admits &= left.is_none_or(|left| left > 0);
            parts.push(told);
        }
        format!("{} ({})", if admits { "admits" } else { "refuses with 429" }, parts.join("; "))
    }
}

impl RateLimit {
    /// Builds the policy for `limiter`. Each limiter has its own counters.
    pub(crate) fn build_as(limiter: Limiter, config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let (policy, mut problems) = (limiter.name(), check_config(&config));
        let mut policies = Vec::new();
        let mut limits = Vec::with_capacity(config.limits.len());
        let in_cluster = parts.shared.shared_counters.is_some();
        let is_shared = in_cluster && config.limits.iter().any(|limit| Scope::is_shared(limit.scope));
        let mut settled = Vec::new();
        for (index, limit) in config.limits.into_iter().enumerate() {
            let identity = identity(limit.per_route, policy, &limit.name, parts.route);
            let shared = in_cluster && Scope::is_shared(limit.scope);
            let counters = if shared { parts.shared.cluster_counters() } else { &parts.shared.counters };
            let built = LimitShape::new(limit.algorithm, limit.limit, limit.per.0, limit.burst)
                // What this node has charged comes back if the cluster refuses.
                .map(|shape| {
                    let comes_back = limit.settle.is_some() || (is_shared && !shared);
                    if comes_back { shape.with_settlement() } else { shape }
                })
                .and_then(|shape| counters.register(&identity, shape, limit.mode));
            match built {
                Ok(counter) if (1..=counter.shape().capacity()).contains(&limit.cost) => {
                    if limit.headers {
                        headers::write_policy(&mut policies, &limit.name, counter.shape());
                    }
                    let LimitConfig { key, cost, settle, headers: reported, .. } = limit;
                    settled.extend(settle.map(|by| SettledLimit { limit: limits.len(), by }));
                    let name = limit.name.into();
                    limits.push(LimitRule { name, limit: counter, key, cost, shared, reported });
                }
                Ok(_) => {
                    let message = "cost must be at least 1 and at most the limit, or no request could ever pass";
                    problems.push(Problem::at(format!("limits[{index}].cost"), message));
                }
                Err(error) => problems.push(limit_problem(index, error)),
            }
        }
        let concurrency = config.concurrency.map(|config| Concurrency::build(config, policy, parts, &mut policies));
        if !problems.is_empty() {
            return Err(problems);
        }
        let shared = Arc::clone(parts.shared);
        let (route, service) = (parts.route.into(), parts.service.into());
        let (limits, settled) = (limits.into(), settled.into());
        Ok(Self { limiter, route, service, limits, concurrency, is_shared, settled, policies, shared })
    }

    fn names(&self) -> RouteNames<'_> {
        RouteNames { route: &self.route, service: &self.service }
    }

    fn admit(&self, exchange: &mut Exchange) -> Verdict {
        let waited = self.is_shared && exchange.admitted().is_some_and(|admitted| admitted.awaited.is_some());
        if let Some(concurrency) = self.concurrency.as_ref().filter(|_| !waited) {
            match self.acquire(concurrency, exchange) {
                Ok(permit) => exchange.admitted_mut().permits.push(permit),
                Err(verdict) => return verdict,
            }
        }
        let verdict = match self.limits.len() {
            1 if self.is_shared => self.charge_shared::<1>(exchange),
            2..=4 if self.is_shared => self.charge_shared::<4>(exchange),
            _ if self.is_shared => self.charge_shared::<MAX_CHARGES>(exchange),
            0 => self.charge::<0>(exchange),
            1 => self.charge::<1>(exchange),
            2 => self.charge::<2>(exchange),
            3..=4 => self.charge::<4>(exchange),
            _ => self.charge::<MAX_CHARGES>(exchange),
        };
        if self.concurrency.is_some() && !matches!(verdict, Verdict::Continue | Verdict::Wait(_)) {
            exchange.admitted_mut().permits.pop();
        }
        verdict
    }

    /// Charges the cost to all limits, or to none. `N` is at least the number of limits.
    fn charge<const N: usize>(&self, exchange: &mut Exchange) -> Verdict {
        let count = self.limits.len();
        let keys = LimitKeys::<N>::write(exchange, self.names(), |index| Some(&self.limits.get(index)?.key));
        let mut charges: [Charge<'_>; N] = array::from_fn(|index| {
            // Entries after the last limit are never checked.
            let index = index.min(count - 1);
            Charge::new(&self.limits[index].limit, keys.of(index), self.limits[index].cost)
        });
        let verdict = self.shared.counters.check_all(&mut charges[..count], clocks(exchange));
        if !self.settled.is_empty() && verdict == limit::ChargeVerdict::Admitted {
            let at = clocks(exchange);
            self.reserve(exchange, |index| (charges[index].key(), charges[index].reservation(at)));
        }
        let decisions = charges.map(|charge| charge.decision);
        self.finish(exchange, keys, verdict, &decisions[..count])
    }

    /// Reports the decisions and turns the verdict on the charges into that of the policy.
    fn finish<const N: usize>(
        &self,
        exchange: &mut Exchange,
        keys: LimitKeys<N>,
        verdict: limit::ChargeVerdict,
        decisions: &[Decision],
    ) -> Verdict {
        let mut bytes = keys.bytes;
        self.report(exchange, &mut bytes, decisions);
        exchange.scratch = bytes;
        match verdict {
            limit::ChargeVerdict::Admitted => Verdict::Continue,
            limit::ChargeVerdict::Refused { by } => {
                let mut wait = Vec::new();
                headers::write_retry_after(&mut wait, decisions[by].retry_after);
                reject("too many requests", wait)
            }
        }
    }

    /// Adds the state of all limits to the response, also if the request is refused.
    fn report(&self, exchange: &mut Exchange, value: &mut Vec<u8>, decisions: &[Decision]) {
        if self.policies.is_empty() {
            return;
        }
        value.clear();
        for (limit, decision) in self.limits.iter().zip(decisions).filter(|(limit, _)| limit.reported) {
            headers::write_limit(value, &limit.name, decision);
        }
        if let Some(concurrency) = self.concurrency.as_ref().filter(|concurrency| concurrency.reported) {
            let remaining = exchange
                .admitted()
                .and_then(|admitted| admitted.permits.last())
                .map_or(0, ConcurrencyPermit::remaining);
            headers::write_concurrency(value, &concurrency.name, remaining);
        }
        self.append_headers(exchange, value);
    }

    fn append_headers(&self, exchange: &mut Exchange, value: &[u8]) {
        // Neither can fail: the names are tokens, and invalid characters in names of limits were replaced.
        let _ = exchange.response.edits.append(b"RateLimit-Policy", &self.policies);
        let _ = exchange.response.edits.append(b"RateLimit", value);
    }
}

fn reject(message: &'static str, wait: Vec<u8>) -> Verdict {
    let wait = String::from_utf8(wait).ok().filter(|wait| !wait.is_empty());
    let headers = wait.map(|wait| ("Retry-After".into(), wait)).into_iter().collect();
    Verdict::Reject(Box::new(Rejection { status: 429, code: "rate_limited", message: message.into(), headers }))
}

fn clocks(exchange: &Exchange) -> Clocks {
    Clocks { now: exchange.times.now, wall: exchange.times.wall }
}

/// Checks everything that concerns more than the figures of one limit.
fn check_config(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.limits.is_empty() && config.concurrency.is_none() {
        problems.push(Problem::at("limits", "must have at least one of them, or there must be `concurrency`"));
    }
    if config.limits.len() > MAX_CHARGES {
        problems.push(Problem::at("limits", format!("must have at most {MAX_CHARGES} of them")));
    }
    for (index, limit) in config.limits.iter().enumerate() {
        if config.limits[..index].iter().any(|other| other.name == limit.name) {
            problems.push(Problem::at(format!("limits[{index}].name"), "another limit of the policy has this name"));
        }
        if limit.key.0.is_empty() {
            problems.push(Problem::at(format!("limits[{index}].key"), "must have at least one part"));
        }
        problems.extend(check_key(&limit.key, &format!("limits[{index}].key")));
        if let Some(error) = limit.settle.as_ref().and_then(Settle::check) {
            problems.push(Problem::at(format!("limits[{index}].settle"), error));
        }
    }
    if let Some(concurrency) = &config.concurrency {
        if concurrency.limit == 0 {
            problems.push(Problem::at("concurrency.limit", "must be at least 1"));
        }
        if concurrency.key.0.is_empty() {
            problems.push(Problem::at("concurrency.key", "must have at least one part"));
        }
        problems.extend(check_key(&concurrency.key, "concurrency.key"));
    }
    problems
}

/// Checks the expressions of a key.
fn check_key(key: &LimitKey, at: &str) -> Vec<Problem> {
    let checked =
        key.expressions().map(|expression| expression.check(ExpressionMoment::Authenticated, ExpressionUse::Key));
    let mistakes = checked.filter_map(Result::err).flatten();
    mistakes.map(|mistake| Problem::at(at, mistake.to_string())).collect()
}

fn limit_problem(index: usize, error: LimitError) -> Problem {
    let field = match error {
        LimitError::TooLong => ".per",
        LimitError::Burst => ".burst",
        LimitError::Zero | LimitError::TooMany => "",
    };
    Problem::at(format!("limits[{index}]{field}"), error.to_string())
}

impl Config {
    /// Returns the paths of all keys that need an authenticated user.
    pub(crate) fn user_key_paths(&self) -> impl Iterator<Item = String> {
        let limits = self.limits.iter().enumerate().map(|(index, limit)| (format!("limits[{index}].key"), &limit.key));
        let concurrency = self.concurrency.iter().map(|concurrency| ("concurrency.key".to_owned(), &concurrency.key));
        limits.chain(concurrency).filter(|(_, key)| key.needs_user()).map(|(path, _)| path)
    }
}

#[cfg(test)]
mod tests;
