//! Partial content (206) as it is kept: which bytes it has and what it may answer (RFC 9110 sections 14 and 15.3.7,
//! RFC 9111 section 3.3).

use std::ops::Range;

use pylae_http::{Method, Name};

use crate::Exchange;
use crate::cache::range::{self, Wanted};

/// Bytes of the longest Range that is kept with its answer.
const LONGEST: usize = 64;

/// What a stored 206 is a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Position of its first byte.
    pub(super) first: usize,
    /// Position of its last byte, as the origin says.
    pub(super) last: usize,
    /// Length of the whole, if the origin says.
    pub(super) whole: Option<usize>,
    /// The Range that it is the answer to; none once it has been put together.
    pub(super) asked: Option<Box<[u8]>>,
}

impl Part {
    /// What the 206 in `exchange` is a part of. `None` if it cannot be kept: it has several parts or none, or is not
    /// the answer to the one range that the client asked for. Where the client says If-Range, the service may have left
    /// out fields that others need.
    pub(crate) fn of(exchange: &Exchange) -> Option<Self> {
        let (asked, buf) = (&exchange.request.head.fields, &exchange.request.buffer[..]);
        if exchange.request.head.method != Method::Get || asked.count(Name::Range) != 1 || asked.has(Name::IfRange) {
            return None;
        }
        // What a hook put there instead is not seen when the next request comes.
        let edits = &exchange.request.edits;
        if edits.removes(Name::Range, b"range") || edits.get(b"range").is_some() {
            return None;
        }
        let asked = asked.get(buf, Name::Range).filter(|asked| asked.len() <= LONGEST && !asked.contains(&b','))?;
        let said = &exchange.response.head.fields;
        let said =
            said.get(&exchange.response.buffer, Name::ContentRange).filter(|_| said.count(Name::ContentRange) == 1)?;
        let (first, last, whole) = range::content(said)?;
        Some(Self { first, last, whole, asked: Some(asked.into()) })
    }

    /// Whether `body` is what the origin says that it is. What is not answers the very same request and nothing else.
    pub(super) fn is_sound(&self, body: &[u8]) -> bool {
        self.last - self.first + 1 == body.len()
    }

    /// The bytes of `body` that `asked` wants, if all of them are there.
    fn within(&self, body: &[u8], asked: &[u8]) -> Option<Range<usize>> {
        if !self.is_sound(body) {
            return None;
        }
        // A whole of unknown length ends nowhere.
        let Wanted::Bytes(wanted) = range::wanted(asked, self.whole.unwrap_or(usize::MAX)) else { return None };
        let held = self.first..self.first + body.len();
        (held.start <= wanted.start && wanted.end <= held.end)
            .then(|| wanted.start - held.start..wanted.end - held.start)
    }

    /// The bytes of `body` that answer the request in `exchange`.
    pub(crate) fn wanted(&self, body: &[u8], exchange: &Exchange) -> Option<Range<usize>> {
        let asked = exchange.request.head.fields.get(&exchange.request.buffer, Name::Range)?;
        let same = self.asked.as_deref() == Some(asked);
        let bytes = if same { Some(0..body.len()) } else { self.within(body, asked) };
        bytes.filter(|_| exchange.request.head.method == Method::Get)
    }

    /// The Content-Range of these bytes of `body`, unless it is the stored one.
    pub(crate) fn place(&self, body: &[u8], bytes: &Range<usize>) -> Option<String> {
        if self.asked.is_some() && *bytes == (0..body.len()) {
            return None;
        }
        let (first, last) = (self.first + bytes.start, self.first + bytes.end - 1);
        Some(match self.whole {
            Some(whole) => format!("bytes {first}-{last}/{whole}"),
            None => format!("bytes {first}-{last}/*"),
        })
    }

    /// Bytes of memory.
    pub(crate) fn weight(&self) -> usize {
        std::mem::size_of::<Self>() + self.asked.as_ref().map_or(0, |asked| asked.len())
    }
}

/// Whether a stored part is of no more use beside `new`: it overlaps, so that its bytes are there or are others by now.
pub(crate) fn gives_way(old: &Part, new: &Part) -> bool {
    old.first <= new.last && new.first <= old.last
}
