//! A stored response.

use std::sync::Arc;
use std::time::Duration;

use pylae_http::encode::Via;
use pylae_http::{Name, ResponseHead};

use crate::Instant;
use crate::cache::freshness::control::ResponseControl;
use crate::cache::selection::vary::Selecting;
use crate::cache::storage::part::{Part, is_superseded};
use crate::location::Asked;

/// Memory cost of an entry besides its bytes: its fields and its places in the tables.
const OVERHEAD: usize = 640;

/// A stored response: complete, immutable, shared by all exchanges that send it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The head: without connection fields, framing and Age.
    pub bytes: Box<[u8]>,
    /// The parsed head, as positions in `bytes`.
    pub head: ResponseHead,
    /// The body.
    pub body: Arc<[u8]>,
    /// Set for a partial response.
    pub part: Option<Box<Part>>,
    /// Values of the request fields that Vary names.
    pub selecting: Selecting,
    /// The origin's directives.
    pub control: ResponseControl,
    /// When its request was made. Later changes and purges invalidate it.
    pub requested: Instant,
    /// When it was received or last validated.
    pub received: Instant,
    /// Its age at `received`.
    pub initial_age: Duration,
    /// Freshness lifetime, counted from the origin's Date.
    pub lifetime: Duration,
    /// How long after expiry it may be served while it is revalidated.
    pub stale_while_revalidate: Duration,
    /// How long after expiry it may be served if the origin fails.
    pub stale_if_error: Duration,
    /// Service that sent it.
    pub service: Arc<str>,
    /// How the instance was asked, if fields name addresses: they are stored as the instance sent them.
    pub asked: Option<Arc<Asked>>,
    /// Protocol in which the instance sent it.
    pub via: Via,
    /// Tags for purging.
    pub tags: Arc<[Box<str>]>,
}

impl Entry {
    /// Returns the current age (RFC 9111 section 4.2.3).
    pub fn age(&self, now: Instant) -> Duration {
        self.initial_age + now.since(self.received)
    }

    /// Returns how long it stays fresh, or None if it is stale.
    pub fn fresh_for(&self, now: Instant) -> Option<Duration> {
        self.lifetime.checked_sub(self.age(now)).filter(|left| !left.is_zero())
    }

    /// Returns how long it has been stale.
    pub fn stale_for(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// Returns the first value of a field.
    pub fn field(&self, name: Name) -> Option<&[u8]> {
        self.head.fields.get(&self.bytes, name)
    }

    /// Returns true if the origin can validate it. Parts are fetched again instead.
    pub fn has_validator(&self) -> bool {
        self.part.is_none() && (self.head.fields.has(Name::Etag) || self.head.fields.has(Name::LastModified))
    }

    /// Returns true if it is not a server error and may be served, fresh or stale.
    pub fn is_good(&self, now: Instant) -> bool {
        let longest = self.stale_while_revalidate.max(self.stale_if_error);
        self.head.status < 500 && (self.fresh_for(now).is_some() || self.stale_for(now) < longest)
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        // Fields are stored both as bytes and as positions.
        let head = self.bytes.len() + 24 * self.head.fields.len();
        // Each tag is a pointer, a length and an allocation of its own.
        let tags: usize = self.tags.iter().map(|tag| 32 + tag.len()).sum();
        let asked = self.asked.as_ref().map_or(0, |asked| asked.weight());
        let part = self.part.as_ref().map_or(0, |part| part.weight());
        OVERHEAD + head + self.body.len() + self.selecting.weight() + tags + asked + part
    }
}

/// The stored responses of one key, newest first: one per combination of the values that Vary selects by, and some
/// parts.
#[derive(Debug, Default)]
pub struct Variants(pub Vec<Arc<Entry>>);

/// Largest number of variants per key.
pub(crate) const MOST_VARIANTS: usize = 16;
/// Largest number of parts with the same selecting values.
pub(crate) const MOST_PARTS: usize = 4;

impl Variants {
    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        self.0.iter().map(|entry| entry.weight()).sum()
    }

    /// Returns these variants with `entry` in place of the one that answers the same requests, in at most `most` bytes.
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
                // Another entity tag means a newer representation, which replaces the older one.
                (Some(new), Some(old)) => {
                    let same_tag = other.field(Name::Etag) == list[0].field(Name::Etag);
                    parts < MOST_PARTS && same_tag && !is_superseded(old, new)
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
