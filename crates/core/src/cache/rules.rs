//! What a route says about caching.

use std::time::Duration;

/// What a route says about caching.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // settings are independent switches
pub struct CacheRules {
    /// Name of the route: other routes for the same address have other answers.
    pub route: Box<str>,
    /// How long an answer is fresh of which the origin does not say so.
    pub ttl: Duration,
    /// The same for an answer that there is nothing (404, 410); zero is not at all.
    pub error_ttl: Duration,
    /// How much of the time since it last changed an answer is taken to be fresh; zero is nothing.
    pub heuristic: f64,
    /// Whether `ttl` counts even where the origin says otherwise.
    pub overrides: bool,
    /// Whether each user has answers of his own.
    pub per_user: bool,
    /// Names of request fields that are part of the key, whatever the origin's Vary says.
    pub vary: Box<[Box<str>]>,
    /// Whether languages that a client accepts are compared whatever their order.
    pub normalize_language: bool,
    /// Bytes of the largest body that is kept.
    pub max_entry: usize,
    /// How long a stale answer may be given while it is revalidated, unless the origin says.
    pub stale_while_revalidate: Duration,
    /// How long a stale answer may be given when the service fails, unless the origin says.
    pub stale_if_error: Duration,
    /// How long a request waits for another's fetch of the same answer.
    pub wait: Duration,
    /// Whether the Cache-Control of requests is heeded.
    pub client_directives: bool,
    /// Whether answers to requests with cookies count like others.
    pub ignore_cookies: bool,
    /// Whether answers that set cookies are kept, without them.
    pub strips_set_cookie: bool,
    /// Whether responses carry Cache-Status.
    pub cache_status: bool,
    /// Words by which the answers can be purged, besides those of the origin's Cache-Tag.
    pub tags: Box<[Box<str>]>,
}
