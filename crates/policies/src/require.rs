//! Requires what an administrator says of the user's claims and of the request. What cannot be told is refused.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use pylae_core::exchange::user::find_claim;
use pylae_core::expression::{
    Expression, ExpressionMoment, ExpressionPlace, ExpressionScope, ExpressionUse, RouteNames,
};
use pylae_core::{Exchange, Problem, User, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::authentication::reject;
use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the user's claims must be, by name or by a dotted path of names.
    claims: BTreeMap<String, ClaimTest>,
    /// A condition that must be true.
    expression: Option<Expression>,
}

/// What a claim must be. The members of a list, and the words of `scope`, count one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimTest {
    /// It has one of these values.
    any: Vec<Value>,
    /// It has all of these values.
    all: Vec<Value>,
    /// Whether it is there; null if that does not matter.
    present: Option<bool>,
}

/// The require policy.
#[derive(Debug)]
pub struct Require {
    config: Config,
    route: Box<str>,
    service: Box<str>,
    challenge: String,
}

/// Requirements are the same if the same is asked.
impl PartialEq for Require {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

/// What is not as required.
#[derive(Debug, PartialEq, Eq)]
enum Unmet<'a> {
    User,
    Claim(&'a str),
    Expression,
    /// The expression cannot be told, because of this.
    Untold(String),
}

impl Policy for Require {
    type Config = Config;

    fn build(config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if config.claims.is_empty() && config.expression.is_none() {
            problems.push(Problem::at("", "needs `claims` or an `expression`"));
        }
        for (name, test) in &config.claims {
            if test.any.is_empty() && test.all.is_empty() && test.present.is_none() {
                problems.push(Problem::at(format!("claims.{name}"), "must ask for something"));
            }
        }
        let checked =
            config.expression.as_ref().map(|one| one.check(ExpressionMoment::Authenticated, ExpressionUse::Condition));
        if let Some(Err(mistakes)) = checked {
            problems.extend(mistakes.iter().map(|mistake| Problem::at("expression", mistake.to_string())));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let challenge = format!("Bearer realm=\"{}\"", parts.auth.realm);
        Ok(Self { config, route: parts.route.into(), service: parts.service.into(), challenge })
    }

    #[inline]
    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let Some(unmet) = self.unmet(exchange) else { return Verdict::Continue };
        if let Unmet::Untold(told) = unmet {
            exchange.record_failure(ExpressionPlace::Require, told);
        } else if unmet == Unmet::User {
            let challenge = ("WWW-Authenticate", self.challenge.clone());
            return reject(401, "unauthorized", "authentication is required".into(), &[challenge]);
        }
        reject(403, "forbidden", "this request is not allowed".into(), &[])
    }

    fn preview(&self, exchange: &Exchange) -> String {
        match self.unmet(exchange) {
            None => "lets the request pass".to_owned(),
            Some(Unmet::User) => "401: there is no user".to_owned(),
            Some(Unmet::Claim(name)) => format!("403: the claim {name} is not as required"),
            Some(Unmet::Expression | Unmet::Untold(_)) => {
                let parts = self.config.expression.iter().flat_map(|one| one.explain(&self.scope(exchange)));
                let unmet = parts.filter(|part| part.verdict != Ok(true)).map(|part| part.to_string());
                format!("403: {}", unmet.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

impl Require {
    fn scope<'a>(&'a self, exchange: &'a Exchange) -> ExpressionScope<'a> {
        let names = RouteNames { route: &self.route, service: &self.service };
        ExpressionScope { exchange, names, conclusion: None }
    }

    fn unmet<'a>(&'a self, exchange: &'a Exchange) -> Option<Unmet<'a>> {
        if !self.config.claims.is_empty() {
            let Some(user) = exchange.request.user.as_deref() else { return Some(Unmet::User) };
            let unmet = self.config.claims.iter().find(|(name, test)| !test.is_met(name, user));
            if let Some((name, _)) = unmet {
                return Some(Unmet::Claim(name));
            }
        }
        let expression = self.config.expression.as_ref()?;
        match expression.is_met(&self.scope(exchange)) {
            Ok(true) => None,
            Ok(false) => Some(Unmet::Expression),
            Err(failure) => Some(Unmet::Untold(expression.tell(&failure))),
        }
    }
}

impl ClaimTest {
    fn is_met(&self, name: &str, user: &User) -> bool {
        // Null says nothing, as in claims that say who the user is.
        let claim = find_claim(&user.claims, name).filter(|claim| !claim.is_null());
        if self.present.is_some_and(|present| present != claim.is_some()) {
            return false;
        }
        let has = |wanted: &Value| claim.is_some_and(|claim| holds(name, claim, wanted));
        (self.any.is_empty() || self.any.iter().any(has)) && self.all.iter().all(has)
    }
}

/// Returns true if a claim is `wanted` or, if it is a list, has it.
fn holds(name: &str, claim: &Value, wanted: &Value) -> bool {
    match (claim, wanted) {
        (Value::Array(members), _) => members.iter().any(|member| equals(member, wanted)),
        // RFC 8693 section 4.2: values between spaces.
        (Value::String(words), Value::String(wanted)) if name == "scope" => words.split(' ').any(|word| word == wanted),
        _ => equals(claim, wanted),
    }
}

/// Numbers are the same whatever they are written like.
fn equals(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    }
}
