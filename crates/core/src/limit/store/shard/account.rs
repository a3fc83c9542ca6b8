//! Accounts of token buckets whose costs are settled, in a table beside the slots.

use super::CounterShard;
use crate::limit::store::slot::{Clock, CounterSlot, KeptAccount};
use crate::limit::token_bucket::{BucketAccount, Level};

impl CounterShard {
    /// Returns the level of a token bucket.
    pub(crate) fn level(&self, slot: CounterSlot) -> Level {
        Level { until: slot.until, early: slot.account().map_or(slot.used, |index| self.accounts[index].early) }
    }

    /// Returns the account of a slot. One that is idle gets a new one, and one that had none so far, which was charged
    /// true costs only.
    pub(crate) fn account(&mut self, slot: CounterSlot, clock: Clock) -> BucketAccount {
        match slot.account() {
            Some(index) if !slot.is_idle(clock) => self.accounts[index].account,
            _ => {
                self.account_number += 1;
                BucketAccount { number: self.account_number, paid: self.level(slot), open: 0 }
            }
        }
    }

    /// Gives the slot a level and an account. It is the one before, or the slot had none.
    pub(crate) fn keep_account(&mut self, slot: CounterSlot, level: Level, account: BucketAccount) -> CounterSlot {
        let index = slot.account().or_else(|| self.free_accounts.pop()).unwrap_or(self.accounts.len());
        let kept = KeptAccount { early: level.early, account };
        match self.accounts.get_mut(index) {
            Some(place) => *place = kept,
            None => self.accounts.push(kept),
        }
        let mut slot = slot.with_level(level);
        slot.set_account(index);
        slot
    }
}
