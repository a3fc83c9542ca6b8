//! Accounts: what a token bucket needs besides its slot if its costs are settled.

use super::CounterShard;
use crate::limit::store::slot::{Clock, CounterSlot};
use crate::limit::token_bucket::{Account, Level};

impl CounterShard {
    /// Returns the level of a token bucket.
    pub(crate) fn level(&self, slot: CounterSlot) -> Level {
        Level { until: slot.until, early: slot.account().map_or(slot.used, |index| self.accounts[index].early) }
    }

    /// Returns what has come back to a key. One that was idle begins with what has come back to all keys.
    pub(crate) fn returned_to(&self, slot: CounterSlot, clock: Clock) -> u64 {
        let counted = slot.account().filter(|_| !slot.is_idle(clock));
        counted.map_or(self.returned, |index| self.accounts[index].returned)
    }

    pub(crate) fn count_returned(&mut self, more: u64) {
        self.returned = self.returned.saturating_add(more);
    }

    /// Gives `slot`, which is without an account, that of the slot `before`, or a new one.
    pub(crate) fn keep_account(&mut self, before: CounterSlot, mut slot: CounterSlot, account: Account) -> CounterSlot {
        let index = before.account().or_else(|| self.free_accounts.pop()).unwrap_or(self.accounts.len());
        match self.accounts.get_mut(index) {
            Some(place) => *place = account,
            None => self.accounts.push(account),
        }
        slot.set_account(index);
        slot
    }
}
