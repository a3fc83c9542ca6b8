//! A stored response on its way to a client: what the client has already, what part it wants (RFC 9111 section 4.3.2,
//! RFC 9110 section 13).

use std::ops::Range;
use std::sync::Arc;

use pylae_http::{Fields, Method, Name, Span};

use super::freshness::date::moment;
use super::range::{Wanted, wanted};
use super::storage::entry::Entry;
use super::visit::{Outcome, Stored};
use crate::Exchange;

/// Puts the head of `entry` into the exchange, as if the service had just sent it, with Age and, if `how` it came about
/// is to be told, Cache-Status.
pub(super) fn serve(entry: Arc<Entry>, exchange: &mut Exchange, outcome: Outcome, how: Option<&[u8]>) -> Stored {
    exchange.cache.outcome = Some(outcome);
    exchange.clear_response();
    exchange.response_buffer.extend_from_slice(&entry.bytes);
    exchange.response.copy_from(&entry.head);
    exchange.asked.clone_from(&entry.asked);
    exchange.response_via = entry.via;
    // Our own reason phrase: the status may become another one.
    exchange.response.reason = Span::default();
    exchange.status = entry.head.status;
    let now = exchange.now;
    let edits = &mut exchange.response_edits;
    // None of these values can be refused.
    let mut number = itoa::Buffer::new();
    let _ = edits.set_known(Name::Age, number.format(entry.age(now).as_secs()).as_bytes());
    if let Some(how) = how {
        let mut text = Text { memory: [0; 64], len: 0 };
        text.add(how);
        text.add(b"; ttl=");
        match entry.fresh_for(now) {
            Some(left) => text.add(number.format(left.as_secs()).as_bytes()),
            None => text.add(number.format(-i64::try_from(entry.stale_for(now).as_secs()).unwrap_or(0)).as_bytes()),
        }
        let _ = edits.append(b"Cache-Status", text.bytes());
    }
    let part = choose(&entry, exchange);
    Stored { entry, part, refresh: None }
}

/// How a stored response came about for which the service was not asked.
pub(super) const HIT: &[u8] = b"pylae; hit";

/// A short text without an allocation.
struct Text {
    memory: [u8; 64],
    len: usize,
}

impl Text {
    fn add(&mut self, bytes: &[u8]) {
        if let Some(place) = self.memory.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

/// Settles the status by the client's conditions, and the part of the body that is sent.
fn choose(entry: &Entry, exchange: &mut Exchange) -> Range<usize> {
    let whole = 0..entry.body.len();
    if exchange.status != 200 && entry.part.is_none() {
        return whole;
    }
    if has_it(&entry.head.fields, &entry.bytes, exchange) {
        exchange.status = 304;
        for name in [Name::ContentType, Name::ContentEncoding, Name::ContentRange] {
            exchange.response_edits.remove_known(name);
        }
        return 0..0;
    }
    if let Some(part) = &entry.part {
        let bytes = part.wanted(&entry.body, exchange).unwrap_or(whole);
        if let Some(place) = part.place(&entry.body, &bytes) {
            let _ = exchange.response_edits.set_known(Name::ContentRange, place.as_bytes());
        }
        return bytes;
    }
    let asked = exchange.head.fields.get(&exchange.buffer, Name::Range);
    let Some(asked) = asked.filter(|_| exchange.head.method == Method::Get && same_as_before(entry, exchange)) else {
        return whole;
    };
    match wanted(asked, whole.len()) {
        Wanted::Whole => whole,
        Wanted::Bytes(range) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, whole.len());
            exchange.status = 206;
            let _ = exchange.response_edits.set_known(Name::ContentRange, text.as_bytes());
            range
        }
        Wanted::None => {
            exchange.status = 416;
            let text = format!("bytes */{}", whole.len());
            let _ = exchange.response_edits.set_known(Name::ContentRange, text.as_bytes());
            0..0
        }
    }
}

/// Whether the client has the response whose head is `fields` already: If-None-Match, or else If-Modified-Since.
pub(super) fn has_it(fields: &Fields, bytes: &[u8], exchange: &Exchange) -> bool {
    let (asked, buf) = (&exchange.head.fields, &exchange.buffer[..]);
    if asked.has(Name::IfNoneMatch) {
        let tag = fields.get(bytes, Name::Etag);
        return asked.values(buf, "if-none-match").any(|line| lists(line, tag));
    }
    let Some(since) = asked.get(buf, Name::IfModifiedSince).and_then(moment) else { return false };
    let changed = fields.get(bytes, Name::LastModified).or_else(|| fields.get(bytes, Name::Date)).and_then(moment);
    changed.is_some_and(|changed| changed <= since)
}

/// Whether a list of entity tags holds `tag`, by weak comparison. Quotes may hold commas.
fn lists(list: &[u8], tag: Option<&[u8]>) -> bool {
    if list == b"*" {
        return true;
    }
    let Some(tag) = tag.map(opaque) else { return false };
    let mut rest = list;
    while let Some(open) = rest.iter().position(|byte| *byte == b'"') {
        let Some(len) = rest[open + 1..].iter().position(|byte| *byte == b'"') else { return false };
        let close = open + 1 + len;
        if &rest[open..=close] == tag {
            return true;
        }
        rest = &rest[close + 1..];
    }
    false
}

/// An entity tag without its mark of weakness.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether the client's part of the response is of this very one: If-Range by strong comparison (section 13.1.5).
pub(super) fn same_as_before(entry: &Entry, exchange: &Exchange) -> bool {
    let Some(condition) = exchange.head.fields.get(&exchange.buffer, Name::IfRange) else { return true };
    if condition.starts_with(b"\"") {
        entry.field(Name::Etag) == Some(condition)
    } else {
        // A date is a strong validator only if the response was a minute old by then (section 8.8.2.2).
        let changed = entry.field(Name::LastModified).and_then(moment);
        let date = entry.field(Name::Date).and_then(moment);
        let strong = changed.zip(date).is_some_and(|(changed, date)| date.saturating_sub(changed).as_secs() >= 60);
        strong && entry.field(Name::LastModified) == Some(condition)
    }
}

/// Whether two entity tags are the same and both strong.
pub(super) fn strongly_equal(one: &[u8], other: &[u8]) -> bool {
    one == other && !one.starts_with(b"W/")
}

/// Asks the service whether `entry` still holds, instead of what the client asked (section 4.3.1).
pub(super) fn ask(entry: &Entry, exchange: &mut Exchange) {
    strip(exchange);
    let edits = &mut exchange.request_edits;
    for (from, to) in [(Name::Etag, Name::IfNoneMatch), (Name::LastModified, Name::IfModifiedSince)] {
        if let Some(value) = entry.field(from) {
            // Cannot be refused: it came in a field.
            let _ = edits.set_known(to, value);
        }
    }
}

/// Takes the client's conditions out of the request: its answer is for others too.
pub(super) fn strip(exchange: &mut Exchange) {
    for name in [Name::IfNoneMatch, Name::IfModifiedSince, Name::IfRange, Name::Range] {
        if exchange.head.fields.has(name) {
            exchange.request_edits.remove_known(name);
        }
    }
}

/// Adds how the cache handled a request that the service answers.
pub(super) fn say(exchange: &mut Exchange, cache_status: bool, how: &[u8]) {
    if cache_status {
        // Cannot be refused: plain text.
        let _ = exchange.response_edits.append(b"Cache-Status", how);
    }
}
