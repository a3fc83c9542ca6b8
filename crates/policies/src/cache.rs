//! Answers repeated reads from memory. `pylae_core::cache` makes the decisions.

use std::sync::Arc;

use pylae_core::cache::{self, Cache, CacheRules};
use pylae_core::plan::Seconds;
use pylae_core::{Exchange, Problem, Verdict};
use pylae_http::Method;
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // settings are independent switches
pub struct Config {
    /// Freshness lifetime of responses whose origin states none.
    ttl: Seconds,
    /// Freshness lifetime of 404 and 410; 0 does not store them.
    error_ttl: Seconds,
    /// Heuristic freshness as a fraction (0–1) of the time since Last-Modified; 0 disables it.
    heuristic: f64,
    /// Whether `ttl` overrides the lifetime that the origin states.
    r#override: bool,
    /// Whether responses are stored per user.
    per_user: bool,
    /// Request fields that are part of the key, in lower case.
    vary: Vec<String>,
    /// Request fields that are compared by meaning.
    normalize: Vec<Normalized>,
    /// Bytes of the largest body that is stored.
    max_entry: u64,
    /// How long a stale response may be served while it is revalidated, unless the origin says.
    stale_while_revalidate: Seconds,
    /// How long a stale response may be served when the service fails, unless the origin says.
    stale_if_error: Seconds,
    /// How long a request waits for another request's fetch of the same response; 0 does not wait.
    wait: Seconds,
    /// Whether Cache-Control of requests is honored.
    client_directives: bool,
    /// Whether responses to requests with cookies are treated like others.
    ignore_cookies: bool,
    /// What to do with responses that set cookies.
    set_cookie: SetCookie,
    /// Whether responses carry Cache-Status.
    cache_status: bool,
    /// Tags by which the responses can be purged.
    tags: Vec<String>,
}

/// A request field that can be compared by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Normalized {
    /// Languages by weight, regardless of their order.
    #[serde(rename = "accept-language")]
    AcceptLanguage,
}

/// What to do with responses that set cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetCookie {
    /// Do not store them.
    Bypass,
    /// Store them without the cookies.
    Strip,
}

impl Config {
    /// Converts the configuration to the rules of `pylae_core::cache` for this route.
    pub fn rules(self, route: &str) -> CacheRules {
        let boxed = |words: Vec<String>| words.into_iter().map(String::into_boxed_str).collect();
        CacheRules {
            route: route.into(),
            ttl: self.ttl.0,
            error_ttl: self.error_ttl.0,
            heuristic: self.heuristic,
            overrides: self.r#override,
            per_user: self.per_user,
            vary: boxed(self.vary),
            normalize_language: self.normalize.contains(&Normalized::AcceptLanguage),
            max_entry: usize::try_from(self.max_entry).unwrap_or(usize::MAX),
            stale_while_revalidate: self.stale_while_revalidate.0,
            stale_if_error: self.stale_if_error.0,
            wait: self.wait.0,
            client_directives: self.client_directives,
            ignore_cookies: self.ignore_cookies,
            strips_set_cookie: self.set_cookie == SetCookie::Strip,
            cache_status: self.cache_status,
            tags: boxed(self.tags),
        }
    }
}

/// The cache policy.
#[derive(Debug)]
pub struct Caching {
    cache: Arc<Cache>,
    rules: Arc<CacheRules>,
}

impl Policy for Caching {
    type Config = Config;

    fn build(config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let invalid = config.vary.iter().enumerate().filter(|(_, name)| !cache::is_key(name));
        let text = "the gateway sets this field to a new value in each request, so no response could be reused";
        let problems: Vec<_> = invalid.map(|(index, _)| Problem::at(format!("vary[{index}]"), text)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let rules = config.rules(parts.route);
        Ok(Self { cache: Arc::clone(parts.shared.cache()), rules: Arc::new(rules) })
    }

    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        cache::lookup(&self.cache, &self.rules, exchange)
    }

    fn preview(&self, exchange: &Exchange) -> String {
        if matches!(exchange.request.head.method, Method::Get | Method::Head) {
            let whose = if self.rules.per_user && exchange.request.user.is_some() { " of this user" } else { "" };
            format!("answers from the cache if it holds a fresh answer{whose}, otherwise keeps the service's if it may")
        } else {
            "passes by: only GET and HEAD are cached; a success makes what is cached for this address invalid"
                .to_owned()
        }
    }
}
