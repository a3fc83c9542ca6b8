//! Answers repeated reads from memory. The decisions are those of `pylae_core::cache`.

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
    /// Freshness of answers whose origin states none.
    ttl: Seconds,
    /// The same for 404 and 410; 0 is not at all.
    error_ttl: Seconds,
    /// How much of the time since it last changed an answer is taken to be fresh, 0 to 1; 0 is nothing.
    heuristic: f64,
    /// Whether `ttl` counts even where the origin states another.
    r#override: bool,
    /// Whether each user has answers of his own.
    per_user: bool,
    /// Names of request fields that are part of the key, in lower case.
    vary: Vec<String>,
    /// Request fields that are compared by what they mean.
    normalize: Vec<Normalized>,
    /// Bytes of the largest body that is kept.
    max_entry: u64,
    /// How long a stale answer may be given while it is revalidated, unless the origin says.
    stale_while_revalidate: Seconds,
    /// How long a stale answer may be given when the service fails, unless the origin says.
    stale_if_error: Seconds,
    /// How long a request waits for another's fetch of the same answer; 0 is not at all.
    wait: Seconds,
    /// Whether the Cache-Control of requests is heeded.
    client_directives: bool,
    /// Whether answers to requests with cookies count like others.
    ignore_cookies: bool,
    /// What becomes of answers that set cookies.
    set_cookie: SetCookie,
    /// Whether responses carry Cache-Status.
    cache_status: bool,
    /// Words by which the answers can be purged.
    tags: Vec<String>,
}

/// A request field whose meaning is known well enough to compare it by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Normalized {
    /// Languages, in whatever order.
    #[serde(rename = "accept-language")]
    AcceptLanguage,
}

/// What becomes of answers that set cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetCookie {
    /// They are not kept.
    Bypass,
    /// They are kept without the cookies.
    Strip,
}

impl Config {
    /// The same as `pylae_core::cache` takes it, for the route of this name.
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

/// Answers from the cache, or has the service's answer kept.
#[derive(Debug)]
pub struct Caching {
    cache: Arc<Cache>,
    rules: Arc<CacheRules>,
}

impl Policy for Caching {
    type Config = Config;

    fn build(config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let invalid = config.vary.iter().enumerate().filter(|(_, name)| !cache::is_key(name));
        let text = "the gateway writes this field into each request anew, so that no two answers would be the same";
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
