//! Caching rules of a route.

use std::time::Duration;

/// Caching rules of a route.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // settings are independent switches
pub struct CacheRules {
    /// Name of the route; part of the key, because routes for the same address may answer differently.
    pub route: Box<str>,
    /// Freshness lifetime of responses for which the origin gives none.
    pub ttl: Duration,
    /// Freshness lifetime of 404 and 410; zero stores none.
    pub error_ttl: Duration,
    /// Fraction of the time since the last modification that counts as freshness lifetime; zero disables the heuristic.
    pub heuristic: f64,
    /// True if `ttl` overrides the origin.
    pub overrides: bool,
    /// True if responses are stored per user.
    pub per_user: bool,
    /// Names of request fields that are part of the key, in addition to the origin's Vary.
    pub vary: Box<[Box<str>]>,
    /// True if the order within Accept-Language is ignored.
    pub normalize_language: bool,
    /// Largest body to store, in bytes.
    pub max_entry: usize,
    /// Default of stale-while-revalidate.
    pub stale_while_revalidate: Duration,
    /// Default of stale-if-error.
    pub stale_if_error: Duration,
    /// How long a request waits for another request's fetch.
    pub wait: Duration,
    /// True if the Cache-Control of requests is respected.
    pub client_directives: bool,
    /// True if responses to requests with cookies may be shared.
    pub ignore_cookies: bool,
    /// True if responses that set cookies are stored, without the cookies.
    pub strips_set_cookie: bool,
    /// True if responses carry Cache-Status.
    pub cache_status: bool,
    /// Tags for purging, in addition to the origin's Cache-Tag.
    pub tags: Box<[Box<str>]>,
}
