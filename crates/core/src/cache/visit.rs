//! What the cache and one exchange have to do with each other.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::flight::{Flight, Landing, Lead};
use super::selection::vary::Known;
use super::storage::entry::Entry;
use super::storage::shared::Cache;
use crate::Instant;

/// What a route says about caching.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // settings are independent switches
pub struct Rules {
    /// Name of the route: other routes for the same address have other answers.
    pub route: Box<str>,
    /// How long an answer is fresh of which the origin does not say so.
    pub ttl: Duration,
    /// The same for an answer that there is nothing (404, 410); zero is not at all.
    pub error_ttl: Duration,
    /// How much of the time since it last changed an answer is taken to be fresh; zero is nothing.
    pub heuristic: f64,
    /// Whether `ttl` counts even where the origin says otherwise.
    pub overrides: bool,
    /// Whether each user has answers of his own.
    pub per_user: bool,
    /// Names of request fields that are part of the key, whatever the origin's Vary says.
    pub vary: Box<[Box<str>]>,
    /// Whether languages that a client accepts are compared whatever their order.
    pub normalize_language: bool,
    /// Bytes of the largest body that is kept.
    pub max_entry: usize,
    /// How long a stale answer may be given while it is revalidated, unless the origin says.
    pub stale_while_revalidate: Duration,
    /// How long a stale answer may be given when the service fails, unless the origin says.
    pub stale_if_error: Duration,
    /// How long a request waits for another's fetch of the same answer.
    pub wait: Duration,
    /// Whether the Cache-Control of requests is heeded.
    pub client_directives: bool,
    /// Whether answers to requests with cookies count like others.
    pub ignore_cookies: bool,
    /// Whether answers that set cookies are kept, without them.
    pub strips_set_cookie: bool,
    /// Whether responses carry Cache-Status.
    pub cache_status: bool,
    /// Words by which the answers can be purged, besides those of the origin's Cache-Tag.
    pub tags: Box<[Box<str>]>,
}

/// How the cache served an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From memory.
    Hit,
    /// From memory, although no longer fresh.
    Stale,
    /// From memory, after the service said that it still holds.
    Revalidated,
    /// By the service.
    Miss,
    /// Not at all: the request is not one that a cache answers.
    Bypass,
}

/// The cache's side of one exchange. Its memory is used again.
#[derive(Debug, Default)]
pub struct Visit {
    /// How the exchange was served, if its route has a cache.
    pub outcome: Option<Outcome>,
    /// How the wait for another's fetch ended; `Alone` when it took too long.
    pub joined: Option<Landing>,
    pub(super) key: Vec<u8>,
    pub(super) scratch: Vec<u8>,
    pub(super) fetch: Option<Box<Fetch>>,
}

/// A stored response that is to be sent; its head lies in the exchange.
#[derive(Debug)]
pub struct Stored {
    /// Where its body is.
    pub entry: Arc<Entry>,
    /// The part of it that is sent.
    pub part: Range<usize>,
    /// What must be fetched anew behind the client's back.
    pub refresh: Option<Box<Fetch>>,
}

/// A fetch by another exchange whose answer is worth waiting for.
#[derive(Debug)]
pub struct Join {
    /// The fetch.
    pub flight: Arc<Flight>,
    /// How long it is worth waiting for.
    pub patience: Duration,
}

/// A request to the service whose answer may go into the cache.
#[derive(Debug)]
pub struct Fetch {
    pub(super) cache: Arc<Cache>,
    pub(super) rules: Arc<Rules>,
    pub(super) key: Box<[u8]>,
    /// What was known of the request when the key was written.
    pub(super) known: Known,
    /// When the service was asked.
    pub(super) began: Instant,
    /// When it has changed what it is the answer of, if it has.
    pub(super) changed: Option<Instant>,
    /// Others wait for it.
    pub(super) lead: Option<Lead>,
    /// What is there already, no longer fresh.
    pub(super) stale: Option<Arc<Entry>>,
    /// The service is asked whether `stale` still holds.
    pub(super) validates: bool,
    /// Whether the answer may be kept, as far as the request goes.
    pub(super) stores: bool,
    /// The service is asked for a part.
    pub(super) part: bool,
    /// What Cache-Status says of it.
    pub(super) miss: &'static [u8],
    pub(super) tap: Option<Tap>,
}

/// An answer that is copied while it passes.
#[derive(Debug)]
pub(super) struct Tap {
    pub(super) entry: Entry,
    pub(super) body: Body,
    pub(super) most: usize,
    /// The client has it already and is only told so.
    pub(super) muted: bool,
}

/// A body that is copied while it passes, within the room that the cache has for all of them.
#[derive(Debug)]
pub(super) struct Body {
    cache: Arc<Cache>,
    bytes: Vec<u8>,
    /// Room that it has taken.
    taken: usize,
}

impl Body {
    /// An empty one for `known` bytes; none if there is no room for them.
    pub(super) fn new(cache: &Arc<Cache>, known: usize) -> Option<Self> {
        let mut body = Self { cache: Arc::clone(cache), bytes: Vec::new(), taken: 0 };
        body.grows(known).then_some(body)
    }

    /// Adds a piece; false if there is no room for it.
    fn add(&mut self, piece: &[u8]) -> bool {
        let wanted = self.bytes.len() + piece.len();
        let fits = wanted <= self.taken || self.grows(wanted.max(2 * self.taken)) || self.grows(wanted);
        if fits {
            self.bytes.extend_from_slice(piece);
        }
        fits
    }

    /// Forgets what was copied and gives the room back.
    fn forget(&mut self) {
        self.bytes = Vec::new();
        self.cache.give_room(std::mem::take(&mut self.taken));
    }

    /// Takes room for `bytes` in all.
    fn grows(&mut self, bytes: usize) -> bool {
        let fits = self.cache.take_room(bytes - self.taken);
        if fits {
            self.taken = bytes;
            self.bytes.reserve_exact(bytes - self.bytes.len());
        }
        fits
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Visit {
    /// Forgets everything and keeps the memory. Others that wait for this exchange's fetch are told that it has gone.
    pub fn reset(&mut self) {
        self.outcome = None;
        self.joined = None;
        self.fetch = None;
    }

    /// Takes over a fetch.
    pub fn carry(&mut self, fetch: Box<Fetch>) {
        self.fetch = Some(fetch);
    }

    /// Whether the service is asked for an answer that the cache may want.
    pub fn is_fetching(&self) -> bool {
        self.fetch.is_some()
    }

    /// Looks at a piece of the answer's body that passes.
    #[inline]
    pub fn take(&mut self, piece: &[u8]) {
        if let Some(fetch) = &mut self.fetch {
            fetch.take(piece);
        }
    }

    /// The body has passed completely.
    #[inline]
    pub fn complete(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            fetch.complete();
        }
    }

    /// The answer broke off: it is not kept, and nobody need wait for it.
    pub fn break_off(&mut self) {
        self.call_off(Landing::Failed);
    }

    /// The service is not asked after all: nobody need wait for it.
    pub fn call_off(&mut self, landing: Landing) {
        if let Some(fetch) = self.fetch.take() {
            fetch.land(landing);
        }
    }

    /// Whether the body is only for the cache: the client has it already.
    #[inline]
    pub fn is_muted(&self) -> bool {
        self.fetch.as_ref().and_then(|fetch| fetch.tap.as_ref()).is_some_and(|tap| tap.muted)
    }
}

impl Fetch {
    /// Ends the wait of others.
    pub(super) fn land(mut self, landing: Landing) {
        if let Some(lead) = self.lead.take() {
            lead.land(landing);
        }
    }

    fn take(&mut self, piece: &[u8]) {
        let Some(tap) = self.tap.as_mut().filter(|_| self.stores) else { return };
        if tap.body.bytes.len() + piece.len() <= tap.most && tap.body.add(piece) {
            return;
        }
        if tap.muted {
            // The rest is for nobody, but it must be read.
            tap.body.forget();
        } else {
            self.tap = None;
        }
        self.stores = false;
        if let Some(lead) = self.lead.take() {
            lead.land(Landing::Alone);
        }
    }

    fn complete(mut self: Box<Self>) {
        let Some(tap) = self.tap.take().filter(|_| self.stores) else { return self.land(Landing::Alone) };
        let entry = Entry { body: tap.body.bytes.as_slice().into(), ..tap.entry };
        let entry = if entry.part.is_some() { self.cache.joined(&self.key, entry, tap.most) } else { Some(entry) };
        let Some(entry) = entry.map(Arc::new) else { return self.land(Landing::Alone) };
        let landing = if entry.fresh_for(entry.received).is_some() && !entry.control.no_cache {
            Landing::Stored
        } else {
            Landing::Alone
        };
        self.cache.put(&self.key, entry);
        self.land(landing);
    }
}
