//! What a node holds of a key before it is used: leases, and how much of them it needs.

use crate::limit::ledger::LeaseReport;

/// A lease is not used in the last part of its time: what is decided now takes effect a little later.
const GRACE: u64 = 60_000_000;

/// Parts of a token in which the use of a key is counted.
const PARTS: u32 = 16;

/// Tokens that the store holds for this node until they are used, returned, or their time is over.
#[derive(Copy, Clone, Debug, Default)]
struct Lease {
    generation: u64,
    unused: u32,
    /// Used, and the store does not know it yet.
    used: u32,
    /// By the clock of this node; the store writes the lease off later than this.
    until: u64,
}

impl Lease {
    fn usable(&self, now: u64) -> u32 {
        if now.saturating_add(GRACE) < self.until { self.unused } else { 0 }
    }
}

/// The leases of one key, of the two generations that may be in use.
#[derive(Debug, Default)]
pub(super) struct Lending {
    leases: [Lease; 2],
    /// What was asked for at last. A lease of less is of no use.
    cost: u32,
    /// Tokens asked for since the last flush.
    recent: u32,
    /// Tokens asked for between two flushes, lately; in parts of a token.
    rate: u32,
    /// The store leased all that was wanted at last, so it makes sense to ask again before the leases are used up.
    plenty: bool,
}

impl Lending {
    /// Counts tokens that were asked for.
    pub(super) fn asked(&mut self, cost: u32) {
        self.cost = cost;
        self.recent = self.recent.saturating_add(cost);
    }

    /// Ends the time between two flushes. The rate follows more use at once, less use slowly. But a single token
    /// between two flushes is followed slowly too: a lease for a key that is used now and then would be two more calls,
    /// one for it and one that returns it.
    pub(super) fn tick(&mut self) {
        let recent = std::mem::take(&mut self.recent).saturating_mul(PARTS);
        self.rate = if recent < self.rate {
            self.rate - (self.rate - recent).div_ceil(4)
        } else if recent > PARTS {
            recent
        } else {
            self.rate + (recent - self.rate) / 4
        };
    }

    /// What should be at hand: the use of two flushes.
    fn target(&self) -> u32 {
        self.rate / (PARTS / 2)
    }

    /// Tokens that can be used at once.
    pub(super) fn unused(&self, now: u64) -> u32 {
        self.leases.iter().fold(0, |sum, lease| sum.saturating_add(lease.usable(now)))
    }

    /// Takes `cost` from the older of the leases that have as much, and returns its generation. Until `spend` is called
    /// it is neither used nor unused.
    pub(super) fn take(&mut self, cost: u32, now: u64) -> Option<u64> {
        let fitting = self.leases.iter_mut().filter(|lease| lease.usable(now) >= cost);
        let lease = fitting.min_by_key(|lease| lease.generation)?;
        lease.unused -= cost;
        Some(lease.generation)
    }

    fn of(&mut self, generation: u64) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|lease| lease.generation == generation && lease.until > 0)
    }

    /// Returns true if what was taken of a generation may still be used.
    pub(super) fn holds(&mut self, generation: u64, now: u64) -> bool {
        self.of(generation).is_some_and(|lease| now < lease.until)
    }

    /// Uses what was taken. A lease that is gone was charged by the store when its time was over.
    pub(super) fn spend(&mut self, generation: u64, cost: u32) {
        if let Some(lease) = self.of(generation) {
            lease.used = lease.used.saturating_add(cost);
        }
    }

    /// Gives back what was taken and not used.
    pub(super) fn put_back(&mut self, generation: u64, cost: u32) {
        if let Some(lease) = self.of(generation) {
            lease.unused = lease.unused.saturating_add(cost);
        }
    }

    /// Notes what the store has leased: `wanted` was asked for. It may hold more of that generation, for takes.
    pub(super) fn add(&mut self, generation: u64, leased: u32, until: u64, wanted: u32) {
        self.plenty = leased >= wanted;
        for lease in &mut self.leases {
            if generation == 0 || lease.generation + 1 < generation {
                // The store does not hold it any more: it was emptied, or has written it off.
                lease.unused = 0;
            }
        }
        if generation == 0 {
            return;
        }
        if let Some(lease) = self.of(generation) {
            lease.unused = lease.unused.saturating_add(leased);
            lease.until = lease.until.max(until);
            return;
        }
        // What the older one still had, the store writes off.
        if let Some(lease) = self.leases.iter_mut().min_by_key(|lease| lease.generation) {
            *lease = Lease { generation, unused: leased, used: 0, until };
        }
    }

    /// Returns what was used of each generation, as reported to the store. What is written off is not reported.
    pub(super) fn report(&mut self, now: u64) -> Vec<LeaseReport> {
        let used = self.leases.iter_mut().filter_map(|lease| {
            let count = std::mem::take(&mut lease.used);
            (count > 0 && now < lease.until).then_some(LeaseReport { generation: lease.generation, count })
        });
        used.collect()
    }

    /// Takes a report back that has not reached the store.
    pub(super) fn unreport(&mut self, used: &[LeaseReport], returned: &[LeaseReport]) {
        for report in used {
            self.spend(report.generation, report.count);
        }
        for report in returned {
            self.put_back(report.generation, report.count);
        }
    }

    /// Returns what the store gets back of each generation: leases at the end of their time, what is more than twice of
    /// what is needed, and what is less than one request needs.
    pub(super) fn give_up(&mut self, now: u64) -> Vec<LeaseReport> {
        let mut returned = Vec::new();
        let (target, unused) = (self.target(), self.unused(now));
        let mut excess = match unused {
            _ if unused < self.cost => unused,
            _ if unused > target.saturating_mul(2) => unused - target,
            _ => 0,
        };
        for lease in &mut self.leases {
            let over = if lease.usable(now) == 0 { lease.unused } else { lease.unused.min(excess) };
            if over == 0 {
                continue;
            }
            excess = excess.saturating_sub(over);
            lease.unused -= over;
            if now < lease.until {
                returned.push(LeaseReport { generation: lease.generation, count: over });
            }
        }
        returned
    }

    /// Returns how much to lease now, if the store leases at most so much. What ends within `soon` does not count, so
    /// that the next lease is there in time.
    pub(super) fn wanted(&self, now: u64, soon: u64, most: u32) -> u32 {
        let wanted = self.target().saturating_sub(self.unused(now.saturating_add(soon)));
        if most < self.cost { 0 } else { wanted }
    }

    /// Returns true if the leases may be used up before the next flush.
    pub(super) fn is_low(&self, now: u64) -> bool {
        self.plenty && self.unused(now) < self.target() / 4
    }

    /// Returns true while there is something to tell the store, now or at a later flush.
    pub(super) fn is_live(&self) -> bool {
        self.recent > 0 || self.rate > 0 || self.leases.iter().any(|lease| lease.unused > 0 || lease.used > 0)
    }

    /// Needs nothing any more, and gives up what it has.
    pub(super) fn retire(&mut self) {
        (self.cost, self.recent, self.rate) = (u32::MAX, 0, 0);
    }

    /// Forgets all leases.
    pub(super) fn drop_leases(&mut self) {
        self.leases = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: u64 = 2_000_000_000;

    #[test]
    fn what_the_store_does_not_hold_any_more_is_not_used() {
        for (generation, unused) in [(0, 0), (9, 45), (10, 45), (11, 45), (12, 0)] {
            let mut lending = Lending::default();
            lending.add(10, 50, UNTIL, 50);
            assert_eq!(lending.take(5, 0), Some(10));
            lending.spend(10, 5);
            lending.add(generation, 0, UNTIL, 0);
            assert_eq!(lending.unused(0), unused, "{generation}");
            assert_eq!(lending.report(0), [LeaseReport { generation: 10, count: 5 }], "what was used is told");
        }
    }
}
