//! Heads of stored responses, and their updates by later responses (RFC 9111 sections 3.1 and 3.2).

use std::time::SystemTime;

use pylae_http::encode::{self, FieldSource, StatusLine};
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Edits, Fields, Framing, HeadLimits, Name, NameSet, ResponseHead};

use crate::Exchange;
use crate::cache::freshness::age::wall;
use crate::exchange::response::Response;

/// Response fields that are not stored: the gateway writes them each time, or they are for one client only.
const NOT_KEPT: NameSet = NameSet::of(&[Name::Age, Name::SetCookie, Name::Warning, Name::XRequestId]);

/// Fields of a 304 that do not update the stored response (section 3.2), because they belong to its body.
pub(crate) const NOT_UPDATED: NameSet = NameSet::of(&[
    Name::Age,
    Name::ContentEncoding,
    Name::ContentLength,
    Name::ContentRange,
    Name::ContentType,
    Name::SetCookie,
    Name::XRequestId,
]);

/// Fields of a later part that do not replace those of an earlier one (section 3.4).
pub(super) const NOT_COMBINED: NameSet = NameSet::of(&[Name::ContentRange]);

/// Not stored either: it is for one client only.
const PROXY_AUTHENTICATION_INFO: &[u8] = b"Proxy-Authentication-Info";

/// Returns the head to store for the response in `exchange`, as bytes and as positions.
pub(crate) fn stored_head(exchange: &Exchange) -> Option<(Box<[u8]>, ResponseHead)> {
    let Exchange { response: Response { head: response, buffer: buf, options, .. }, .. } = exchange;
    let mut edits = Edits::default();
    if !response.fields.has(Name::Date) {
        let now = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + wall(exchange));
        // Cannot be refused: a date.
        let _ = edits.set_known(Name::Date, now.as_bytes());
    }
    edits.remove(PROXY_AUTHENTICATION_INFO);
    let source = FieldSource { fields: &response.fields, buf, options, drop: NOT_KEPT, edits: &edits };
    encode_head(response.status, source)
}

/// Encodes a head and parses it again.
pub(crate) fn encode_head(status: u16, source: FieldSource<'_>) -> Option<(Box<[u8]>, ResponseHead)> {
    let mut bytes = Vec::with_capacity(512);
    let line = StatusLine { status, ..StatusLine::default() };
    encode::response(&mut bytes, line, source, Framing::None);
    let mut head = ResponseHead::default();
    let limits = HeadLimits { head: bytes.len(), target: 0, fields: usize::MAX };
    head.parse(&bytes, &limits).ok().filter(|complete| *complete)?;
    Some((bytes.into_boxed_slice(), head))
}

/// Returns the edits by which a response updates a stored one.
pub(crate) fn updates(fields: &Fields, buf: &[u8], options: &ConnectionOptions, kept: NameSet) -> Edits {
    let mut edits = Edits::default();
    for (index, field) in fields.iter().enumerate() {
        let name = field.name.of(buf);
        let own = kept.has(field.id) || name.eq_ignore_ascii_case(PROXY_AUTHENTICATION_INFO);
        if own || options.nominates(buf, name) {
            continue;
        }
        let first = !fields.iter().take(index).any(|other| other.name.of(buf).eq_ignore_ascii_case(name));
        let value = field.value.of(buf);
        // The edits refuse connection fields, as they should.
        let _ = if first { edits.set(name, value) } else { edits.append(name, value) };
    }
    edits
}
