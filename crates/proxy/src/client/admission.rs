//! Entry to a service that bounds what is in flight to it, and the wait for it.

use pylae_core::service::{Admission, AdmissionPermit, QueueTicket};
use pylae_core::{Exchange, Halt, Instant};

use crate::client::Client;
use crate::io::clock;
use crate::snapshot::Service;

/// Enters the service, after a wait if it is full and its queue is not. `last`: when the exchange must have an answer.
/// A service without a bound costs a comparison.
#[inline]
pub(crate) async fn enter<'s>(
    service: &'s Service,
    deadline: Option<Instant>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Option<AdmissionPermit<'s>>, Halt> {
    if service.plan.max_in_flight.is_none() {
        return Ok(None);
    }
    match service.state.admit() {
        Admission::Enter(permit) => Ok(Some(permit)),
        Admission::Full => Err(Halt::Overloaded),
        Admission::Wait(ticket) => {
            let until = clock::now().saturating_add(service.plan.queue.timeout.0);
            client.deadline.set(deadline.map_or(until, |deadline| deadline.min(until)));
            // Boxed: only an exchange that waits is to carry it.
            Box::pin(wait(ticket, client, exchange)).await.map(Some)
        }
    }
}

/// Waits in the queue up to the deadline that is set on `client`, and only as long as the client stays.
async fn wait<'s>(
    mut ticket: QueueTicket<'s>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<AdmissionPermit<'s>, Halt> {
    let admitted = client.wait(exchange, |cx| ticket.poll_enter(cx)).await?;
    admitted.ok_or(Halt::Overloaded)
}
