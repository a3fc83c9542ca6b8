//! What a client says of a response that it has already: validators and conditions (RFC 9110 sections 8.8 and 13).

use pylae_http::{Fields, Name};

use super::freshness::date::moment;
use super::storage::entry::Entry;
use crate::Exchange;

/// Whether the client has the response whose head is `fields` already: If-None-Match, or else If-Modified-Since.
pub(super) fn has_it(fields: &Fields, bytes: &[u8], exchange: &Exchange) -> bool {
    let (asked, buf) = (&exchange.request.head.fields, &exchange.request.buffer[..]);
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
    let Some(condition) = exchange.request.head.fields.get(&exchange.request.buffer, Name::IfRange) else {
        return true;
    };
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

/// Whether `entry` has what the request in `exchange` wants of the body.
pub(super) fn has_wanted(entry: &Entry, exchange: &Exchange) -> bool {
    let Some(part) = &entry.part else { return true };
    part.wanted(&entry.body, exchange).is_some() && same_as_before(entry, exchange)
}
