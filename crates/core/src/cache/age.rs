//! How old a response is and how long it is fresh (RFC 9111 section 4.2).

use std::time::{Duration, SystemTime};

use pylae_http::{Name, ResponseHead};

use super::control::{ResponseControl, seconds};
use super::visit::Rules;
use crate::{Exchange, Instant};

/// A moment in one of the three formats of RFC 9110 section 5.6.7, since the Unix epoch. Moments before it are the epoch.
pub(super) fn moment(value: &[u8]) -> Option<Duration> {
    let moment = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    Some(moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Now, since the Unix epoch.
pub(super) fn wall(exchange: &Exchange) -> Duration {
    exchange.wall + exchange.now.since(exchange.started)
}

/// `corrected_initial_age` of the response in `exchange` (section 4.2.3). Of several Ages the first counts, and one that is
/// not a number is ignored (section 5.1).
///
/// `began` is when the service was asked.
pub(super) fn initial(exchange: &Exchange, began: Instant) -> Duration {
    let (fields, buf) = (&exchange.response.fields, &exchange.response_buffer[..]);
    let delay = exchange.now.since(began);
    let first = fields.get(buf, Name::Age).and_then(|line| line.split(|byte| *byte == b',').next());
    let said = first.map(<[u8]>::trim_ascii).and_then(seconds).unwrap_or(0);
    let date = fields.get(buf, Name::Date).and_then(moment);
    let apparent = date.map_or(Duration::ZERO, |date| wall(exchange).saturating_sub(date));
    apparent.max(Duration::from_secs(said.into()) + delay)
}

/// What makes a response fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The origin says so, since its own clock.
    Stated(Duration),
    /// The route's settings say so, from now on.
    Configured(Duration),
    /// Nobody says so.
    None,
}

/// The head of a response, and when it came since the Unix epoch.
pub(super) struct Seen<'a> {
    pub(super) head: &'a ResponseHead,
    pub(super) bytes: &'a [u8],
    pub(super) wall: Duration,
}

/// How long a response is fresh: `s-maxage`, `max-age`, `Expires`, and otherwise the route's `ttl` for the statuses that
/// a cache may keep without being told (section 4.2.1, RFC 9110 section 15.1).
pub(super) fn lifetime(response: &Seen<'_>, control: &ResponseControl, rules: &Rules) -> Lifetime {
    let by_default = matches!(response.head.status, 200 | 203 | 204 | 300 | 301 | 308);
    if rules.overrides && by_default {
        return Lifetime::Configured(rules.ttl);
    }
    if let Some(stated) = control.s_maxage.or(control.max_age) {
        return Lifetime::Stated(Duration::from_secs(stated.into()));
    }
    let fields = &response.head.fields;
    if fields.has(Name::Expires) {
        // Anything that is not a date, `0` above all, is in the past; so is an answer with two of them (section 5.3).
        let once = fields.count(Name::Expires) == 1;
        let expires = fields.get(response.bytes, Name::Expires).filter(|_| once).and_then(moment).unwrap_or_default();
        let date = fields.get(response.bytes, Name::Date).and_then(moment).unwrap_or(response.wall);
        return Lifetime::Stated(expires.saturating_sub(date));
    }
    if by_default { Lifetime::Configured(rules.ttl) } else { Lifetime::None }
}
