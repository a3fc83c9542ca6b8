//! Decides which responses are stored, and in what form (RFC 9111 section 3).

use std::sync::Arc;
use std::time::Duration;

use pylae_http::encode::FieldSource;
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Framing, Name, NameSet};

use super::change::is_for_get;
use super::fetch::Fetch;
use super::freshness::age::{Lifetime, ReceivedHead, initial_age, lifetime, wall};
use super::freshness::control::ResponseControl;
use super::rules::CacheRules;
use super::selection::vary::Selecting;
use super::storage::entry::Entry;
use super::storage::head::{NOT_UPDATED, encode_head, stored_head, updates};
use super::storage::part::Part;
use crate::Exchange;
use crate::exchange::response::Response;

/// Largest number of tags of an entry.
const MOST_TAGS: usize = 64;

/// Returns the entry for the response in `exchange`, still without its body, if it may be stored.
pub(super) fn storable(fetch: &Fetch, exchange: &Exchange, service: &Arc<str>, framing: Framing) -> Option<Entry> {
    let Exchange { response: Response { head: response, buffer: buf, .. }, .. } = exchange;
    let control = ResponseControl::read(&response.fields, buf);
    let forbidden = forbids(&control, response.status)
        || (response.fields.has(Name::SetCookie) && !fetch.rules.strips_set_cookie)
        // An event stream is for its current listeners only.
        || exchange.response.is_event_stream();
    let allowed = fetch.stores
        && is_for_get(exchange, &control)
        && !is_about_the_request(response.status)
        && !forbidden
        && may_be_shared(fetch, exchange, &control)
        && is_bounded(framing, fetch.max_body());
    if !allowed || hides_good_entry(fetch, exchange) {
        return None;
    }
    let part = if response.status == 206 { Some(Box::new(Part::of(exchange)?)) } else { None };
    let selecting = Selecting::read(exchange, &fetch.facts, &fetch.rules)?;
    if !allows_cookies(fetch, exchange, &control, &selecting) {
        return None;
    }
    let initial_age = initial_age(exchange, fetch.began);
    let seen = ReceivedHead { head: response, bytes: buf, wall: wall(exchange) };
    let lifetime = match lifetime(&seen, &control, &fetch.rules) {
        Lifetime::Stated(span) => span,
        Lifetime::Configured(span) => initial_age + span,
        Lifetime::None => return None,
    };
    let (bytes, head) = stored_head(exchange)?;
    let mut entry = Entry {
        bytes,
        head,
        body: Arc::from([]),
        part,
        selecting,
        control,
        requested: fetch.changed.unwrap_or(fetch.began),
        received: exchange.times.now,
        initial_age,
        lifetime,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        service: Arc::clone(service),
        asked: exchange.asked().cloned(),
        via: exchange.response.via,
        tags: tags(exchange, &fetch.rules),
    };
    set_staleness(&mut entry, &fetch.rules);
    let useful = entry.fresh_for(entry.received).is_some() && !control.no_cache;
    let later = !entry.stale_if_error.is_zero() || !entry.stale_while_revalidate.is_zero();
    (useful || entry.has_validator() || later).then_some(entry)
}

impl Fetch {
    /// Largest body to store, in bytes.
    pub(super) fn max_body(&self) -> usize {
        self.rules.max_entry.min(self.cache.largest())
    }
}

/// Sets how long `entry` may be served stale: by the origin's directives, or else by the route's settings.
fn set_staleness(entry: &mut Entry, rules: &CacheRules) {
    if entry.control.forbids_stale() {
        return;
    }
    let span = |said: Option<u32>, or| said.map_or(or, |seconds| Duration::from_secs(seconds.into()));
    if entry.part.is_none() {
        entry.stale_while_revalidate = span(entry.control.stale_while_revalidate, rules.stale_while_revalidate);
    }
    entry.stale_if_error = span(entry.control.stale_if_error, rules.stale_if_error);
}

/// Returns true if the origin forbids storing. `must-understand` overrides `no-store` if the cache knows the status,
/// and forbids storing if it does not (section 5.2.2.3).
fn forbids(control: &ResponseControl, status: u16) -> bool {
    let understood =
        matches!(status, 200 | 203 | 204 | 206 | 300..=303 | 307 | 308 | 400 | 404 | 405 | 410 | 414 | 500..=504);
    control.private || if control.must_understand { !understood } else { control.no_store }
}

/// Returns true for a status that concerns the request, its sender or the connection rather than the target: such a
/// response cannot be shared.
fn is_about_the_request(status: u16) -> bool {
    matches!(
        status,
        226 | 304 | 401 | 403 | 407 | 408 | 411..=413 | 416 | 417 | 421 | 425 | 426 | 428 | 429 | 431 | 511
    )
}

/// Returns true if an error response would replace an entry that can still be served.
fn hides_good_entry(fetch: &Fetch, exchange: &Exchange) -> bool {
    let good = fetch.stale.as_ref().is_some_and(|entry| entry.is_good(exchange.times.now));
    exchange.response.head.status >= 500 && good
}

/// Returns true if the response may be shared although the request was authorised (section 3.5).
fn may_be_shared(fetch: &Fetch, exchange: &Exchange, control: &ResponseControl) -> bool {
    let fields = &exchange.request.head.fields;
    // The key does not contain a user whom a hook has set.
    let own = fetch.facts.is_keyed_by_user(fetch.rules.per_user);
    let authorised = exchange.request.user.is_some() || fields.has(Name::Authorization) || fields.has(Name::XApiKey);
    own || !authorised || control.public || control.must_revalidate || control.s_maxage.is_some()
}

/// Returns true if a response to a request with cookies may be shared: without explicit permission it may belong to one
/// session.
fn allows_cookies(fetch: &Fetch, exchange: &Exchange, control: &ResponseControl, selecting: &Selecting) -> bool {
    let rules = &fetch.rules;
    !exchange.request.head.fields.has(Name::Cookie)
        || rules.ignore_cookies
        || exchange.member().is_some_and(|member| member.is_only_cookie(exchange))
        || fetch.facts.is_keyed_by_user(rules.per_user)
        || control.public
        || control.s_maxage.is_some()
        || selecting.includes("cookie")
        || rules.vary.iter().any(|name| **name == *"cookie")
}

/// Returns true if the end of the body can be told from a broken connection and the length is not too large.
fn is_bounded(framing: Framing, most: usize) -> bool {
    match framing {
        Framing::None | Framing::Chunked => true,
        Framing::Length(length) => length <= most as u64,
        Framing::Close => false,
    }
}

/// The tags of the route and those of the origin's Cache-Tag.
fn tags(exchange: &Exchange, rules: &CacheRules) -> Arc<[Box<str>]> {
    let lines = exchange.response.head.fields.values(&exchange.response.buffer, "cache-tag");
    let said = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let said = said.filter(|tag| !tag.is_empty()).filter_map(|tag| std::str::from_utf8(tag).ok());
    rules.tags.iter().map(|tag| &**tag).chain(said).take(MOST_TAGS).map(Box::from).collect()
}

/// Updates `stale` with the fields of the response in `exchange`, a 304 or a response to HEAD (sections 3.2 and 4.3.4).
/// Returns None if the result is not a valid head.
pub(super) fn refreshed(stale: &Entry, fetch: &Fetch, exchange: &Exchange) -> Option<Entry> {
    let Exchange { response: Response { head: response, buffer: buf, options, .. }, .. } = exchange;
    let edits = updates(&response.fields, buf, options, NOT_UPDATED);
    let none = ConnectionOptions::default();
    let source = FieldSource {
        fields: &stale.head.fields,
        buf: &stale.bytes,
        options: &none,
        drop: NameSet::EMPTY,
        edits: &edits,
    };
    let (bytes, head) = encode_head(stale.head.status, source)?;
    let control = ResponseControl::read(&head.fields, &bytes);
    let initial_age = initial_age(exchange, fetch.began);
    let mut entry = Entry {
        body: Arc::clone(&stale.body),
        part: None,
        selecting: stale.selecting.clone(),
        control,
        requested: fetch.began,
        received: exchange.times.now,
        initial_age,
        lifetime: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        service: Arc::clone(&stale.service),
        asked: exchange.asked().or(stale.asked.as_ref()).cloned(),
        via: stale.via,
        tags: Arc::clone(&stale.tags),
        bytes,
        head,
    };
    let seen = ReceivedHead { head: &entry.head, bytes: &entry.bytes, wall: wall(exchange) };
    entry.lifetime = match lifetime(&seen, &control, &fetch.rules) {
        Lifetime::Stated(span) => span,
        Lifetime::Configured(span) => initial_age + span,
        Lifetime::None => Duration::ZERO,
    };
    set_staleness(&mut entry, &fetch.rules);
    Some(entry)
}

/// Returns true if `entry`, updated by the validating response in `exchange`, may stay in the cache. Its directives
/// count as if they had come with the body. A Vary with other fields than before rules it out: the values in earlier
/// requests are unknown.
pub(super) fn may_be_kept(entry: &Entry, fetch: &Fetch, exchange: &Exchange) -> bool {
    let forbidden = forbids(&entry.control, entry.head.status) || !may_be_shared(fetch, exchange, &entry.control);
    let selects = || {
        Selecting::read(exchange, &fetch.facts, &fetch.rules).is_some_and(|said| said.has_same_fields(&entry.selecting))
    };
    !forbidden && (!exchange.response.head.fields.has(Name::Vary) || selects())
}
