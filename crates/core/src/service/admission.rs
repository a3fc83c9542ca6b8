//! Overload of one service: a bound on what is under way, with a short bounded queue in front. This counts; the waiting is
//! the caller's.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ServiceState;

const WAITING: u32 = 32;

/// What becomes of an exchange that wants to go to the service.
#[derive(Debug)]
pub enum Admission<'s> {
    /// It may go.
    Enter(Entry<'s>),
    /// It may wait for somebody's [`Entry`] to end.
    Wait(Place<'s>),
    /// Both the service and its queue are full.
    Full,
}

/// The right to be under way, until dropped. Whoever drops it or a [`Place`] must wake one who waits, if there is one by
/// [`ServiceState::waiting`].
#[derive(Debug)]
pub struct Entry<'s>(Option<&'s AtomicU64>);

/// A place in the queue, until dropped or exchanged for an [`Entry`].
#[derive(Debug)]
pub struct Place<'s> {
    service: &'s ServiceState,
    held: bool,
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> WAITING) as u32, word as u32)
}

fn pack(waiting: u32, inside: u32) -> u64 {
    (u64::from(waiting) << WAITING) | u64::from(inside)
}

impl ServiceState {
    /// Asks for an exchange to be under way. While others wait, it waits behind them.
    pub fn admit(&self) -> Admission<'_> {
        let Some(most) = self.max_in_flight else { return Admission::Enter(Entry(None)) };
        let entries = &self.shared.entries;
        let change = entries.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| match unpack(word) {
            (0, inside) if inside < most => Some(pack(0, inside + 1)),
            (waiting, inside) if waiting < self.queue => Some(pack(waiting + 1, inside)),
            _ => None,
        });
        match change.map(unpack) {
            Ok((0, inside)) if inside < most => Admission::Enter(Entry(Some(entries))),
            Ok(_) => Admission::Wait(Place { service: self, held: true }),
            Err(_) => Admission::Full,
        }
    }

    /// How many wait for an entry.
    pub fn waiting(&self) -> u32 {
        unpack(self.shared.entries.load(Ordering::Acquire)).0
    }

    /// How many entries are out; always 0 for a service without `max_in_flight`.
    pub fn entered(&self) -> u32 {
        unpack(self.shared.entries.load(Ordering::Acquire)).1
    }
}

impl<'s> Place<'s> {
    /// Enters if there is room by now; otherwise the place is kept.
    pub fn try_enter(mut self) -> Result<Entry<'s>, Self> {
        let most = self.service.max_in_flight.unwrap_or(u32::MAX);
        let entries = &self.service.shared.entries;
        let change = entries.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (waiting, inside) = unpack(word);
            (inside < most).then(|| pack(waiting - 1, inside + 1))
        });
        if change.is_err() {
            return Err(self);
        }
        self.held = false;
        Ok(Entry(Some(entries)))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.held {
            self.service.shared.entries.fetch_sub(1 << WAITING, Ordering::AcqRel);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(entries) = self.0 {
            entries.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests;
