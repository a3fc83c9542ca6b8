//! Overload protection of a service: a limit on exchanges in flight, with a short bounded queue in front. The queue is
//! first in, first out: a free slot goes to the exchange that has waited longest, and none that comes later can take
//! it.

pub(super) mod gate;

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use self::gate::unpack;
use super::ServiceState;

/// Decision about an exchange for the service.
#[derive(Debug)]
pub enum Admission<'s> {
    /// It is admitted.
    Enter(AdmissionPermit<'s>),
    /// It may wait in the queue until another [`AdmissionPermit`] ends.
    Wait(QueueTicket<'s>),
    /// The service and its queue are full.
    Full,
}

/// Permission for one exchange, until dropped; then the slot goes to the first in the queue.
#[derive(Debug)]
pub struct AdmissionPermit<'s>(Option<&'s ServiceState>);

/// A place in the queue, until dropped or turned into an [`AdmissionPermit`].
#[derive(Debug)]
pub struct QueueTicket<'s> {
    service: &'s ServiceState,
    ticket: u64,
    held: bool,
}

impl ServiceState {
    /// Asks to admit an exchange. If others wait, it waits after them.
    pub fn admit(&self) -> Admission<'_> {
        if self.max_in_flight.is_none() {
            return Admission::Enter(AdmissionPermit(None));
        }
        let (gate, limit) = (&self.shared.gate, self.max_inside());
        let try_enter = |waiting, inside| (waiting == 0 && inside < limit).then(|| (0, inside + 1));
        if gate.update(try_enter).is_some() {
            return Admission::Enter(AdmissionPermit(Some(self)));
        }
        let mut queue = gate.queue.lock();
        let try_wait = |waiting, inside| (waiting < self.queue).then(|| (waiting + 1, inside));
        match gate.update(|waiting, inside| try_enter(waiting, inside).or_else(|| try_wait(waiting, inside))) {
            None => return Admission::Full,
            Some((0, inside)) if inside < limit => return Admission::Enter(AdmissionPermit(Some(self))),
            Some(_) => {}
        }
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push_back((ticket, None));
        // A reload may have raised the limit while exchanges were waiting.
        let woken = gate.admit_waiting(&mut queue, limit);
        drop(queue);
        woken.into_iter().for_each(Waker::wake);
        Admission::Wait(QueueTicket { service: self, ticket, held: true })
    }

    /// Returns the number of exchanges in the queue.
    pub fn waiting(&self) -> u32 {
        unpack(self.shared.gate.counts.load(Ordering::Acquire)).0
    }

    /// Returns the number of exchanges in flight; always 0 for a service without `max_in_flight`.
    pub fn entered(&self) -> u32 {
        unpack(self.shared.gate.counts.load(Ordering::Acquire)).1
    }

    fn max_inside(&self) -> u32 {
        self.max_in_flight.unwrap_or(u32::MAX)
    }
}

impl<'s> QueueTicket<'s> {
    /// Ready once this exchange is admitted; then the ticket must be dropped.
    pub fn poll_enter(&mut self, cx: &Context<'_>) -> Poll<AdmissionPermit<'s>> {
        let mut queue = self.service.shared.gate.queue.lock();
        if let Ok(at) = queue.waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket) {
            queue.waiting[at].1 = Some(cx.waker().clone());
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
        let mut queue = gate.queue.lock();
        if let Ok(at) = queue.waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket) {
            queue.waiting.remove(at);
            gate.update(|waiting, inside| Some((waiting - 1, inside)));
        } else {
            // It was admitted but has not been polled since.
            drop(queue);
            gate.leave(self.service.max_inside());
        }
    }
}

impl Drop for AdmissionPermit<'_> {
    fn drop(&mut self) {
        if let Some(service) = self.0 {
            service.shared.gate.leave(service.max_inside());
        }
    }
}

#[cfg(test)]
mod tests;
