//! A cache with a clock and an origin that is written as text.

mod bounds;
mod collapse;
mod dates;
mod parts;
mod rfc9111_reuse;
mod rfc9111_store;
mod rfc9111_validate;
mod statuses;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pylae_http::body::framing;
use pylae_http::{Framing, HeadLimits};

use super::{
    Cache, CacheOutcome, CacheRules, Settled, StoredResponse, invalidate_changed, lookup, on_failure, on_response,
};
use crate::request::admit::admit;
use crate::{Exchange, Halt, Instant, Verdict};

const LIMITS: HeadLimits = HeadLimits { head: 32_768, target: 8192, fields: 100 };
/// A Tuesday.
const BEGIN: u64 = 1_700_000_000;

/// A cache and its current time.
struct World {
    cache: Arc<Cache>,
    rules: CacheRules,
    /// Seconds since the beginning.
    at: u64,
}

/// What a client gets.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    /// A response from the cache.
    Stored { status: u16, body: String, outcome: CacheOutcome },
    /// The origin was asked, with these conditions.
    Asked { if_none_match: Option<String>, if_modified_since: Option<String> },
    /// A refusal.
    Refused(u16),
    /// It waits for another request.
    Waits,
}

fn rules() -> CacheRules {
    CacheRules {
        route: "r".into(),
        ttl: Duration::from_secs(300),
        error_ttl: Duration::ZERO,
        heuristic: 0.0,
        overrides: false,
        per_user: true,
        vary: [].into(),
        normalize_language: false,
        max_entry: 1 << 20,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        wait: Duration::from_secs(5),
        client_directives: true,
        ignore_cookies: false,
        strips_set_cookie: false,
        cache_status: true,
        tags: [].into(),
    }
}

impl World {
    fn new() -> Self {
        Self { cache: Cache::new(64 << 20), rules: rules(), at: 1000 }
    }

    fn with(rules: CacheRules) -> Self {
        Self { rules, ..Self::new() }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.at * 1_000_000_000)
    }

    /// Returns the time `seconds` from now as an HTTP date.
    fn date(&self, seconds: i64) -> String {
        let at = (BEGIN + self.at).saturating_add_signed(seconds);
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at))
    }

    /// Returns an exchange for a request, given as its start line and one field per line.
    fn exchange(&self, text: &str) -> Exchange {
        let mut exchange = Exchange::new(4096);
        let (line, fields) = text.split_once('\n').unwrap_or((text, ""));
        exchange.request.buffer.extend_from_slice(format!("{line} HTTP/1.1\r\nHost: h.test\r\n").as_bytes());
        for field in fields.lines() {
            exchange.request.buffer.extend_from_slice(format!("{field}\r\n").as_bytes());
        }
        exchange.request.buffer.extend_from_slice(b"\r\n");
        assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &LIMITS), Ok(true));
        assert_eq!(admit(&mut exchange, |_: IpAddr| false, 7), Ok(()));
        exchange.times.started = self.now();
        exchange.times.now = self.now();
        exchange.times.wall = Duration::from_secs(BEGIN + self.at);
        exchange
    }

    /// Looks a request up.
    fn lookup(&self, exchange: &mut Exchange) -> Verdict {
        lookup(&self.cache, &Arc::new(self.copy_of_rules()), exchange)
    }

    fn copy_of_rules(&self) -> CacheRules {
        let rules = &self.rules;
        CacheRules { route: rules.route.clone(), vary: rules.vary.clone(), tags: rules.tags.clone(), ..*rules }
    }

    /// Returns what a client gets for a request; if the origin is asked, the exchange ends there.
    fn ask(&self, text: &str) -> Got {
        let mut exchange = self.exchange(text);
        let verdict = self.lookup(&mut exchange);
        got(&exchange, verdict)
    }

    /// Sends a request to the origin, and its answer: status and fields, one per line, and a body.
    fn fetch(&self, request: &str, answer: &str, body: &str) -> (Exchange, Settled) {
        let mut exchange = self.exchange(request);
        let verdict = self.lookup(&mut exchange);
        assert!(matches!(verdict, Verdict::Continue), "the origin is not asked: {:?}", got(&exchange, verdict));
        let settled = self.answer(&mut exchange, answer, body);
        (exchange, settled)
    }

    /// Handles the origin's answer to the request in `exchange`. `{date}` is now.
    fn answer(&self, exchange: &mut Exchange, answer: &str, body: &str) -> Settled {
        let framing = self.head(exchange, answer, body.len());
        invalidate_changed(&self.cache, exchange);
        let settled = on_response(exchange, &Arc::from("s"), framing);
        if matches!(settled, Settled::Relay) && !body.is_empty() {
            exchange.cache_visit().copy_body(body.as_bytes());
            exchange.cache_visit().complete();
        }
        settled
    }

    /// Puts the head of an answer into `exchange`.
    fn head(&self, exchange: &mut Exchange, answer: &str, length: usize) -> Framing {
        let (status, fields) = answer.split_once('\n').unwrap_or((answer, ""));
        let mut text = format!("HTTP/1.1 {status}\r\n");
        for field in fields.replace("{date}", &self.date(0)).lines() {
            text.extend([field, "\r\n"]);
        }
        if !matches!(status, "304" | "204") && !fields.contains("Content-Length") {
            text.extend(["Content-Length: ", &length.to_string(), "\r\n"]);
        }
        text.push_str("\r\n");
        exchange.times.now = self.now();
        exchange.response.buffer.clear();
        exchange.response.buffer.extend_from_slice(text.as_bytes());
        exchange.response.head.clear();
        assert_eq!(exchange.response.head.parse(&exchange.response.buffer, &LIMITS), Ok(true));
        exchange.response.options.read(&exchange.response.head.fields, &exchange.response.buffer).unwrap();
        exchange.response.status = exchange.response.head.status;
        framing::response(&exchange.response.head, &exchange.response.buffer, exchange.request.head.method).unwrap()
    }

    /// Handles a failure of the origin.
    fn fail(&self, exchange: &mut Exchange) -> Option<StoredResponse> {
        exchange.times.now = self.now();
        on_failure(exchange, &Halt::ConnectFailed)
    }

    /// Returns true if a plain GET of this path is answered from the cache.
    fn holds(&self, path: &str) -> bool {
        matches!(self.ask(&format!("GET {path}")), Got::Stored { .. })
    }

    /// Stores an answer to `GET /`, and returns true if the next request gets it from the cache.
    fn keeps(&self, answer: &str) -> bool {
        self.fetch("GET /", answer, "body");
        self.holds("/")
    }
}

fn got(exchange: &Exchange, verdict: Verdict) -> Got {
    match verdict {
        Verdict::Stored(stored) => got_stored(exchange, &stored),
        Verdict::Reject(rejection) => Got::Refused(rejection.status),
        Verdict::Join(_) => Got::Waits,
        _ => {
            let edit = |name: &str| {
                let value = exchange.request.edits.get(name.as_bytes());
                value.map(|value| String::from_utf8_lossy(value).into_owned())
            };
            Got::Asked { if_none_match: edit("If-None-Match"), if_modified_since: edit("If-Modified-Since") }
        }
    }
}

fn got_stored(exchange: &Exchange, stored: &StoredResponse) -> Got {
    Got::Stored {
        status: exchange.response.status,
        body: String::from_utf8_lossy(&stored.entry.body[stored.part.clone()]).into_owned(),
        outcome: exchange.cache_outcome().unwrap(),
    }
}

/// A complete response from the cache.
fn hit(body: &str) -> Got {
    Got::Stored { status: 200, body: body.to_owned(), outcome: CacheOutcome::Hit }
}

/// The origin was asked without conditions.
fn miss() -> Got {
    Got::Asked { if_none_match: None, if_modified_since: None }
}

/// The origin was asked to validate this entity tag.
fn validation(tag: &str) -> Got {
    Got::Asked { if_none_match: Some(tag.to_owned()), if_modified_since: None }
}

/// A response edit.
fn edit(exchange: &Exchange, name: &str) -> Option<String> {
    exchange.response.edits.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Returns all values of a field of the response in `exchange`, as the instance or the cache sent it.
fn fields(exchange: &Exchange, name: &str) -> Vec<String> {
    let values = exchange.response.head.fields.values(&exchange.response.buffer, name);
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
