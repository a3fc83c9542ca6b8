//! What a node asks the store, and what it learns from it.

use std::collections::{HashMap, VecDeque};

use super::message::{CacheChange, Message};
use super::outbox::Outbox;
use super::place::{Place, PlaceStep};
use super::revocation::{Revocation, RevokedName};
use super::revocations::{PendingRevocation, RevocationSet};
use super::stream::{StreamEntry, StreamHead, StreamId};
use crate::limit::Clocks;

/// Members of the live set in one answer to [`Query::Page`].
const PAGE: usize = 1000;
/// The most that is published at once.
const MAX_CHANGES: usize = 100;
const MAX_CHANGE_BYTES: usize = 64 * 1024;
const MAX_REVOCATIONS: usize = 200;

/// Follows the stream. Says what to ask the store, and takes its answers and the entries of the stream.
///
/// It begins to read the live set when it does not know where it is: at the start, in another epoch, and when entries
/// are missing. When the store has lost entries that this node had read or written (a replica without them took over),
/// the node has the store begin another epoch, so that all nodes learn of that.
///
/// Ask the store one thing at a time, and read the stream meanwhile.
pub struct Follower {
    /// What tells this node's entries from others.
    origin: Box<[u8]>,
    place: Place,
    live: LiveSet,
    /// Counts how often the live set was begun to read.
    reading: u64,
    /// What this node holds and the live set has not.
    again: VecDeque<Revocation>,
    publishes_next: bool,
}

/// How much of the live set was read.
enum LiveSet {
    Reading {
        /// How many members were read, from the one that ends last. What ends meanwhile does not move those.
        rank: usize,
        seen: HashMap<RevokedName, (u64, u64)>,
    },
    Read,
}

/// What to ask the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// For the newest entry. The store must begin another epoch if it is in this one.
    Head {
        /// The epoch that must end.
        void: Option<Box<[u8]>>,
    },
    /// For members of the live set, from the one that ends last.
    Page {
        /// Which reading of the set this belongs to.
        reading: u64,
        /// How many to leave out.
        rank: usize,
        /// How many to return.
        most: usize,
    },
    /// To tell all nodes.
    Publish(Publication),
}

/// What a node publishes in one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// Changes, in order.
    pub changes: Vec<CacheChange>,
    /// Revocations that were made here.
    pub fresh: Vec<PendingRevocation>,
    /// Revocations that the store has forgotten.
    pub again: Vec<Revocation>,
}

/// What a node has learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Revocations in force.
    pub revocations: Vec<Revocation>,
    /// How many more there are that only a later version understands.
    pub strange_revocations: usize,
    /// What other nodes have changed, in order.
    pub changes: Vec<CacheChange>,
    /// True if there may have been changes that this node never learns of. All stored responses may be stale.
    pub missed_changes: bool,
}

/// Members of the live set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePage {
    /// The newest entry of the stream.
    pub head: StreamHead,
    /// How many members there are.
    pub members: usize,
    /// Those that this version understands.
    pub revocations: Vec<Revocation>,
    /// How many only a later version understands.
    pub strange: usize,
}

/// What the store says of something that this node has published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The newest entry of the stream.
    pub head: StreamHead,
    /// What the store has made of each fresh revocation; None if it has no room.
    pub made: Vec<Option<Revocation>>,
}

impl Default for LiveSet {
    fn default() -> Self {
        Self::Reading { rank: 0, seen: HashMap::new() }
    }
}

impl Follower {
    /// A node that knows nothing. `origin` is its own name, which no other node and no earlier run of it has.
    pub fn new(origin: &[u8]) -> Self {
        Self {
            origin: origin.into(),
            place: Place::default(),
            live: LiveSet::default(),
            reading: 0,
            again: VecDeque::new(),
            publishes_next: false,
        }
    }

    /// Returns the name of this node's entries.
    pub fn origin(&self) -> &[u8] {
        &self.origin
    }

    /// Returns true if this node knows all revocations in force, but for those of the last moments.
    pub fn is_current(&self) -> bool {
        self.place.at().is_some() && matches!(self.live, LiveSet::Read)
    }

    /// Returns after which entry the stream must be read, or None if that is not known yet.
    pub fn position(&self) -> Option<StreamId> {
        self.place.at().map(|head| head.id)
    }

    /// Returns what to ask the store now, if anything: where the stream is, what is revoked, and to publish what waits
    /// in `set` and `outbox`. Whoever gets no answer must say so by [`Self::on_failure`].
    pub fn query(&mut self, set: &RevocationSet, outbox: &Outbox, at: Clocks) -> Option<Query> {
        if self.place.at().is_none() {
            return Some(self.ask_head());
        }
        self.place.ask();
        // In turns, so that neither waits for the end of the other.
        self.publishes_next = !self.publishes_next;
        let page = self.next_page();
        if page.is_some() && !self.publishes_next {
            return page;
        }
        let publication = Publication {
            changes: outbox.take(MAX_CHANGES, MAX_CHANGE_BYTES),
            fresh: set.to_publish(at, MAX_REVOCATIONS),
            again: self.again.drain(..MAX_REVOCATIONS.min(self.again.len())).collect(),
        };
        if publication == Publication::default() { page } else { Some(Query::Publish(publication)) }
    }

    fn next_page(&self) -> Option<Query> {
        match &self.live {
            LiveSet::Reading { rank, .. } => Some(Query::Page { reading: self.reading, rank: *rank, most: PAGE }),
            LiveSet::Read => None,
        }
    }

    /// Asks for the head. This must be done now and then, because an entry with a place before this node's is not read.
    pub fn ask_head(&mut self) -> Query {
        self.place.ask();
        Query::Head { void: self.place.void().map(Into::into) }
    }

    /// Takes the answer to [`Query::Head`].
    pub fn on_head(&mut self, head: StreamHead) -> Learned {
        let step = self.place.meet(head);
        self.learn(step)
    }

    /// Takes the answer to [`Query::Page`] number `reading`. `set` is what this node knows, including the answer.
    pub fn on_page(&mut self, reading: u64, page: LivePage, set: &RevocationSet) -> Learned {
        let step = self.place.meet(page.head);
        let learned = Learned { strange_revocations: page.strange, ..self.learn(step) };
        let LiveSet::Reading { rank, seen } = &mut self.live else { return learned };
        // An answer from before this node lost its place may be of a set that is gone.
        if reading != self.reading {
            return learned;
        }
        for revocation in &page.revocations {
            let (since, until) = seen.entry(revocation.name).or_default();
            (*since, *until) = ((*since).max(revocation.since), (*until).max(revocation.until));
        }
        *rank += page.members;
        if page.members < PAGE {
            let known = |held: &Revocation| {
                seen.get(&held.name).is_some_and(|(since, until)| *since >= held.since && *until >= held.until)
            };
            self.again = set.held().filter(|held| !known(held)).collect();
            self.live = LiveSet::Read;
        }
        learned
    }

    /// Takes what the store says of `publication`.
    pub fn on_published(
        &mut self,
        publication: &Publication,
        published: Published,
        set: &mut RevocationSet,
    ) -> Learned {
        for (fresh, made) in publication.fresh.iter().zip(&published.made) {
            set.settle(fresh, made.as_ref());
        }
        let step = self.place.meet(published.head);
        self.learn(step)
    }

    /// The store did not answer `query`. It may have done what it was asked, and what answers next may be another
    /// server.
    pub fn on_failure(&mut self, query: Query, outbox: &Outbox) {
        match query {
            Query::Head { .. } => {}
            Query::Page { .. } => {
                if matches!(self.live, LiveSet::Reading { .. }) {
                    self.read_live_set();
                }
            }
            Query::Publish(publication) => {
                outbox.put_back(publication.changes);
                self.again.extend(publication.again);
            }
        }
    }

    /// Takes entries of the stream, in order.
    pub fn on_entries<Bytes: AsRef<[u8]>>(&mut self, entries: &[StreamEntry<Bytes>]) -> Learned {
        let mut learned = Learned::default();
        for entry in entries {
            if self.position().is_none_or(|position| entry.id <= position) {
                continue;
            }
            // What somebody else has written there does not count.
            let Some(message) = Message::read(entry) else { continue };
            if self.place.advance(&message) == PlaceStep::Lost {
                self.read_live_set();
                break;
            }
            learned.revocations.extend(message.revocations);
            learned.strange_revocations += message.strange;
            if message.origin != self.origin {
                learned.changes.extend(message.changes);
                learned.missed_changes |= !message.understood;
            }
        }
        learned
    }

    fn learn(&mut self, step: PlaceStep) -> Learned {
        if step != PlaceStep::Same {
            self.read_live_set();
        }
        Learned { missed_changes: step == PlaceStep::Began, ..Learned::default() }
    }

    fn read_live_set(&mut self) {
        self.live = LiveSet::default();
        self.reading += 1;
        self.again.clear();
    }
}
