//! Serves stored responses: conditional and range requests (RFC 9111 section 4.3.2, RFC 9110 section 13).

use std::ops::Range;
use std::sync::Arc;

use pylae_http::{Method, Name, Span};

use super::condition::{if_range_matches, is_not_modified};
use super::range::{RequestedRange, parse_range};
use super::storage::entry::Entry;
use super::visit::{CacheOutcome, StoredResponse};
use crate::Exchange;

/// Puts the head of `entry` into the exchange as if the service had just sent it, with Age, and with Cache-Status if
/// `how` is given.
pub(super) fn serve(
    entry: Arc<Entry>,
    exchange: &mut Exchange,
    outcome: CacheOutcome,
    how: Option<&[u8]>,
) -> StoredResponse {
    exchange.cache_visit().outcome = Some(outcome);
    exchange.clear_response();
    exchange.response.buffer.extend_from_slice(&entry.bytes);
    exchange.response.head.copy_from(&entry.head);
    exchange.set_asked(entry.asked.clone());
    exchange.response.via = entry.via;
    // The gateway writes the reason phrase, since the status may change.
    exchange.response.head.reason = Span::default();
    exchange.response.status = entry.head.status;
    let now = exchange.times.now;
    let edits = &mut exchange.response.edits;
    // None of these values can be invalid.
    let mut number = itoa::Buffer::new();
    let _ = edits.set_known(Name::Age, number.format(entry.age(now).as_secs()).as_bytes());
    if let Some(how) = how {
        let mut text = ShortText { memory: [0; 64], len: 0 };
        text.add(how);
        text.add(b"; ttl=");
        match entry.fresh_for(now) {
            Some(left) => text.add(number.format(left.as_secs()).as_bytes()),
            None => text.add(number.format(-i64::try_from(entry.stale_for(now).as_secs()).unwrap_or(0)).as_bytes()),
        }
        let _ = edits.append(b"Cache-Status", text.bytes());
    }
    let part = select_body(&entry, exchange);
    StoredResponse { entry, part, refresh: None }
}

/// Cache-Status of a response for which the service was not asked.
pub(super) const HIT: &[u8] = b"pylae; hit";

/// A short text on the stack.
struct ShortText {
    memory: [u8; 64],
    len: usize,
}

impl ShortText {
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

/// Sets the status by the client's conditions and returns the part of the body to send.
fn select_body(entry: &Entry, exchange: &mut Exchange) -> Range<usize> {
    let whole = 0..entry.body.len();
    if exchange.response.status != 200 && entry.part.is_none() {
        return whole;
    }
    if is_not_modified(&entry.head.fields, &entry.bytes, exchange) {
        exchange.response.status = 304;
        for name in [Name::ContentType, Name::ContentEncoding, Name::ContentRange] {
            exchange.response.edits.remove_known(name);
        }
        return 0..0;
    }
    if let Some(part) = &entry.part {
        let bytes = part.select(&entry.body, exchange).unwrap_or(whole);
        if let Some(place) = part.content_range(&entry.body, &bytes) {
            let _ = exchange.response.edits.set_known(Name::ContentRange, place.as_bytes());
        }
        return bytes;
    }
    let asked = exchange.request.head.fields.get(&exchange.request.buffer, Name::Range);
    let Some(asked) =
        asked.filter(|_| exchange.request.head.method == Method::Get && if_range_matches(entry, exchange))
    else {
        return whole;
    };
    match parse_range(asked, whole.len()) {
        RequestedRange::Whole => whole,
        RequestedRange::Bytes(range) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, whole.len());
            exchange.response.status = 206;
            let _ = exchange.response.edits.set_known(Name::ContentRange, text.as_bytes());
            range
        }
        RequestedRange::None => {
            exchange.response.status = 416;
            let text = format!("bytes */{}", whole.len());
            let _ = exchange.response.edits.set_known(Name::ContentRange, text.as_bytes());
            0..0
        }
    }
}

/// Adds Cache-Status to a response from the service.
pub(super) fn add_cache_status(exchange: &mut Exchange, cache_status: bool, how: &[u8]) {
    if cache_status {
        // Cannot fail: plain text.
        let _ = exchange.response.edits.append(b"Cache-Status", how);
    }
}
