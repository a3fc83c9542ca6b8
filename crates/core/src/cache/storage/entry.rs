//! A stored response.

use std::sync::Arc;
use std::time::Duration;

use pylae_http::encode::Via;
use pylae_http::{Name, ResponseHead};

use crate::Instant;
use crate::cache::freshness::control::ResponseControl;
use crate::cache::selection::vary::Selecting;
use crate::cache::storage::part::{Part, gives_way};
use crate::location::Asked;

/// What an entry costs besides its bytes: its own fields, its places in the tables.
const OVERHEAD: usize = 640;

/// One stored response: complete, immutable, shared by all that send it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The head as it is sent again: no field of a connection, no framing, no Age.
    pub bytes: Box<[u8]>,
    /// The same as positions in `bytes`.
    pub head: ResponseHead,
    /// The body.
    pub body: Arc<[u8]>,
    /// What it is a part of, if it is one.
    pub part: Option<Box<Part>>,
    /// What its request said in the fields that Vary names.
    pub selecting: Selecting,
    /// What the origin allows.
    pub control: ResponseControl,
    /// When its request was made: whatever was changed or purged after that makes it invalid.
    pub requested: Instant,
    /// When it came, or was last validated.
    pub received: Instant,
    /// Its age at that time.
    pub initial_age: Duration,
    /// How long it is fresh, counted from its origin.
    pub lifetime: Duration,
    /// How long behind that it may be given while it is revalidated.
    pub stale_while_revalidate: Duration,
    /// How long behind that it may be given when the origin fails.
    pub stale_if_error: Duration,
    /// Where it came from.
    pub service: Arc<str>,
    /// How the instance was asked, where its fields name addresses: they are kept as it said them.
    pub asked: Option<Arc<Asked>>,
    /// In which protocol.
    pub via: Via,
    /// Words by which it can be purged.
    pub tags: Arc<[Box<str>]>,
}

impl Entry {
    /// Its age now (RFC 9111 section 4.2.3).
    pub fn age(&self, now: Instant) -> Duration {
        self.initial_age + now.since(self.received)
    }

    /// How long it is still fresh; none when it is stale.
    pub fn fresh_for(&self, now: Instant) -> Option<Duration> {
        self.lifetime.checked_sub(self.age(now)).filter(|left| !left.is_zero())
    }

    /// How long it has been stale.
    pub fn stale_for(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// The first value of a field.
    pub fn field(&self, name: Name) -> Option<&[u8]> {
        self.head.fields.get(&self.bytes, name)
    }

    /// Whether the origin can be asked if it still holds. A part is rather asked for anew.
    pub fn has_validator(&self) -> bool {
        self.part.is_none() && (self.head.fields.has(Name::Etag) || self.head.fields.has(Name::LastModified))
    }

    /// Whether it is not a failure of the origin and may be given: it is fresh, or was of late.
    pub fn is_good(&self, now: Instant) -> bool {
        let longest = self.stale_while_revalidate.max(self.stale_if_error);
        self.head.status < 500 && (self.fresh_for(now).is_some() || self.stale_for(now) < longest)
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        // Fields are kept both as bytes and as positions.
        let head = self.bytes.len() + 24 * self.head.fields.len();
        // Each tag is a pointer, a length and an allocation of its own.
        let tags: usize = self.tags.iter().map(|tag| 32 + tag.len()).sum();
        let asked = self.asked.as_ref().map_or(0, |asked| asked.weight());
        let part = self.part.as_ref().map_or(0, |part| part.weight());
        OVERHEAD + head + self.body.len() + self.selecting.weight() + tags + asked + part
    }
}

/// The stored responses of one key, newest first: one for each combination of what Vary names, and some parts.
#[derive(Debug, Default)]
pub struct Variants(pub Vec<Arc<Entry>>);

/// Variants of one key that are kept.
pub(crate) const MOST_VARIANTS: usize = 16;
/// Parts that answer the same requests.
pub(crate) const MOST_PARTS: usize = 4;

impl Variants {
    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        self.0.iter().map(|entry| entry.weight()).sum()
    }

    /// These with `entry` in the place of the one that answers the same requests, in at most `most` bytes.
    pub(crate) fn with(&self, entry: Arc<Entry>, most: usize) -> Self {
        let mut left = most.saturating_sub(entry.weight());
        let mut parts = usize::from(entry.part.is_some());
        let mut list = vec![entry];
        for other in &self.0 {
            let same = other.selecting == list[0].selecting;
            let stays = match (&list[0].part, &other.part) {
                _ if !same => true,
                (None, _) => false,
                (Some(_), None) => true,
                // Another entity tag is another representation, which has taken the place of the older one.
                (Some(new), Some(old)) => {
                    let same_tag = other.field(Name::Etag) == list[0].field(Name::Etag);
                    parts < MOST_PARTS && same_tag && !gives_way(old, new)
                }
            };
            if stays && list.len() < MOST_VARIANTS && other.weight() <= left {
                left -= other.weight();
                parts += usize::from(same && other.part.is_some());
                list.push(Arc::clone(other));
            }
        }
        Self(list)
    }
}
