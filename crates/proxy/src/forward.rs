//! Stage: pick an instance, send it the request, take its answer's head; again, on another one, where that may be done.

use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::service::retry::{self, Attempt};
use pylae_core::service::{Outcome, PickInput, Picked, Tried, Unavailable};
use pylae_core::{Exchange, Halt, Instant, Pace, forwarding};
use pylae_http::encode::{self, FieldSource, RequestLine};
use pylae_http::{Framing, Method, Name, framing};

use crate::client::Client;
use crate::clock;
use crate::connect;
use crate::snapshot::{Route, Service, Snapshot};
use crate::socket::Socket;
use crate::upload::{Broken, Upload};
use crate::worker::Worker;

/// An instance's answer whose head lies in the exchange and whose body is still to be read.
pub(crate) struct Taken<'s> {
    pub(crate) service: &'s Service,
    pub(crate) picked: Picked<'s>,
    pub(crate) connection: Socket,
    pub(crate) upload: Upload,
    pub(crate) framing: Framing,
}

/// Why an attempt brought no answer.
enum Failure {
    /// It ends the exchange whatever the instance does.
    Halt(Halt),
    /// The instance's fault.
    Instance(Fault),
}

/// What an instance did wrong, and what had happened by then.
struct Fault {
    outcome: Outcome,
    halt: Halt,
    /// Whether any of the request was written.
    sent: bool,
    /// Whether a byte of an answer was read.
    answered: bool,
}

/// Forwards the request in `exchange`. Its body is read from `client` as it is sent.
pub(crate) async fn forward<'s>(
    worker: &Worker,
    snapshot: &'s Snapshot,
    route: &'s Route,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Taken<'s>, Halt> {
    let service = route.service.as_deref().ok_or(Halt::NoService)?;
    forwarding::announce(exchange, &mut client.scratch, worker.random())
        .map_err(|_| Halt::Malformed("a forwarded field has a value that may not be sent"))?;
    let last = route.deadline.map(|span| exchange.started.saturating_add(span));
    let mut tried = Tried::default();
    let mut number = 1;
    loop {
        let began = clock::now();
        let input = PickInput { now: began, hash: None, sticky: None, avoid: &tried, random: worker.random() as u64 };
        let mut picked = service.state.pick(&input).map_err(|why| unavailable(&why))?;
        let mut attempt = One { worker, snapshot, route, service, began, last };
        let failure = match attempt.run(client, exchange, &picked).await {
            Ok((connection, upload, framing)) => {
                let outcome = Outcome::Status(exchange.response.status);
                worker.log_changes(service, picked.report(clock::now(), outcome, clock::now().since(began)));
                if !attempt.may_repeat(client, exchange, (outcome, true), number).await {
                    return Ok(Taken { service, picked, connection, upload, framing });
                }
                upload.finish(&worker.buffers);
                exchange.response_buffer.clear();
                exchange.response.clear();
                None
            }
            Err(Failure::Halt(halt)) => return Err(halt),
            Err(Failure::Instance(fault)) => {
                worker.log_changes(service, picked.report(clock::now(), fault.outcome, clock::now().since(began)));
                Some(fault)
            }
        };
        if let Some(fault) = failure
            && !attempt.may_repeat(client, exchange, (fault.outcome, fault.sent), number).await
        {
            return Err(fault.halt);
        }
        tried.insert(picked.index);
        number += 1;
        worker.stats.retries.add(1);
    }
}

/// What one attempt is made with.
struct One<'s> {
    worker: &'s Worker,
    snapshot: &'s Snapshot,
    route: &'s Route,
    service: &'s Service,
    began: Instant,
    last: Option<Instant>,
}
