//! How old a response is and how long it is fresh (RFC 9111 section 4.2).

use std::time::Duration;

use pylae_http::{Name, ResponseHead};

use crate::cache::freshness::control::{ResponseControl, seconds};
use crate::cache::freshness::date::moment;
use crate::cache::rules::CacheRules;
use crate::{Exchange, Instant};

/// Now, since the Unix epoch.
pub(crate) fn wall(exchange: &Exchange) -> Duration {
    exchange.times.wall + exchange.times.now.since(exchange.times.started)
}

/// `corrected_initial_age` of the response in `exchange` (section 4.2.3). Of several Ages the first counts, and one that is
/// not a number is ignored (section 5.1).
///
/// `began` is when the service was asked.
pub(crate) fn initial(exchange: &Exchange, began: Instant) -> Duration {
    let (fields, buf) = (&exchange.response.head.fields, &exchange.response.buffer[..]);
    let delay = exchange.times.now.since(began);
    let first = fields.get(buf, Name::Age).and_then(|line| line.split(|byte| *byte == b',').next());
    let said = first.map(<[u8]>::trim_ascii).and_then(seconds).unwrap_or(0);
    let date = fields.get(buf, Name::Date).and_then(moment);
    let apparent = date.map_or(Duration::ZERO, |date| wall(exchange).saturating_sub(date));
    apparent.max(Duration::from_secs(said.into()) + delay)
}

/// What is guessed is not taken for fresher than this.
const LONGEST_GUESS: Duration = Duration::from_secs(86_400);

/// What makes a response fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// The origin says so, since its own clock, or lets it be guessed.
    Stated(Duration),
    /// The route's settings say so, from now on.
    Configured(Duration),
    /// Nobody says so.
    None,
}

/// The head of a response, and when it came since the Unix epoch.
pub(crate) struct ReceivedHead<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) wall: Duration,
}

/// How long a response is fresh: `s-maxage`, `max-age`, `Expires`, and otherwise what may be guessed or what the route
/// says for its status (section 4.2.1).
pub(crate) fn lifetime(response: &ReceivedHead<'_>, control: &ResponseControl, rules: &CacheRules) -> Lifetime {
    let configured = configured(response.head.status, rules);
    if let Some(ttl) = configured.filter(|_| rules.overrides) {
        return Lifetime::Configured(ttl);
    }
    if let Some(stated) = control.s_maxage.or(control.max_age) {
        return Lifetime::Stated(Duration::from_secs(stated.into()));
    }
    let fields = &response.head.fields;
    if fields.has(Name::Expires) {
        // Anything that is not a date, `0` above all, is in the past; so is an answer with two of them (section 5.3).
        let once = fields.count(Name::Expires) == 1;
        let expires = fields.get(response.bytes, Name::Expires).filter(|_| once).and_then(moment).unwrap_or_default();
        return Lifetime::Stated(expires.saturating_sub(date(response)));
    }
    match configured {
        // For errors the route's word is more than a guess.
        Some(ttl) if response.head.status >= 400 => Lifetime::Configured(ttl),
        _ => match (guessed(response, control, rules), configured) {
            (Some(guess), _) => Lifetime::Stated(guess),
            (None, Some(ttl)) => Lifetime::Configured(ttl),
            (None, None) => Lifetime::None,
        },
    }
}

/// How long an answer with this status is fresh if the origin does not say so, as far as the route says that at all.
fn configured(status: u16, rules: &CacheRules) -> Option<Duration> {
    match status {
        200 | 203 | 206 | 300 | 301 | 308 => Some(rules.ttl),
        404 | 410 => Some(rules.error_ttl).filter(|ttl| !ttl.is_zero()),
        _ => None,
    }
}

/// A part of the time for which what is answered had not changed when it was sent (section 4.2.2), for statuses that
/// are cacheable by default (RFC 9110 section 15.1) or called `public`. Failures of the origin need its word.
fn guessed(response: &ReceivedHead<'_>, control: &ResponseControl, rules: &CacheRules) -> Option<Duration> {
    let status = response.head.status;
    let by_default = matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414);
    if rules.heuristic <= 0.0 || !(by_default || control.public && status < 500) {
        return None;
    }
    let changed = response.head.fields.get(response.bytes, Name::LastModified).and_then(moment)?;
    Some(date(response).saturating_sub(changed).mul_f64(rules.heuristic).min(LONGEST_GUESS))
}

/// When a response was sent, by its own word if it has one.
fn date(response: &ReceivedHead<'_>) -> Duration {
    response.head.fields.get(response.bytes, Name::Date).and_then(moment).unwrap_or(response.wall)
}
