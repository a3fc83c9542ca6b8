//! All views of a node, and the decisions on them. A lock of one shard is held at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::name::{StoreKey, store_key};
use super::reach::KnownReach;
use super::table::ViewShard;
use super::terms::{ClusterState, Due, Terms};
use super::ticket::{Grant, Ticket, TicketPart, TicketPhase, TicketState, Waiter};
use super::view::{KeyView, ViewStep};
use crate::limit::charge::{Charge, ChargeVerdict, Limit, LimitMode};
use crate::limit::decision::{Clocks, Decision, Reservation};
use crate::limit::store::MAX_CHARGES;
use crate::limit::tag::{CounterTag, Tagger};

/// Wakes the driver.
pub(super) type Wake = Box<dyn Fn(Due) + Send + Sync>;

/// Keeps the locks of different shards on different cache lines.
#[repr(align(128))]
struct PaddedViewShard(Mutex<ViewShard>);

/// What is to be told to a ticket, once no shard is locked.
pub(super) struct WaiterOutcome {
    pub(super) waiter: Waiter,
    pub(super) decision: Decision,
    pub(super) grant: Option<Grant>,
}

/// All views of a node.
pub(super) struct Views {
    pub(super) tagger: Tagger,
    shards: Box<[PaddedViewShard]>,
    nodes: AtomicU32,
    pub(super) reach: KnownReach,
    flush: u64,
    /// Requests that had to wait for the store.
    pub(super) waits: AtomicU64,
    /// Bit by shard, which has urgent keys.
    urgent: AtomicU64,
    /// The shard that the last collection began with.
    first: AtomicUsize,
    wake: Wake,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Views").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl Views {
    pub(super) fn new(max_keys: usize, flush: u64, wake: Wake) -> Self {
        let shards = (max_keys / 1024).max(1).next_power_of_two().min(64);
        let shard = || PaddedViewShard(Mutex::new(ViewShard::new(max_keys / shards)));
        Self {
            tagger: Tagger::default(),
            shards: (0..shards).map(|_| shard()).collect(),
            nodes: AtomicU32::new(1),
            reach: KnownReach::default(),
            flush,
            waits: AtomicU64::new(0),
            urgent: AtomicU64::new(0),
            first: AtomicUsize::new(0),
            wake,
        }
    }

    pub(super) fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// What is known of the cluster, and of the store as far as it has this key.
    pub(super) fn state(&self, key: &StoreKey) -> ClusterState {
        ClusterState { nodes: self.nodes(), available: self.reach.covers(key), flush: self.flush }
    }

    pub(super) fn set_nodes(&self, nodes: u32) {
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
    }

    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Returns all shards, beginning with another one each time.
    pub(super) fn shards_in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first.fetch_add(1, Ordering::Relaxed), self.shards.len());
        (0..count).map(move |index| first.wrapping_add(index) & (count - 1))
    }

    pub(super) fn shard(&self, index: usize) -> MutexGuard<'_, ViewShard> {
        self.shards[index].0.lock()
    }

    pub(super) fn shard_of(&self, tag: CounterTag) -> usize {
        // Their number is a power of two.
        (tag[0] >> 56) as usize & (self.shards.len() - 1)
    }

    /// Takes the bits of the shards that have urgent keys.
    pub(super) fn take_urgent(&self) -> u64 {
        self.urgent.swap(0, Ordering::AcqRel)
    }

    /// Notes that a shard has urgent keys. The driver is woken once until it has looked.
    pub(super) fn hurry(&self, shard: usize) {
        if self.urgent.fetch_or(1 << shard, Ordering::AcqRel) == 0 {
            (self.wake)(Due::Urgent);
        }
    }

    /// Notes that the next flush has something to tell.
    pub(super) fn begin_flush(&self) {
        (self.wake)(Due::All);
    }

    fn tag(&self, limit: &Limit, key: &[u8]) -> CounterTag {
        self.tagger.tag(limit.salt, key)
    }

    /// Calls `then` with the view of a key. A key for which there is no place shares a view with the others of its
    /// limit and shard for which there is none either.
    fn with<T>(
        &self,
        limit: &Limit,
        key: &[u8],
        now: u64,
        then: impl FnOnce(&mut ViewShard, usize, CounterTag) -> (T, bool),
    ) -> T {
        let tag = self.tag(limit, key);
        let index = self.shard_of(tag);
        let mut shard = self.shard(index);
        let (at, tag) = if let Some(at) = shard.find(tag) {
            shard.views[at].adapt(limit);
            (at, tag)
        } else {
            let view = KeyView::new(tag, store_key(limit, key, None), limit);
            match shard.add(view, now, false) {
                Some(at) => (at, tag),
                None => Self::overflow(&mut shard, index, limit, now),
            }
        };
        let was_quiet = shard.listed.is_empty();
        let (value, urgent) = then(&mut shard, at, tag);
        let is_first = was_quiet && !shard.listed.is_empty();
        drop(shard);
        if urgent {
            self.hurry(index);
        }
        if is_first {
            self.begin_flush();
        }
        value
    }

    fn overflow(shard: &mut ViewShard, index: usize, limit: &Limit, now: u64) -> (usize, CounterTag) {
        // The upper bits choose the shard.
        let tag = [(index as u64) << 56 | (limit.salt >> 8), !limit.salt];
        if let Some(at) = shard.find(tag) {
            shard.views[at].adapt(limit);
            return (at, tag);
        }
        let view = KeyView::new(tag, store_key(limit, b"", Some(index)), limit);
        let at = shard.add(view, now, true);
        (at.unwrap_or_default(), tag)
    }

    /// Decides on one charge. If the store has to be asked, `ticket` waits for it.
    fn check(&self, charge: &mut Charge<'_>, at: Clocks, alone: bool) -> (ViewStep, CounterTag) {
        let now = at.now.as_nanos();
        self.with(charge.limit, charge.key, now, |shard, place, tag| {
            let view = &mut shard.views[place];
            let state = self.state(&view.key);
            let step = view.decide(charge.cost, at, state);
            let mut step = step;
            if let (true, ViewStep::Admit(grant @ Grant::Leased(_))) = (alone, step) {
                view.spend(grant, charge.cost);
                step = ViewStep::Admit(Grant::Spent);
            }
            charge.decision = view.figures(step, now, state.nodes);
            let told = view.pending > 0 || view.lending.is_some();
            let urgent = told && {
                let pressing = state.available && view.is_pressing(state.nodes, now);
                shard.list(place, pressing)
            };
            ((step, tag), urgent)
        })
    }

    /// Puts a request in the queue of a key.
    fn enqueue(&self, charge: &Charge<'_>, waiter: Waiter, now: u64) {
        self.with(charge.limit, charge.key, now, |shard, place, _| {
            shard.views[place].waiters.get_or_insert_default().0.push_back(waiter);
            ((), shard.list(place, true))
        });
    }

    /// Decides on all charges, or returns the ticket of those that wait.
    pub(super) fn check_all(&self, charges: &mut [Charge<'_>], at: Clocks) -> Result<ChargeVerdict, Arc<Ticket>> {
        let count = charges.len();
        if count > MAX_CHARGES {
            return Ok(ChargeVerdict::Refused { by: 0 });
        }
        let mut steps = [(ViewStep::Ask, [0, 0]); MAX_CHARGES];
        for (charge, step) in charges.iter_mut().zip(&mut steps) {
            *step = self.check(charge, at, count == 1);
        }
        let steps = &steps[..count];
        if let Some(verdict) = refusal(steps.iter().map(|(step, _)| matches!(step, ViewStep::Refuse(_))), charges) {
            for (charge, (step, tag)) in charges.iter_mut().zip(steps) {
                if let ViewStep::Admit(grant) = step {
                    let figures = self.give_back(*tag, *grant, charge.cost, at.now.as_nanos(), at);
                    charge.decision = figures.unwrap_or(charge.decision);
                }
            }
            return Ok(verdict);
        }
        if steps.iter().all(|(step, _)| matches!(step, ViewStep::Admit(_))) {
            if count > 1 {
                for (charge, (step, tag)) in charges.iter().zip(steps) {
                    if let ViewStep::Admit(grant @ Grant::Leased(_)) = step {
                        self.spend(*tag, *grant, charge.cost);
                    }
                }
            }
            return Ok(ChargeVerdict::Admitted);
        }
        Err(self.wait_for(charges, steps, at))
    }

    fn wait_for(&self, charges: &[Charge<'_>], steps: &[(ViewStep, CounterTag)], at: Clocks) -> Arc<Ticket> {
        let parts = charges.iter().zip(steps).map(|(charge, (step, tag))| TicketPart {
            tag: *tag,
            cost: charge.cost,
            decision: charge.decision,
            grant: if let ViewStep::Admit(grant) = step { Some(*grant) } else { None },
        });
        let parts: Vec<TicketPart> = parts.collect();
        let missing = parts.iter().filter(|part| part.grant.is_none()).count();
        let ticket = TicketState { parts, missing, since: at.now.as_nanos(), phase: TicketPhase::Waiting, waker: None };
        let ticket = Arc::new(Ticket { state: Mutex::new(ticket), gone: AtomicBool::new(false) });
        for (part, (charge, (step, _))) in charges.iter().zip(steps).enumerate() {
            if matches!(step, ViewStep::Ask) {
                let held = charges.len() > 1 && Terms::of(charge.limit).mode == LimitMode::Exact;
                let ticket = Arc::clone(&ticket);
                let waiter = Waiter { ticket, part: part as u8, cost: charge.cost, held };
                self.enqueue(charge, waiter, at.now.as_nanos());
            }
        }
        ticket
    }

    fn holds(&self, tag: CounterTag, generation: u64, at: Clocks) -> bool {
        let mut shard = self.shard(self.shard_of(tag));
        let lending = shard.find(tag).and_then(|place| shard.views[place].lending.as_mut());
        lending.is_some_and(|lending| lending.holds(generation, at.now.as_nanos()))
    }

    fn spend(&self, tag: CounterTag, grant: Grant, cost: u32) {
        let mut shard = self.shard(self.shard_of(tag));
        if let Some(place) = shard.find(tag) {
            shard.views[place].spend(grant, cost);
        }
    }

    /// Gives back what was admitted at `since` and is not used; returns the figures then.
    fn give_back(&self, tag: CounterTag, grant: Grant, cost: u32, since: u64, at: Clocks) -> Option<Decision> {
        let nodes = self.nodes();
        let mut shard = self.shard(self.shard_of(tag));
        let place = shard.find(tag)?;
        let view = &mut shard.views[place];
        view.give_back(grant, cost, since, nodes);
        let figures = view.figures(ViewStep::Admit(grant), at.now.as_nanos(), nodes);
        if view.credits > 0 {
            if shard.listed.is_empty() {
                self.begin_flush();
            }
            shard.list(place, false);
        }
        Some(figures)
    }

    /// Tells a ticket what became of one of its charges; no shard may be locked.
    pub(super) fn deliver(&self, outcome: WaiterOutcome, at: Clocks) {
        let WaiterOutcome { waiter, decision, grant } = outcome;
        let mut ticket = waiter.ticket.state.lock();
        if ticket.phase == TicketPhase::Over {
            let tag = ticket.parts.get(usize::from(waiter.part)).map(|part| part.tag);
            let since = ticket.since;
            drop(ticket);
            if let (Some(tag), Some(grant)) = (tag, grant) {
                self.give_back(tag, grant, waiter.cost, since, at);
            }
            return;
        }
        if let Some(part) = ticket.parts.get_mut(usize::from(waiter.part)) {
            (part.decision, part.grant) = (decision, grant);
        }
        ticket.missing -= 1;
        if ticket.missing > 0 {
            return;
        }
        for part in &mut ticket.parts {
            if let Some(Grant::Leased(generation)) = part.grant
                && !self.holds(part.tag, generation, at)
            {
                // The others have come too late.
                part.grant = None;
                part.decision.retry_after = Duration::from_nanos(self.flush);
                part.decision.admitted = false;
            }
        }
        let refused = ticket.parts.iter().any(|part| part.grant.is_none());
        let since = ticket.since;
        for part in &mut ticket.parts {
            let Some(grant) = part.grant else { continue };
            if refused {
                part.decision = self.give_back(part.tag, grant, part.cost, since, at).unwrap_or(part.decision);
            } else if matches!(grant, Grant::Leased(_)) {
                self.spend(part.tag, grant, part.cost);
                part.grant = Some(Grant::Spent);
            }
        }
        ticket.phase = TicketPhase::Decided;
        if let Some(waker) = ticket.waker.take() {
            drop(ticket);
            waker.wake();
        }
    }

    /// Gives back what a request got that does not wait any more.
    pub(super) fn abandon(&self, ticket: &Ticket) {
        ticket.gone.store(true, Ordering::Release);
        let mut ticket = ticket.state.lock();
        let phase = std::mem::replace(&mut ticket.phase, TicketPhase::Over);
        let refused = phase == TicketPhase::Decided && ticket.parts.iter().any(|part| part.grant.is_none());
        if phase != TicketPhase::Over && !refused {
            for part in &ticket.parts {
                if let Some(grant) = part.grant {
                    self.give_back(part.tag, grant, part.cost, ticket.since, Clocks::default());
                }
            }
        }
    }

    /// Charges the difference between what was charged and what it should have been.
    pub(super) fn settle(&self, limit: &Limit, key: &[u8], reservation: &Reservation, cost: u32, at: Clocks) {
        let now = at.now.as_nanos();
        self.with(limit, key, now, |shard, place, _| {
            let view = &mut shard.views[place];
            let state = self.state(&view.key);
            let charged = reservation.cost();
            if cost >= charged {
                view.pending = view.pending.saturating_add(cost - charged);
            } else {
                view.credit(charged - cost, reservation.since.as_nanos());
            }
            let pressing = state.available && view.is_pressing(state.nodes, now);
            ((), shard.list(place, pressing))
        });
    }

    /// Returns the figures of a key that is known here.
    pub(super) fn peek(&self, limit: &Limit, key: &[u8], at: Clocks) -> Option<Decision> {
        let tag = self.tag(limit, key);
        let shard = self.shard(self.shard_of(tag));
        let view = &shard.views[shard.find(tag)?];
        Some(view.figures(ViewStep::Admit(Grant::Spent), at.now.as_nanos(), self.nodes()))
    }

    /// Clears a key here, and in the store with the next call. Returns true if it was known here.
    pub(super) fn reset(&self, limit: &Limit, key: &[u8]) -> bool {
        let known = {
            let tag = self.tag(limit, key);
            self.shard(self.shard_of(tag)).find(tag).is_some()
        };
        self.with(limit, key, 0, |shard, place, _| {
            let view = &mut shard.views[place];
            view.distrust();
            (view.pending, view.credits, view.clear) = (0, 0, true);
            ((), shard.list(place, true))
        });
        known
    }
}

/// Returns the verdict if a charge is refused: by the one with the longest wait.
fn refusal(refused: impl Iterator<Item = bool>, charges: &[Charge<'_>]) -> Option<ChargeVerdict> {
    let refusing = refused.zip(charges).enumerate().filter(|(_, (refused, _))| *refused);
    let longest = refusing.max_by_key(|(_, (_, charge))| charge.decision.retry_after);
    longest.map(|(by, _)| ChargeVerdict::Refused { by })
}
