//! Conditional requests: validators and conditions (RFC 9110 sections 8.8 and 13).

use pylae_http::{Fields, Name};

use super::freshness::date::parse_date;
use super::storage::entry::Entry;
use crate::Exchange;

/// Returns true if the client already has the response whose head is `fields`: by If-None-Match, or else by
/// If-Modified-Since.
pub(super) fn is_not_modified(fields: &Fields, bytes: &[u8], exchange: &Exchange) -> bool {
    let (asked, buf) = (&exchange.request.head.fields, &exchange.request.buffer[..]);
    if asked.has(Name::IfNoneMatch) {
        let tag = fields.get(bytes, Name::Etag);
        return asked.values(buf, "if-none-match").any(|line| list_contains(line, tag));
    }
    let Some(since) = asked.get(buf, Name::IfModifiedSince).and_then(parse_date) else { return false };
    let changed = fields.get(bytes, Name::LastModified).or_else(|| fields.get(bytes, Name::Date)).and_then(parse_date);
    changed.is_some_and(|changed| changed <= since)
}

/// Returns true if a list of entity tags contains `tag`, by weak comparison. Quoted tags may contain commas.
fn list_contains(list: &[u8], tag: Option<&[u8]>) -> bool {
    if list == b"*" {
        return true;
    }
    let Some(tag) = tag.map(opaque_tag) else { return false };
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

/// The entity tag without its weakness prefix.
fn opaque_tag(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Evaluates If-Range by strong comparison (section 13.1.5).
pub(super) fn if_range_matches(entry: &Entry, exchange: &Exchange) -> bool {
    let Some(condition) = exchange.request.head.fields.get(&exchange.request.buffer, Name::IfRange) else {
        return true;
    };
    if condition.starts_with(b"\"") {
        entry.field(Name::Etag) == Some(condition)
    } else {
        // A date is a strong validator only if the response was a minute old by then (section 8.8.2.2).
        let changed = entry.field(Name::LastModified).and_then(parse_date);
        let date = entry.field(Name::Date).and_then(parse_date);
        let strong = changed.zip(date).is_some_and(|(changed, date)| date.saturating_sub(changed).as_secs() >= 60);
        strong && entry.field(Name::LastModified) == Some(condition)
    }
}

/// Returns true if two entity tags are equal and both strong.
pub(super) fn strongly_equal(one: &[u8], other: &[u8]) -> bool {
    one == other && !one.starts_with(b"W/")
}

/// Returns true if `entry` has the bytes that the request in `exchange` asks for.
pub(super) fn satisfies_range(entry: &Entry, exchange: &Exchange) -> bool {
    let Some(part) = &entry.part else { return true };
    part.select(&entry.body, exchange).is_some() && if_range_matches(entry, exchange)
}
