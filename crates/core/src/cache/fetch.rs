//! A request to the service for the cache: how it is asked, and the answer as it passes.

use std::sync::Arc;

use pylae_http::{Method, Name};

use super::flight::{FetchOutcome, FlightLead};
use super::rules::CacheRules;
use super::selection::vary::RequestFacts;
use super::storage::entry::Entry;
use super::storage::shared::Cache;
use crate::{Exchange, Instant};

/// A request to the service whose answer may go into the cache.
#[derive(Debug)]
pub struct Fetch {
    pub(super) cache: Arc<Cache>,
    pub(super) rules: Arc<CacheRules>,
    pub(super) key: Box<[u8]>,
    /// What was known of the request when the key was written.
    pub(super) known: RequestFacts,
    /// When the service was asked.
    pub(super) began: Instant,
    /// When it has changed what it is the answer of, if it has.
    pub(super) changed: Option<Instant>,
    /// Others wait for it.
    pub(super) lead: Option<FlightLead>,
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
    pub(super) tap: Option<CachedCopy>,
}

/// An answer that is copied while it passes.
#[derive(Debug)]
pub(super) struct CachedCopy {
    pub(super) entry: Entry,
    pub(super) body: CopiedBody,
    pub(super) most: usize,
    /// The client has it already and is only told so.
    pub(super) muted: bool,
}

/// A body that is copied while it passes, within the room that the cache has for all of them.
#[derive(Debug)]
pub(super) struct CopiedBody {
    cache: Arc<Cache>,
    bytes: Vec<u8>,
    /// Room that it has taken.
    taken: usize,
}

impl CopiedBody {
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

impl Drop for CopiedBody {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Fetch {
    /// Makes the request in `exchange` the one that this fetch needs. Called once, when the service is about to be asked.
    pub(super) fn begin(&mut self, exchange: &mut Exchange) {
        self.began = exchange.times.now;
        let asks = self.stores || exchange.request.head.method == Method::Head;
        if let Some(entry) = self.stale.as_ref().filter(|entry| asks && entry.has_validator()) {
            ask(entry, exchange);
            self.validates = true;
        }
    }

    /// `begin` for a fetch that nobody waits for, at `now`.
    pub fn begin_at(&mut self, now: Instant, exchange: &mut Exchange) {
        exchange.times.now = now;
        strip(exchange);
        self.begin(exchange);
    }

    /// Ends the wait of others.
    pub(super) fn land(mut self, landing: FetchOutcome) {
        if let Some(lead) = self.lead.take() {
            lead.land(landing);
        }
    }

    pub(super) fn take(&mut self, piece: &[u8]) {
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
            lead.land(FetchOutcome::Alone);
        }
    }

    pub(super) fn complete(mut self: Box<Self>) {
        let Some(tap) = self.tap.take().filter(|_| self.stores) else { return self.land(FetchOutcome::Alone) };
        let entry = Entry { body: tap.body.bytes.as_slice().into(), ..tap.entry };
        let entry = if entry.part.is_some() { self.cache.joined(&self.key, entry, tap.most) } else { Some(entry) };
        let Some(entry) = entry.map(Arc::new) else { return self.land(FetchOutcome::Alone) };
        let landing = if entry.fresh_for(entry.received).is_some() && !entry.control.no_cache {
            FetchOutcome::Stored
        } else {
            FetchOutcome::Alone
        };
        self.cache.put(&self.key, entry);
        self.land(landing);
    }
}

/// Asks the service whether `entry` still holds, instead of what the client asked (section 4.3.1).
fn ask(entry: &Entry, exchange: &mut Exchange) {
    strip(exchange);
    let edits = &mut exchange.request.edits;
    for (from, to) in [(Name::Etag, Name::IfNoneMatch), (Name::LastModified, Name::IfModifiedSince)] {
        if let Some(value) = entry.field(from) {
            // Cannot be refused: it came in a field.
            let _ = edits.set_known(to, value);
        }
    }
}

/// Takes the client's conditions out of the request: its answer is for others too.
pub(super) fn strip(exchange: &mut Exchange) {
    for name in [Name::IfNoneMatch, Name::IfModifiedSince, Name::IfRange, Name::Range] {
        if exchange.request.head.fields.has(name) {
            exchange.request.edits.remove_known(name);
        }
    }
}
