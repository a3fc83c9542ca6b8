//! Age and freshness lifetime of responses (RFC 9111 section 4.2).

use std::time::Duration;

use pylae_http::{Name, ResponseHead};

use crate::cache::freshness::control::{ResponseControl, seconds};
use crate::cache::freshness::date::parse_date;
use crate::cache::rules::CacheRules;
use crate::{Exchange, Instant};

/// The current time since the Unix epoch.
pub(crate) fn wall(exchange: &Exchange) -> Duration {
    exchange.times.wall + exchange.times.now.since(exchange.times.started)
}

/// Returns the `corrected_initial_age` of the response in `exchange` (section 4.2.3). Of several Age values the first
/// counts; a value that is not a number is ignored (section 5.1).
///
/// `began` is when the service was asked.
pub(crate) fn initial_age(exchange: &Exchange, began: Instant) -> Duration {
    let (fields, buf) = (&exchange.response.head.fields, &exchange.response.buffer[..]);
    let delay = exchange.times.now.since(began);
    let first = fields.get(buf, Name::Age).and_then(|line| line.split(|byte| *byte == b',').next());
    let said = first.map(<[u8]>::trim_ascii).and_then(seconds).unwrap_or(0);
    let date = fields.get(buf, Name::Date).and_then(parse_date);
    let apparent = date.map_or(Duration::ZERO, |date| wall(exchange).saturating_sub(date));
    apparent.max(Duration::from_secs(said.into()) + delay)
}

/// Longest heuristic lifetime.
const MAX_HEURISTIC: Duration = Duration::from_secs(86_400);

/// The freshness lifetime of a response and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// From the origin's fields or a heuristic over them, counted from the response's Date.
    Stated(Duration),
    /// From the route's settings, counted from now.
    Configured(Duration),
    /// Neither the origin nor the route gives one.
    None,
}

/// The head of a response, and when it arrived since the Unix epoch.
pub(crate) struct ReceivedHead<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) wall: Duration,
}

/// Returns how long a response is fresh: from `s-maxage`, `max-age` or `Expires`, or else by a heuristic or the route's
/// setting for its status (section 4.2.1).
pub(crate) fn lifetime(response: &ReceivedHead<'_>, control: &ResponseControl, rules: &CacheRules) -> Lifetime {
    let configured = configured_ttl(response.head.status, rules);
    if let Some(ttl) = configured.filter(|_| rules.overrides) {
        return Lifetime::Configured(ttl);
    }
    if let Some(stated) = control.s_maxage.or(control.max_age) {
        return Lifetime::Stated(Duration::from_secs(stated.into()));
    }
    let fields = &response.head.fields;
    if fields.has(Name::Expires) {
        // Anything that is not a date, above all `0`, means the past; so do two Expires fields (section 5.3).
        let once = fields.count(Name::Expires) == 1;
        let expires =
            fields.get(response.bytes, Name::Expires).filter(|_| once).and_then(parse_date).unwrap_or_default();
        return Lifetime::Stated(expires.saturating_sub(date(response)));
    }
    match configured {
        // For errors the route's setting takes precedence over a heuristic.
        Some(ttl) if response.head.status >= 400 => Lifetime::Configured(ttl),
        _ => match (heuristic_lifetime(response, control, rules), configured) {
            (Some(guess), _) => Lifetime::Stated(guess),
            (None, Some(ttl)) => Lifetime::Configured(ttl),
            (None, None) => Lifetime::None,
        },
    }
}

/// Returns the route's lifetime for responses with this status that have none of their own.
fn configured_ttl(status: u16, rules: &CacheRules) -> Option<Duration> {
    match status {
        200 | 203 | 206 | 300 | 301 | 308 => Some(rules.ttl),
        404 | 410 => Some(rules.error_ttl).filter(|ttl| !ttl.is_zero()),
        _ => None,
    }
}

/// Heuristic lifetime: a fraction of the time since the last modification (section 4.2.2), for statuses that are
/// cacheable by default (RFC 9110 section 15.1) or marked `public`. Server errors need an explicit lifetime.
fn heuristic_lifetime(response: &ReceivedHead<'_>, control: &ResponseControl, rules: &CacheRules) -> Option<Duration> {
    let status = response.head.status;
    let by_default = matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414);
    if rules.heuristic <= 0.0 || !(by_default || control.public && status < 500) {
        return None;
    }
    let changed = response.head.fields.get(response.bytes, Name::LastModified).and_then(parse_date)?;
    Some(date(response).saturating_sub(changed).mul_f64(rules.heuristic).min(MAX_HEURISTIC))
}

/// The Date of a response, or else when it arrived.
fn date(response: &ReceivedHead<'_>) -> Duration {
    response.head.fields.get(response.bytes, Name::Date).and_then(parse_date).unwrap_or(response.wall)
}
