//! The keys of a node with places of the cluster: requests that come, and exchanges that end.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;

use super::ticket::PlaceTicket;
use super::view::{PlaceTerms, PlaceView};
use crate::clock::Instant;
use crate::limit::decision::Clocks;
use crate::limit::shared::OnStoreError;
use crate::limit::shared::name::name_of;
use crate::limit::shared::table::{KeyEntry, KeyTable, Wake};
use crate::limit::tag::CounterTag;

/// Identifies a concurrency limit.
#[derive(Clone, Debug)]
pub struct ConcurrencyIdentity {
    identity: Box<str>,
    salt: u64,
}

/// All keys of a node with places.
#[derive(Debug)]
pub(super) struct PlaceTable {
    pub(super) keys: KeyTable<PlaceView>,
    /// When all keys are looked at again.
    pub(super) round_at: AtomicU64,
}

impl PlaceTable {
    pub(super) fn new(node: u64, max_keys: usize, on_store_error: OnStoreError, wake: Wake) -> Self {
        let terms = PlaceTerms::new(node, on_store_error);
        Self { keys: KeyTable::new(max_keys, terms, wake), round_at: AtomicU64::new(0) }
    }

    pub(super) fn identify(&self, identity: &str) -> ConcurrencyIdentity {
        ConcurrencyIdentity { identity: identity.into(), salt: self.keys.tagger.salt(identity) }
    }

    pub(super) fn tag(&self, of: &ConcurrencyIdentity, key: &[u8]) -> CounterTag {
        self.keys.tagger.tag(of.salt, key)
    }

    /// Decides on a request, or puts it in the queue of its key: then it returns its ticket.
    pub(super) fn begin(
        &self,
        of: &ConcurrencyIdentity,
        key: &[u8],
        limit: u32,
        now: Instant,
    ) -> (CounterTag, Result<Option<u32>, Arc<PlaceTicket>>) {
        let tag = self.tag(of, key);
        let state = self.keys.state_at(Clocks { now, ..Clocks::default() });
        let decided = self.keys.change(tag, |shard, _| {
            let new = || KeyEntry::new(tag, name_of(&of.identity, key), PlaceView::new(limit));
            let known = shard.find(tag).or_else(|| shard.add(new(), now.as_nanos(), false));
            let Some(at) = known else { return (Ok(None), false) };
            let entry = &mut shard.entries[at];
            // Nobody overtakes those who wait.
            let may_enter = !entry.is_awaited();
            let decided = match entry.view.decide(limit, may_enter, &state, self.keys.reaches(&entry.key)) {
                Poll::Ready(remaining) => Ok(remaining),
                Poll::Pending if entry.is_crowded() => Ok(None),
                Poll::Pending => {
                    let ticket = Arc::new(PlaceTicket::new());
                    entry.push_waiter(Arc::clone(&ticket));
                    Err(ticket)
                }
            };
            let is_pressing = shard.list(at, decided.is_err());
            (decided, is_pressing)
        });
        (tag, decided)
    }

    /// Ends an exchange.
    pub(super) fn leave(&self, tag: CounterTag) {
        let mut shard = self.keys.shard_of(tag);
        if let Some(at) = shard.find(tag) {
            shard.entries[at].view.leave();
            shard.list(at, false);
        }
    }
}
