//! Which responses are kept, and in what form (RFC 9111 section 3).

use std::sync::Arc;
use std::time::Duration;

use pylae_http::encode::FieldSource;
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Framing, Name, NameSet};

use super::change::is_for_get;
use super::fetch::Fetch;
use super::freshness::age::{Lifetime, ReceivedHead, initial, lifetime, wall};
use super::freshness::control::ResponseControl;
use super::rules::CacheRules;
use super::selection::vary::Selecting;
use super::storage::entry::Entry;
use super::storage::head::{NOT_UPDATED, encoded, kept_head, updates};
use super::storage::part::Part;
use crate::Exchange;
use crate::exchange::response::Response;

/// Tags of one entry.
const MOST_TAGS: usize = 64;

/// The entry that the response in `exchange` makes once its body is there, if it may be kept.
pub(super) fn storable(fetch: &Fetch, exchange: &Exchange, service: &Arc<str>, framing: Framing) -> Option<Entry> {
    let Exchange { response: Response { head: response, buffer: buf, .. }, .. } = exchange;
    let control = ResponseControl::read(&response.fields, buf);
    let forbidden = forbids(&control, response.status)
        || (response.fields.has(Name::SetCookie) && !fetch.rules.strips_set_cookie)
        // What it says is for those who listen now.
        || exchange.response.is_event_stream();
    let allowed = fetch.stores
        && is_for_get(exchange, &control)
        && !is_about_the_request(response.status)
        && !forbidden
        && may_be_shared(fetch, exchange, &control)
        && is_bounded(framing, fetch.most());
    if !allowed || hides_what_is_good(fetch, exchange) {
        return None;
    }
    let part = if response.status == 206 { Some(Box::new(Part::of(exchange)?)) } else { None };
    let selecting = Selecting::read(exchange, &fetch.known, &fetch.rules)?;
    if !covers_cookies(fetch, exchange, &control, &selecting) {
        return None;
    }
    let initial_age = initial(exchange, fetch.began);
    let seen = ReceivedHead { head: response, bytes: buf, wall: wall(exchange) };
    let lifetime = match lifetime(&seen, &control, &fetch.rules) {
        Lifetime::Stated(span) => span,
        Lifetime::Configured(span) => initial_age + span,
        Lifetime::None => return None,
    };
    let (bytes, head) = kept_head(exchange)?;
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
    settle_staleness(&mut entry, &fetch.rules);
    let useful = entry.fresh_for(entry.received).is_some() && !control.no_cache;
    let later = !entry.stale_if_error.is_zero() || !entry.stale_while_revalidate.is_zero();
    (useful || entry.has_validator() || later).then_some(entry)
}

impl Fetch {
    /// Bytes of the largest body that is kept.
    pub(super) fn most(&self) -> usize {
        self.rules.max_entry.min(self.cache.largest())
    }
}

/// How long `entry` may be given although it is stale: what the origin says, otherwise what the route says.
fn settle_staleness(entry: &mut Entry, rules: &CacheRules) {
    if entry.control.forbids_stale() {
        return;
    }
    let span = |said: Option<u32>, or| said.map_or(or, |seconds| Duration::from_secs(seconds.into()));
    if entry.part.is_none() {
        entry.stale_while_revalidate = span(entry.control.stale_while_revalidate, rules.stale_while_revalidate);
    }
    entry.stale_if_error = span(entry.control.stale_if_error, rules.stale_if_error);
}

/// Whether the origin forbids to keep it. `must-understand` comes before `no-store` where the status is one whose
/// caching is known here, and forbids it where it is not (section 5.2.2.3).
fn forbids(control: &ResponseControl, status: u16) -> bool {
    let understood =
        matches!(status, 200 | 203 | 204 | 206 | 300..=303 | 307 | 308 | 400 | 404 | 405 | 410 | 414 | 500..=504);
    control.private || if control.must_understand { !understood } else { control.no_store }
}

/// Whether an answer with this status is about its request, its sender or the connection rather than about the target:
/// whatever it says, it is nobody else's.
fn is_about_the_request(status: u16) -> bool {
    matches!(
        status,
        226 | 304 | 401 | 403 | 407 | 408 | 411..=413 | 416 | 417 | 421 | 425 | 426 | 428 | 429 | 431 | 511
    )
}

/// Whether a failure of the origin would take the place of something that may still be given.
fn hides_what_is_good(fetch: &Fetch, exchange: &Exchange) -> bool {
    let good = fetch.stale.as_ref().is_some_and(|entry| entry.is_good(exchange.times.now));
    exchange.response.head.status >= 500 && good
}

/// Whether the response may answer other requests although this one was authorised (section 3.5).
fn may_be_shared(fetch: &Fetch, exchange: &Exchange, control: &ResponseControl) -> bool {
    let fields = &exchange.request.head.fields;
    // A user that a hook has found is not in the key.
    let own = fetch.known.is_keyed_by_user(fetch.rules.per_user);
    let authorised = exchange.request.user.is_some() || fields.has(Name::Authorization) || fields.has(Name::XApiKey);
    own || !authorised || control.public || control.must_revalidate || control.s_maxage.is_some()
}

/// Whether an answer to a request with cookies is for others too: an origin that does not say so may well mean it for
/// one session.
fn covers_cookies(fetch: &Fetch, exchange: &Exchange, control: &ResponseControl, selecting: &Selecting) -> bool {
    let rules = &fetch.rules;
    !exchange.request.head.fields.has(Name::Cookie)
        || rules.ignore_cookies
        || fetch.known.is_keyed_by_user(rules.per_user)
        || control.public
        || control.s_maxage.is_some()
        || selecting.names("cookie")
        || rules.vary.iter().any(|name| **name == *"cookie")
}

/// Whether the end of the body can be told from the end of a broken connection, and it is not known to be too large.
fn is_bounded(framing: Framing, most: usize) -> bool {
    match framing {
        Framing::None | Framing::Chunked => true,
        Framing::Length(length) => length <= most as u64,
        Framing::Close => false,
    }
}

/// The tags of the route and those that the origin gives in Cache-Tag.
fn tags(exchange: &Exchange, rules: &CacheRules) -> Arc<[Box<str>]> {
    let lines = exchange.response.head.fields.values(&exchange.response.buffer, "cache-tag");
    let said = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let said = said.filter(|tag| !tag.is_empty()).filter_map(|tag| std::str::from_utf8(tag).ok());
    rules.tags.iter().map(|tag| &**tag).chain(said).take(MOST_TAGS).map(Box::from).collect()
}

/// `stale` with what the answer in `exchange`, a 304 or the answer to HEAD, says about it (sections 3.2 and 4.3.4).
/// `None` if it speaks of another response.
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
    let (bytes, head) = encoded(stale.head.status, source)?;
    let control = ResponseControl::read(&head.fields, &bytes);
    let initial_age = initial(exchange, fetch.began);
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
    settle_staleness(&mut entry, &fetch.rules);
    Some(entry)
}

/// Whether `entry`, which the validating answer in `exchange` has refreshed, may go on answering requests. What that answer
/// says about storing counts as if it had come with the body; so does a Vary that names other fields than before: what
/// earlier requests said in those is not known.
pub(super) fn may_stay(entry: &Entry, fetch: &Fetch, exchange: &Exchange) -> bool {
    let forbidden = forbids(&entry.control, entry.head.status) || !may_be_shared(fetch, exchange, &entry.control);
    let selects =
        || Selecting::read(exchange, &fetch.known, &fetch.rules).is_some_and(|said| said.is_by_same(&entry.selecting));
    !forbidden && (!exchange.response.head.fields.has(Name::Vary) || selects())
}
