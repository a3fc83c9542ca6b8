//! Admission to a service with `max_in_flight`, and the queue for it.

use pylae_core::service::{Admission, AdmissionPermit, QueueTicket};
use pylae_core::trace::{StepKind, WaitedFor};
use pylae_core::{Exchange, Halt, Instant};

use crate::client::Client;
use crate::io::clock;
use crate::snapshot::Service;
use crate::telemetry::traces::{step_began, step_ended};

/// Acquires a permit of the service, or waits in its queue while the service is full. `deadline` is the exchange's.
/// A service without a bound costs one comparison.
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
            // Boxed, so that only exchanges that wait carry this future's size.
            let began = step_began(exchange);
            let admitted = Box::pin(wait(ticket, client, exchange)).await;
            step_ended(exchange, StepKind::Wait(WaitedFor::Place), began);
            admitted.map(Some)
        }
    }
}

/// Waits in the queue until the deadline that is set on `client`, or until the client disconnects.
async fn wait<'s>(
    mut ticket: QueueTicket<'s>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<AdmissionPermit<'s>, Halt> {
    let admitted = client.wait(exchange, |cx| ticket.poll_enter(cx)).await?;
    admitted.ok_or(Halt::Overloaded)
}
