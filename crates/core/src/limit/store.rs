//! The counter store in memory, and joint decisions on several limits.

mod settle;
mod shard;
mod slot;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard, RwLock};

use self::shard::CounterShard;
use self::slot::{Clock, CounterSlot, SlotIndex};
use super::charge::{Charge, ChargeOutcome, ChargeVerdict, CounterStore, Limit, LimitMode};
use super::decision::{AbsoluteDecision, Clocks, Decision, Reservation, clock_reading};
use super::shape::{LimitError, LimitShape};
use super::tag::{CounterTag, Tagger};

/// Largest number of charges in one decision. A longer list is refused.
pub const MAX_CHARGES: usize = 16;

/// Counters in this process, shared by all workers.
///
/// **Bounded.** The store holds at most `max_keys` keys, of 32 bytes in a table at most two thirds full: 48 bytes a
/// key. A key of a sliding window that was charged at different times also has a log of at least 112 bytes. Beyond
/// that, all logs together may take 64 bytes for each of `max_keys`; when that is used up they grow coarser, on the
/// side of refusing.
///
/// **Clocks.** A shard's clocks never go back, whatever the readings of different workers: after a clock was set back,
/// time stands still until it has caught up.
///
/// **Fair.** When a new key finds the table full, it replaces an idle key, which loses nothing. If there is none
/// nearby, it replaces a key that was charged only once, of the same limit if possible: a flood of invented keys
/// displaces itself. A key with two admitted charges or more keeps its slot until it is idle. If no slot nearby is
/// available, the new key shares one counter with the other new keys of its limit in that shard until a slot is free:
/// it is neither unlimited nor locked out.
pub struct MemoryCounterStore {
    tagger: Tagger,
    shards: Box<[PaddedCounterShard]>,
    limits: RwLock<Registered>,
    /// Held while a limit is registered.
    registering: Mutex<()>,
}

/// The limits that are held or have counts: a reload changes figures, and the counts stay.
#[derive(Default)]
struct Registered {
    /// By id minus one.
    shapes: Vec<LimitShape>,
    /// Ids of limits that are neither held nor counted any more.
    free: Vec<u32>,
    ids: HashMap<(Box<str>, LimitShape), (u32, Weak<()>)>,
    /// Number of limits at which to look for unused ones.
    sweep_at: usize,
}

/// Below this number of limits none is dropped.
const FEW_LIMITS: usize = 1024;

/// Keeps the locks of different shards on different cache lines.
#[repr(align(128))]
struct PaddedCounterShard(Mutex<CounterShard>);

impl std::fmt::Debug for MemoryCounterStore {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("MemoryStore").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl MemoryCounterStore {
    /// Creates a store for at most `max_keys` keys (at least 1) over all limits.
    pub fn new(max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let shards = (max_keys / 1024).next_power_of_two().min(64);
        let shards =
            (0..shards).map(|_| PaddedCounterShard(Mutex::new(CounterShard::new(max_keys / shards)))).collect();
        Self { tagger: Tagger::default(), shards, limits: RwLock::default(), registering: Mutex::default() }
    }

    /// Returns the number of keys, including idle ones.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().keys()).sum()
    }

    /// Returns the memory of tables and logs, in bytes.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().bytes() + size_of::<PaddedCounterShard>()).sum()
    }

    /// Like [`CounterStore::register`].
    pub fn register(&self, identity: &str, shape: LimitShape) -> Result<Limit, LimitError> {
        let _registering = self.registering.lock();
        self.sweep_limits();
        let Registered { shapes, free, ids, .. } = &mut *self.limits.write();
        let held = Arc::default();
        let id = match ids.entry((identity.into(), shape)) {
            Entry::Occupied(mut known) => {
                let (id, holder) = known.get_mut();
                let held = holder.upgrade().unwrap_or(held);
                *holder = Arc::downgrade(&held);
                return Ok(Limit {
                    identity: identity.into(),
                    shape,
                    salt: self.tagger.salt(identity),
                    id: *id,
                    _held: held,
                });
            }
            Entry::Vacant(_) if free.is_empty() && shapes.len() >= slot::MAX_ID as usize => {
                return Err(LimitError::TooMany);
            }
            Entry::Vacant(fresh) => {
                let id = free.pop().unwrap_or_else(|| {
                    shapes.push(shape);
                    shapes.len() as u32
                });
                shapes[id as usize - 1] = shape;
                fresh.insert((id, Arc::downgrade(&held))).0
            }
        };
        Ok(Limit { identity: identity.into(), shape, salt: self.tagger.salt(identity), id, _held: held })
    }

    /// Drops limits that are neither held nor counted, once there are twice as many as after the last sweep. The caller
    /// holds `registering`, so that no unused limit can be acquired meanwhile; without a holder nothing more is
    /// counted.
    fn sweep_limits(&self) {
        let unused: HashSet<u32> = {
            let registered = self.limits.read();
            if registered.ids.len() < registered.sweep_at.max(FEW_LIMITS) {
                return;
            }
            registered.ids.values().filter(|(_, holder)| holder.strong_count() == 0).map(|(id, _)| *id).collect()
        };
        // Not while the limits are locked: that lock is taken while a shard's is held.
        let mut counted = HashSet::new();
        for shard in &self.shards {
            let mut shard = shard.0.lock();
            shard.forget_idle();
            counted.extend(shard.ids().filter(|id| unused.contains(id)));
        }
        let Registered { free, ids, sweep_at, .. } = &mut *self.limits.write();
        ids.retain(|_, (id, _)| {
            let kept = !unused.contains(id) || counted.contains(id);
            if !kept {
                free.push(*id);
            }
            kept
        });
        *sweep_at = 2 * ids.len();
    }

    /// Like [`CounterStore::check_all`]; it always decides at once.
    pub fn check_all(&self, charges: &mut [Charge<'_>], at: Clocks) -> ChargeVerdict {
        match charges {
            [] => ChargeVerdict::Admitted,
            [charge] => self.check_one(charge, at),
            _ if charges.len() > MAX_CHARGES => ChargeVerdict::Refused { by: 0 },
            _ => self.check_many(charges, at),
        }
    }

    /// Clears the count of `key` of `limit`. Returns true if there was one.
    pub fn reset(&self, limit: &Limit, key: &[u8]) -> bool {
        let tag = self.tagger.tag(limit.salt, key);
        self.shards[self.shard_of(tag)].0.lock().remove(tag)
    }

    fn check_one(&self, charge: &mut Charge<'_>, at: Clocks) -> ChargeVerdict {
        let tag = self.tagger.tag(charge.limit.salt, charge.key);
        let mut shard = self.shards[self.shard_of(tag)].0.lock();
        let clock = shard.advance(at);
        shard.make_room(1, clock);
        let mut work = Work::new(tag, charge.limit);
        work.evaluate(&mut shard, charge, clock, &self.limits);
        if work.admitted() && work.place == SlotIndex::None && charge.cost > 0 {
            work.assign_slot(&mut shard, charge, clock, &self.limits);
        }
        let admitted = work.admitted();
        if admitted && charge.cost > 0 {
            charge.account = shard.commit(work.place, work.slot, charge.limit, clock, charge.cost);
        }
        charge.decision = work.decision(charge.limit, at);
        if admitted { ChargeVerdict::Admitted } else { ChargeVerdict::Refused { by: 0 } }
    }

    fn check_many(&self, charges: &mut [Charge<'_>], at: Clocks) -> ChargeVerdict {
        let count = charges.len();
        let mut works = [Work::default(); MAX_CHARGES];
        let works = &mut works[..count];
        let mut order = [0_usize; MAX_CHARGES];
        let order = &mut order[..count];
        for (index, charge) in charges.iter().enumerate() {
            works[index] = Work::new(self.tagger.tag(charge.limit.salt, charge.key), charge.limit);
            works[index].shard = self.shard_of(works[index].tag());
            order[index] = index;
        }
        // All locks are held from the first read to the last write. They are taken in one order, so there is no
        // deadlock.
        order.sort_unstable_by_key(|&index| works[index].shard);
        let mut held: [Option<MutexGuard<'_, CounterShard>>; MAX_CHARGES] = [const { None }; MAX_CHARGES];
        let mut guards = 0;
        for place in 0..count {
            let index = order[place];
            let shard = works[index].shard;
            if place == 0 || works[order[place - 1]].shard != shard {
                let mut guard = self.shards[shard].0.lock();
                let clock = guard.advance(at);
                guard.make_room(count, clock);
                held[guards] = Some(guard);
                guards += 1;
            }
            works[index].guard = guards - 1;
        }
        self.apply(charges, works, &mut held, at)
    }

    fn apply(
        &self,
        charges: &mut [Charge<'_>],
        works: &mut [Work],
        held: &mut [Option<MutexGuard<'_, CounterShard>>; MAX_CHARGES],
        at: Clocks,
    ) -> ChargeVerdict {
        for assign in [false, true] {
            for (work, charge) in works.iter_mut().zip(&*charges) {
                let Some(shard) = held[work.guard].as_deref_mut() else { continue };
                let clock = shard.clock();
                if !assign {
                    work.evaluate(shard, charge, clock, &self.limits);
                    shard.pin(work.place, true);
                } else if work.place == SlotIndex::None && charge.cost > 0 {
                    work.assign_slot(shard, charge, clock, &self.limits);
                    shard.pin(work.place, true);
                }
            }
            // A request that is refused anyway takes no slots.
            if works.iter().any(|work| !work.admitted()) {
                break;
            }
        }
        let refused = works.iter().any(|work| !work.admitted());
        for (work, charge) in works.iter_mut().zip(&mut *charges) {
            let Some(shard) = held[work.guard].as_deref_mut() else { continue };
            let clock = shard.clock();
            shard.pin(work.place, false);
            if !refused && charge.cost > 0 {
                charge.account = shard.commit(work.place, work.slot, charge.limit, clock, charge.cost);
            } else if refused && work.admitted() {
                // It charged nothing, so its figures are those before.
                work.check(shard, charge.limit, clock, 0);
            }
            charge.decision = work.decision(charge.limit, at);
        }
        let refusing = (0..works.len()).filter(|&index| !works[index].admitted());
        match refusing.max_by_key(|&index| charges[index].decision.retry_after) {
            Some(by) => ChargeVerdict::Refused { by },
            None => ChargeVerdict::Admitted,
        }
    }

    fn shard_of(&self, tag: CounterTag) -> usize {
        // Their number is a power of two.
        (tag[0] >> 56) as usize & (self.shards.len() - 1)
    }
}

impl CounterStore for MemoryCounterStore {
    fn register(&self, identity: &str, shape: LimitShape, _mode: LimitMode) -> Result<Limit, LimitError> {
        Self::register(self, identity, shape)
    }

    fn check_all(&self, charges: &mut [Charge<'_>], at: Clocks) -> ChargeOutcome {
        ChargeOutcome::Decided(Self::check_all(self, charges, at))
    }

    fn settle(&self, limit: &Limit, key: &[u8], reservation: &Reservation, cost: u32, at: Clocks) {
        Self::settle(self, limit, key, reservation, cost, at);
    }

    fn peek(&self, limit: &Limit, key: &[u8], at: Clocks) -> Option<Decision> {
        let mut charges = [Charge::new(limit, key, 0)];
        let _ = Self::check_all(self, &mut charges, at);
        Some(charges[0].decision)
    }

    fn reset(&self, limit: &Limit, key: &[u8]) -> bool {
        Self::reset(self, limit, key)
    }
}

/// A charge during its decision.
#[derive(Copy, Clone, Debug, Default)]
struct Work {
    shard: usize,
    guard: usize,
    place: SlotIndex,
    /// The state before the cost is charged, and after `check` the state with the cost charged.
    slot: CounterSlot,
    outcome: Option<AbsoluteDecision>,
}

impl Work {
    fn new(tag: CounterTag, limit: &Limit) -> Self {
        Self { slot: CounterSlot::fresh(tag, limit), ..Self::default() }
    }

    fn tag(&self) -> CounterTag {
        self.slot.tag
    }

    fn admitted(&self) -> bool {
        self.outcome.is_some_and(|outcome| outcome.admitted)
    }

    /// Finds the key, adapts its state to the limit's figures, and decides. An unknown key is treated as a fresh one.
    fn evaluate(&mut self, shard: &mut CounterShard, charge: &Charge<'_>, clock: Clock, limits: &RwLock<Registered>) {
        self.place = shard.find(self.tag());
        self.check_stored(shard, charge, clock, limits);
    }

    /// Assigns a slot to an unknown key, and decides again if that is a shared one.
    fn assign_slot(
        &mut self,
        shard: &mut CounterShard,
        charge: &Charge<'_>,
        clock: Clock,
        limits: &RwLock<Registered>,
    ) {
        self.place = shard.claim(CounterSlot::fresh(self.tag(), charge.limit), charge.limit, clock);
        if matches!(self.place, SlotIndex::Shared(_)) {
            self.check_stored(shard, charge, clock, limits);
        }
    }

    fn check_stored(
        &mut self,
        shard: &mut CounterShard,
        charge: &Charge<'_>,
        clock: Clock,
        limits: &RwLock<Registered>,
    ) {
        if let Some(found) = shard.get(self.place) {
            self.slot = found;
            if found.id() != charge.limit.id {
                // The figures are unknown only for a limit that another store has registered.
                let known = (found.id() as usize).checked_sub(1).and_then(|at| limits.read().shapes.get(at).copied());
                let old = known.unwrap_or(charge.limit.shape);
                self.slot = shard.carry_over(self.place, &old, charge.limit, clock);
            }
        }
        self.check(shard, charge.limit, clock, charge.cost);
    }

    fn check(&mut self, shard: &mut CounterShard, limit: &Limit, clock: Clock, cost: u32) {
        let before = shard.get(self.place).unwrap_or(CounterSlot::fresh(self.tag(), limit));
        let (outcome, slot) = shard.check(before, &limit.shape, clock, cost);
        (self.outcome, self.slot) = (Some(outcome), slot);
    }

    fn decision(&self, limit: &Limit, at: Clocks) -> Decision {
        let now = clock_reading(&limit.shape, at);
        self.outcome.map_or_else(Decision::default, |outcome| outcome.relative_to(now))
    }
}

#[cfg(test)]
mod tests;
