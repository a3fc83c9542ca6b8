//! Overload of one service: a bound on what is under way, with a short bounded queue in front. Who came first goes first: a
//! place that falls free is given to the one who has waited longest, and nobody who comes later can take it.

pub(super) mod gate;

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use self::gate::unpack;
use super::ServiceState;

/// What becomes of an exchange that wants to go to the service.
#[derive(Debug)]
pub enum Admission<'s> {
    /// It may go.
    Enter(AdmissionPermit<'s>),
    /// It may wait for somebody's [`AdmissionPermit`] to end.
    Wait(QueueTicket<'s>),
    /// Both the service and its queue are full.
    Full,
}

/// The right to be under way, until dropped; then it goes to the first who waits.
#[derive(Debug)]
pub struct AdmissionPermit<'s>(Option<&'s ServiceState>);

/// A place in the queue, until dropped or exchanged for an [`AdmissionPermit`].
#[derive(Debug)]
pub struct QueueTicket<'s> {
    service: &'s ServiceState,
    ticket: u64,
    held: bool,
}

impl ServiceState {
    /// Asks for an exchange to be under way. While others wait, it waits behind them.
    pub fn admit(&self) -> Admission<'_> {
        if self.max_in_flight.is_none() {
            return Admission::Enter(AdmissionPermit(None));
        }
        let (gate, most) = (&self.shared.gate, self.most());
        let enters = |waiting, inside| (waiting == 0 && inside < most).then(|| (0, inside + 1));
        if gate.shift(enters).is_some() {
            return Admission::Enter(AdmissionPermit(Some(self)));
        }
        let mut line = gate.line.lock();
        let waits = |waiting, inside| (waiting < self.queue).then(|| (waiting + 1, inside));
        match gate.shift(|waiting, inside| enters(waiting, inside).or_else(|| waits(waiting, inside))) {
            None => return Admission::Full,
            Some((0, inside)) if inside < most => return Admission::Enter(AdmissionPermit(Some(self))),
            Some(_) => {}
        }
        let ticket = line.next;
        line.next += 1;
        line.waiting.push_back((ticket, None));
        // There is room in spite of the queue where a reload has made it.
        let woken = gate.let_in(&mut line, most);
        drop(line);
        woken.into_iter().for_each(Waker::wake);
        Admission::Wait(QueueTicket { service: self, ticket, held: true })
    }

    /// How many wait for an entry.
    pub fn waiting(&self) -> u32 {
        unpack(self.shared.gate.counts.load(Ordering::Acquire)).0
    }

    /// How many entries are out; always 0 for a service without `max_in_flight`.
    pub fn entered(&self) -> u32 {
        unpack(self.shared.gate.counts.load(Ordering::Acquire)).1
    }

    fn most(&self) -> u32 {
        self.max_in_flight.unwrap_or(u32::MAX)
    }
}

impl<'s> QueueTicket<'s> {
    /// Ready once it is this one's turn. To be dropped then.
    pub fn poll_enter(&mut self, cx: &Context<'_>) -> Poll<AdmissionPermit<'s>> {
        let mut line = self.service.shared.gate.line.lock();
        if let Ok(at) = line.waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket) {
            line.waiting[at].1 = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.held = false;
        Poll::Ready(AdmissionPermit(Some(self.service)))
    }
}

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        let gate = &self.service.shared.gate;
        let mut line = gate.line.lock();
        if let Ok(at) = line.waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket) {
            line.waiting.remove(at);
            gate.shift(|waiting, inside| Some((waiting - 1, inside)));
        } else {
            // It was let in and does not know yet.
            drop(line);
            gate.leave(self.service.most());
        }
    }
}

impl Drop for AdmissionPermit<'_> {
    fn drop(&mut self) {
        if let Some(service) = self.0 {
            service.shared.gate.leave(service.most());
        }
    }
}

#[cfg(test)]
mod tests;
