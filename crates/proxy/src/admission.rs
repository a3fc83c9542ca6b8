//! Entry to a service that bounds what is in flight to it, and the wait for it.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use pylae_core::service::{Admission, Entry, Place};
use pylae_core::{Exchange, Halt, Instant};

use crate::client::Client;
use crate::clock;
use crate::snapshot::Service;

/// The right to be in flight to a service, until dropped.
pub(crate) struct Entered<'s> {
    service: &'s Service,
    entry: Option<Entry<'s>>,
}

/// A place in the queue of a service, until dropped.
struct Waiting<'s> {
    service: &'s Service,
    place: Option<Place<'s>>,
}

/// Enters the service, after a wait if it is full and its queue is not. `last`: when the exchange must have an answer.
/// A service without a bound costs a comparison.
#[inline]
pub(crate) async fn enter<'s>(
    service: &'s Service,
    last: Option<Instant>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Option<Entered<'s>>, Halt> {
    if service.plan.max_in_flight.is_none() {
        return Ok(None);
    }
    match service.state.admit() {
        Admission::Enter(entry) => Ok(Some(Entered { service, entry: Some(entry) })),
        Admission::Full => Err(Halt::Overloaded),
        Admission::Wait(place) => {
            let until = clock::now().saturating_add(service.plan.queue.timeout.0);
            client.deadline.set(last.map_or(until, |last| last.min(until)));
            // Boxed: only an exchange that waits is to carry it.
            Box::pin(wait(Waiting { service, place: Some(place) }, client, exchange)).await.map(Some)
        }
    }
}

/// Waits in the queue up to the deadline that is set on `client`, and only as long as the client stays.
async fn wait<'s>(mut waiting: Waiting<'s>, client: &mut Client, exchange: &mut Exchange) -> Result<Entered<'s>, Halt> {
    let service = waiting.service;
    let deadline = Rc::clone(&client.deadline);
    loop {
        // Enabled before the look, so that no leaving is missed.
        let mut left = pin!(service.room.notified());
        left.as_mut().enable();
        if let Some(entered) = waiting.try_enter() {
            return Ok(entered);
        }
        let woken = deadline.within(|cx| match left.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => client.poll_gone(cx, exchange).map(|()| Err(Halt::ClientGone)),
        });
        woken.await.unwrap_or(Err(Halt::Overloaded))?;
    }
}

impl<'s> Waiting<'s> {
    fn try_enter(&mut self) -> Option<Entered<'s>> {
        match self.place.take()?.try_enter() {
            Ok(entry) => Some(Entered { service: self.service, entry: Some(entry) }),
            Err(place) => {
                self.place = Some(place);
                None
            }
        }
    }
}

/// Wakes one that waits for the service on whichever worker, if there is one.
fn wake(service: &Service) {
    if service.state.waiting() > 0 {
        service.room.notify_one();
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // First the room, then the call: who is woken must find it.
        drop(self.entry.take());
        wake(self.service);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            drop(place);
            wake(self.service);
        }
    }
}
