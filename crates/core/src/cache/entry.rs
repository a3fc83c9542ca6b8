//! A stored response.

use std::sync::Arc;
use std::time::Duration;

use pylae_http::{Name, ResponseHead};

use super::control::ResponseControl;
use super::vary::Selecting;
use crate::Instant;
use crate::location::Asked;

/// What an entry costs besides its bytes: its own fields, its places in the tables.
const OVERHEAD: usize = 640;

/// One stored response: complete, immutable, shared by all that send it.
#[derive(Debug)]
pub struct Entry {
    /// The head as it is sent again: no field of a connection, no framing, no Age.
    pub bytes: Box<[u8]>,
    /// The same as positions in `bytes`.
    pub head: ResponseHead,
    /// The body.
    pub body: Arc<[u8]>,
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

    /// Whether the origin can be asked if it still holds.
    pub fn has_validator(&self) -> bool {
        self.head.fields.has(Name::Etag) || self.head.fields.has(Name::LastModified)
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        // Fields are kept both as bytes and as positions.
        let head = self.bytes.len() + 24 * self.head.fields.len();
        // Each tag is a pointer, a length and an allocation of its own.
        let tags: usize = self.tags.iter().map(|tag| 32 + tag.len()).sum();
        let asked = self.asked.as_ref().map_or(0, |asked| asked.weight());
        OVERHEAD + head + self.body.len() + self.selecting.weight() + tags + asked
    }
}

/// The stored responses of one key, newest first: one for each combination of what Vary names.
#[derive(Debug, Default)]
pub struct Variants(pub Vec<Arc<Entry>>);

/// Variants of one key that are kept.
pub(super) const MOST_VARIANTS: usize = 16;

impl Variants {
    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        self.0.iter().map(|entry| entry.weight()).sum()
    }

    /// These with `entry` in the place of the one that answers the same requests, in at most `most` bytes.
    pub(super) fn with(&self, entry: Arc<Entry>, most: usize) -> Self {
        let mut left = most.saturating_sub(entry.weight());
        let mut list = vec![entry];
        for other in &self.0 {
            let same = other.selecting == list[0].selecting;
            if !same && list.len() < MOST_VARIANTS && other.weight() <= left {
                left -= other.weight();
                list.push(Arc::clone(other));
            }
        }
        Self(list)
    }
}
