//! Stored partial content (206): which bytes it has and which requests it can answer (RFC 9110 sections 14 and 15.3.7,
//! RFC 9111 section 3.3).

use std::ops::Range;

use pylae_http::{Method, Name};

use crate::Exchange;
use crate::cache::range::{self, RequestedRange};

/// Longest Range to store, in bytes.
const LONGEST: usize = 64;

/// The position of a stored 206 within its representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Position of its first byte.
    pub(super) first: usize,
    /// Position of its last byte, according to the origin.
    pub(super) last: usize,
    /// Length of the whole, if the origin gives it.
    pub(super) whole: Option<usize>,
    /// The Range that was requested; None once parts were merged.
    pub(super) asked: Option<Box<[u8]>>,
}

impl Part {
    /// Reads the position of the 206 in `exchange`. Returns None if it cannot be stored: it has several parts or none,
    /// or the client did not ask for exactly one range. With If-Range the service may have left out fields that other
    /// clients need.
    pub(crate) fn of(exchange: &Exchange) -> Option<Self> {
        let (asked, buf) = (&exchange.request.head.fields, &exchange.request.buffer[..]);
        if exchange.request.head.method != Method::Get || asked.count(Name::Range) != 1 || asked.has(Name::IfRange) {
            return None;
        }
        // A value that a hook has changed is not seen at the next lookup.
        let edits = &exchange.request.edits;
        if edits.removes(Name::Range, b"range") || edits.get(b"range").is_some() {
            return None;
        }
        let asked = asked.get(buf, Name::Range).filter(|asked| asked.len() <= LONGEST && !asked.contains(&b','))?;
        let said = &exchange.response.head.fields;
        let said =
            said.get(&exchange.response.buffer, Name::ContentRange).filter(|_| said.count(Name::ContentRange) == 1)?;
        let (first, last, whole) = range::parse_content_range(said)?;
        Some(Self { first, last, whole, asked: Some(asked.into()) })
    }

    /// Returns true if `body` has the length that Content-Range states. Otherwise the part answers only the very same
    /// request.
    pub(super) fn is_sound(&self, body: &[u8]) -> bool {
        self.last - self.first + 1 == body.len()
    }

    /// Returns the bytes of `body` for the range `asked`, if all of them are present.
    fn within(&self, body: &[u8], asked: &[u8]) -> Option<Range<usize>> {
        if !self.is_sound(body) {
            return None;
        }
        // Without a known length the whole has no end.
        let RequestedRange::Bytes(wanted) = range::parse_range(asked, self.whole.unwrap_or(usize::MAX)) else {
            return None;
        };
        let held = self.first..self.first + body.len();
        (held.start <= wanted.start && wanted.end <= held.end)
            .then(|| wanted.start - held.start..wanted.end - held.start)
    }

    /// Returns the bytes of `body` that answer the request in `exchange`.
    pub(crate) fn select(&self, body: &[u8], exchange: &Exchange) -> Option<Range<usize>> {
        let asked = exchange.request.head.fields.get(&exchange.request.buffer, Name::Range)?;
        let same = self.asked.as_deref() == Some(asked);
        let bytes = if same { Some(0..body.len()) } else { self.within(body, asked) };
        bytes.filter(|_| exchange.request.head.method == Method::Get)
    }

    /// Returns the Content-Range of these bytes of `body`, or None if the stored one is right.
    pub(crate) fn content_range(&self, body: &[u8], bytes: &Range<usize>) -> Option<String> {
        if self.asked.is_some() && *bytes == (0..body.len()) {
            return None;
        }
        let (first, last) = (self.first + bytes.start, self.first + bytes.end - 1);
        Some(match self.whole {
            Some(whole) => format!("bytes {first}-{last}/{whole}"),
            None => format!("bytes {first}-{last}/*"),
        })
    }

    /// Memory size in bytes.
    pub(crate) fn weight(&self) -> usize {
        std::mem::size_of::<Self>() + self.asked.as_ref().map_or(0, |asked| asked.len())
    }
}

/// Returns true if the new part supersedes a stored one: they overlap, so the old bytes are present or outdated.
pub(crate) fn is_superseded(old: &Part, new: &Part) -> bool {
    old.first <= new.last && new.first <= old.last
}
