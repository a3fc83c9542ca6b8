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
    last: Option<Instant>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Option<AdmissionPermit<'s>>, Halt> {
    if service.plan.max_in_flight.is_none() {
        return Ok(None);
    }
    match service.state.admit() {
        Admission::Enter(entry) => Ok(Some(entry)),
        Admission::Full => Err(Halt::Overloaded),
        Admission::Wait(place) => {
            let until = clock::now().saturating_add(service.plan.queue.timeout.0);
            client.deadline.set(last.map_or(until, |last| last.min(until)));
            // Boxed: only an exchange that waits is to carry it.
            Box::pin(wait(place, client, exchange)).await.map(Some)
        }
    }
}

/// Waits in the queue up to the deadline that is set on `client`, and only as long as the client stays.
async fn wait<'s>(
    mut place: QueueTicket<'s>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<AdmissionPermit<'s>, Halt> {
    let entered = client.wait(exchange, |cx| place.poll_enter(cx)).await?;
    entered.ok_or(Halt::Overloaded)
}
