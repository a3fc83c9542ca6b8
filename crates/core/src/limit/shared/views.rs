//! All views of a node, and the decisions on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::name::store_key;
use super::table::{KeyEntry, KeyShard, KeyTable, Wake};
use super::terms::Terms;
use super::ticket::{Grant, Ticket, TicketPart, TicketPhase, TicketState, Waiter, WaiterOutcome};
use super::view::{KeyView, ViewStep};
use crate::limit::charge::{Charge, ChargeVerdict, Limit, LimitMode};
use crate::limit::decision::{Clocks, Decision, Reservation};
use crate::limit::store::MAX_CHARGES;
use crate::limit::tag::CounterTag;

/// All views of a node.
#[derive(Debug)]
pub(super) struct Views {
    pub(super) keys: KeyTable<KeyView>,
    /// Requests that had to wait for the store.
    pub(super) waits: AtomicU64,
}

impl Views {
    /// `flush` is the time between two flushes, in nanoseconds.
    pub(super) fn new(max_keys: usize, flush: u64, wake: Wake) -> Self {
        Self { keys: KeyTable::new(max_keys, flush, wake), waits: AtomicU64::new(0) }
    }

    fn tag(&self, limit: &Limit, key: &[u8]) -> CounterTag {
        self.keys.tagger.tag(limit.salt, key)
    }

    /// Calls `then` with the view of a key. A key for which there is no place shares a view with the others of its
    /// limit and shard for which there is none either.
    fn with<T>(
        &self,
        limit: &Limit,
        key: &[u8],
        now: u64,
        then: impl FnOnce(&mut KeyShard<KeyView>, usize, CounterTag) -> (T, bool),
    ) -> T {
        let tag = self.tag(limit, key);
        self.keys.change(tag, |shard, index| {
            let (at, tag) = if let Some(at) = shard.find(tag) {
                shard.entries[at].view.adapt(limit);
                (at, tag)
            } else {
                let entry = KeyEntry::new(tag, store_key(limit, key, None), KeyView::new(limit));
                match shard.add(entry, now, false) {
                    Some(at) => (at, tag),
                    None => Self::overflow(shard, index, limit, now),
                }
            };
            then(shard, at, tag)
        })
    }

    fn overflow(shard: &mut KeyShard<KeyView>, index: usize, limit: &Limit, now: u64) -> (usize, CounterTag) {
        // The upper bits choose the shard.
        let tag = [(index as u64) << 56 | (limit.salt >> 8), !limit.salt];
        if let Some(at) = shard.find(tag) {
            shard.entries[at].view.adapt(limit);
            return (at, tag);
        }
        let entry = KeyEntry::new(tag, store_key(limit, b"", Some(index)), KeyView::new(limit));
        let at = shard.add(entry, now, true);
        (at.unwrap_or_default(), tag)
    }

    /// Decides on one charge. If the store has to be asked, `ticket` waits for it.
    fn check(&self, charge: &mut Charge<'_>, at: Clocks, alone: bool) -> (ViewStep, CounterTag) {
        let now = at.now.as_nanos();
        self.with(charge.limit, charge.key, now, |shard, place, tag| {
            let entry = &mut shard.entries[place];
            let (nodes, available) = (self.keys.nodes(), self.keys.reaches(&entry.key));
            let mut step = entry.decide(charge.cost, at, nodes, available, self.keys.common);
            if let (true, ViewStep::Admit(grant @ Grant::Leased(_))) = (alone, step) {
                entry.view.spend(grant, charge.cost);
                step = ViewStep::Admit(Grant::Spent);
            }
            let view = &entry.view;
            charge.decision = view.figures(step, now, nodes);
            let told = view.pending > 0 || view.lending.is_some();
            let urgent = told && {
                let pressing = available && view.is_pressing(nodes, now);
                shard.list(place, pressing)
            };
            ((step, tag), urgent)
        })
    }

    /// Puts a request in the queue of a key.
    fn enqueue(&self, charge: &Charge<'_>, waiter: Waiter, now: u64) {
        self.with(charge.limit, charge.key, now, |shard, place, _| {
            shard.entries[place].push_waiter(waiter);
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
        let mut shard = self.keys.shard_of(tag);
        let lending = shard.find(tag).and_then(|place| shard.entries[place].view.lending.as_mut());
        lending.is_some_and(|lending| lending.holds(generation, at.now.as_nanos()))
    }

    fn spend(&self, tag: CounterTag, grant: Grant, cost: u32) {
        let mut shard = self.keys.shard_of(tag);
        if let Some(place) = shard.find(tag) {
            shard.entries[place].view.spend(grant, cost);
        }
    }

    /// Gives back what was admitted at `since` and is not used; returns the figures then.
    fn give_back(&self, tag: CounterTag, grant: Grant, cost: u32, since: u64, at: Clocks) -> Option<Decision> {
        let nodes = self.keys.nodes();
        self.keys.change(tag, |shard, _| {
            let Some(place) = shard.find(tag) else { return (None, false) };
            let view = &mut shard.entries[place].view;
            view.give_back(grant, cost, since, nodes);
            let figures = view.figures(ViewStep::Admit(grant), at.now.as_nanos(), nodes);
            if view.credits > 0 {
                shard.list(place, false);
            }
            (Some(figures), false)
        })
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
                part.decision.retry_after = Duration::from_nanos(self.keys.common);
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
            let entry = &mut shard.entries[place];
            let view = &mut entry.view;
            let charged = reservation.cost();
            if cost >= charged {
                view.pending = view.pending.saturating_add(cost - charged);
            } else {
                view.credit(charged - cost, reservation.since.as_nanos());
            }
            let pressing = self.keys.reaches(&entry.key) && view.is_pressing(self.keys.nodes(), now);
            ((), shard.list(place, pressing))
        });
    }

    /// Returns the figures of a key that is known here.
    pub(super) fn peek(&self, limit: &Limit, key: &[u8], at: Clocks) -> Option<Decision> {
        let tag = self.tag(limit, key);
        let shard = self.keys.shard_of(tag);
        let view = &shard.entries[shard.find(tag)?].view;
        Some(view.figures(ViewStep::Admit(Grant::Spent), at.now.as_nanos(), self.keys.nodes()))
    }

    /// Clears a key here, and in the store with the next call. Returns true if it was known here.
    pub(super) fn reset(&self, limit: &Limit, key: &[u8]) -> bool {
        let known = {
            let tag = self.tag(limit, key);
            self.keys.shard_of(tag).find(tag).is_some()
        };
        self.with(limit, key, 0, |shard, place, _| {
            let view = &mut shard.entries[place].view;
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
