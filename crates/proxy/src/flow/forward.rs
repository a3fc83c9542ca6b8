//! Stage: picks an instance, sends it the request and reads the response head. Retries on another one where allowed.

use std::cell::Cell;
use std::task::Poll;
use std::time::Duration;

use pylae_core::cache;
use pylae_core::request::{forwarding, grpc};
use pylae_core::service::retry::{self, AttemptReport};
use pylae_core::service::{AdmissionPermit, AffinityKey, AttemptOutcome, PickInput, Picked, Tried, Unavailable};
use pylae_core::trace::{AttemptStep, ConnectionKind, StepKind, WaitedFor};
use pylae_core::{Exchange, Halt, Instant};
use pylae_http::{Framing, Name};
use pylae_policies::hooks::Hooked;
use pylae_policies::mirror::Mirror;
use tracing::debug;

use crate::client::Client;
use crate::client::{admission, token};
use crate::flow::Flow;
use crate::io::clock;
use crate::snapshot::{Route, RouteSplit, Service};
use crate::telemetry::traces::{step_began, step_ended};
use crate::upstream::answer::{Forwarded, UpstreamResponse};
use crate::upstream::attempt::Attempt;
use crate::upstream::failure::Failure;

impl<'a> Flow<'a> {
    /// Forwards the request. Its body is streamed from the client.
    pub(super) async fn forward(&mut self, route: &'a Route) -> Result<Forwarded<'a>, Halt> {
        let (worker, snapshot) = (self.worker, &**self.snapshot);
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        let service = route.target(&snapshot.services, exchange).ok_or_else(|| no_service(route))?;
        prepare(route, service, client, exchange)?;
        let deadline = exchange_deadline(route, exchange);
        let permit = admission::enter(service, deadline, client, exchange).await?;
        let AffinityKey { hash, sticky } = service.state.affinity_key(exchange);
        let mut tried = Tried::default();
        let mut number = 1;
        // If nothing happened since the head was read, its time will do: that saves a reading of the clock.
        let mut started =
            if route.chain.is_empty() && permit.is_none() { exchange.times.started } else { clock::now() };
        loop {
            token::await_issue(service, deadline, client, exchange).await?;
            let input = PickInput { now: started, hash, sticky, avoid: &tried, random: worker.random_u64() };
            let mut picked = service.state.pick(&input).map_err(|why| unavailable(&why))?;
            let connection = &Cell::new(None);
            let attempt = Attempt { worker, snapshot, route, service, picked: &picked, deadline, connection };
            exchange.attempts = number;
            exchange.instance = Some(picked.index);
            exchange.trace_context.begin_attempt(worker.random_u64());
            debug!(id = %exchange.request.id.escape_ascii(), number, service = %service.name,
                instance = picked.instance().url(), "attempt begun");
            let response = attempt.run(client, exchange).await;
            let now = clock::now();
            exchange.times.upstream += now.since(started);
            exchange.times.now = now;
            record_attempt(&response, connection.get(), (started, now), exchange);
            let (outcome, sent) = match &response {
                Ok(_) => (AttemptOutcome::Status(grpc::effective_status(exchange)), true),
                Err(Failure::Halt(halt)) => return Err(halt.clone()),
                Err(Failure::Instance(fault)) => (fault.outcome, fault.sent),
            };
            debug!(id = %exchange.request.id.escape_ascii(), ?outcome, sent, "attempt over");
            token::heed_refusal(service, outcome, exchange, now);
            worker.log_changes(picked.report(now, outcome, now.since(started)));
            let attempt = AttemptReport {
                outcome,
                number,
                retries: route.retries,
                // A WebSocket handshake is never retried.
                retry_on: if exchange.request.upgrades { &[] } else { &route.retry_on },
                idempotent: exchange.request.head.method.is_idempotent() && !exchange.request.upgrades,
                sent,
                replayable: client.body.is_replayable(),
                last: deadline,
            };
            let delay = match service.state.retry(&attempt, now, worker.random_u64()) {
                retry::RetryVerdict::Again(delay) => delay,
                retry::RetryVerdict::GiveUp(_) => {
                    let late = deadline.is_some_and(|deadline| now >= deadline);
                    let forwarded = conclude(response, service, picked, permit, late)?;
                    set_affinity_cookie(&forwarded, client, exchange);
                    route.chain.read_costs(exchange);
                    self.record_address(route, &forwarded);
                    return Ok(forwarded);
                }
            };
            if let Ok(response) = response {
                response.upload.finish(&worker.buffers);
            }
            exchange.clear_response();
            tried.insert(picked.index);
            drop(picked);
            number += 1;
            worker.stats.retries.add(1);
            debug!(id = %exchange.request.id.escape_ascii(), pause = ?delay, "attempt to be repeated");
            pause(client, exchange, now.saturating_add(delay)).await?;
            started = clock::now();
        }
    }
}

/// Adds the step of an attempt, if the exchange is recorded.
fn record_attempt(
    response: &Result<UpstreamResponse, Failure>,
    connection: Option<ConnectionKind>,
    (began, ended): (Instant, Instant),
    exchange: &mut Exchange,
) {
    let Some(instance) = exchange.instance.filter(|_| exchange.recorded) else { return };
    let outcome = match response {
        Ok(_) => Some(AttemptOutcome::Status(grpc::effective_status(exchange))),
        Err(Failure::Instance(fault)) => Some(fault.outcome),
        Err(Failure::Halt(_)) => None,
    };
    let step = AttemptStep { number: exchange.attempts, instance, connection, outcome };
    exchange.record_span(exchange.trace_context.attempt_id, StepKind::Attempt(step), began, ended);
}

/// Prepares what all attempts have in common: changes of a member, forwarding fields and the size of the replay buffer.
fn prepare(route: &Route, service: &Service, client: &mut Client, exchange: &mut Exchange) -> Result<(), Halt> {
    // Reject a declared length that is too large right away. The bytes are counted as they arrive as well.
    if matches!(exchange.request.framing, Framing::Length(length) if length > exchange.request.max_body) {
        return Err(Halt::BodyTooLarge(exchange.request.max_body));
    }
    if let Some(split) = &route.split {
        take_branch(route, split, service, exchange);
    }
    forwarding::add_fields(exchange, &client.info.peer_text, &mut client.scratch)
        .map_err(|_| Halt::Malformed("a forwarded field has a value that may not be sent"))?;
    if let Some(mirror) = route.chain.outlet::<Mirror>() {
        client.body.buffer_at_least(mirror.max_body());
    }
    Ok(())
}

/// The outcome of a request that goes nowhere: no member of the split takes it, or the route has no service.
fn no_service(route: &Route) -> Halt {
    if route.split.is_some() { Halt::Unavailable(Duration::ZERO) } else { Halt::NoService }
}

/// The earlier of the route's deadline and the one that the request itself states (`grpc-timeout`).
fn exchange_deadline(route: &Route, exchange: &Exchange) -> Option<Instant> {
    let deadline = route.deadline.map(|span| exchange.times.started.saturating_add(span));
    exchange.deadline().map(|wanted| deadline.map_or(wanted, |deadline| deadline.min(wanted))).or(deadline)
}

/// Prepares a request of a split for its service. What the chosen member has put into the cache's key does not hold for
/// another service that a hook has named.
fn take_branch(route: &Route, split: &RouteSplit, service: &Service, exchange: &mut Exchange) {
    if !split.has_chosen(service, exchange) {
        cache::forgo(exchange);
    }
    split.apply_changes(service, exchange);
    if route.chain.outlet().is_some_and(Hooked::reads_response_body) {
        // As before the hooks: they read what the service sends. Cannot fail: the value is a constant.
        let _ = exchange.request.edits.set_known(Name::AcceptEncoding, b"identity");
    }
}

/// Returns the result of the last attempt. `late`: the deadline of the exchange has passed.
fn conclude<'s>(
    response: Result<UpstreamResponse, Failure>,
    service: &'s Service,
    picked: Picked<'s>,
    permit: Option<AdmissionPermit<'s>>,
    late: bool,
) -> Result<Forwarded<'s>, Halt> {
    match response {
        Ok(response) => Ok(Forwarded { service, picked, response, permit }),
        Err(Failure::Halt(halt)) => Err(halt),
        Err(Failure::Instance(fault)) => Err(match fault.outcome {
            AttemptOutcome::ConnectFailed if !late => Halt::ConnectFailed,
            AttemptOutcome::ConnectFailed | AttemptOutcome::Timeout | AttemptOutcome::Cancelled => Halt::GatewayTimeout,
            AttemptOutcome::Shortage(what) => Halt::Shortage(what),
            _ => Halt::BadGateway,
        }),
    }
}

/// Sets the sticky cookie of a client that is now bound to another instance, unless the instance failed (5xx).
fn set_affinity_cookie(forwarded: &Forwarded<'_>, client: &mut Client, exchange: &mut Exchange) {
    if let (Some(id), ..500) = (forwarded.picked.sticky(), exchange.response.head.status) {
        client.scratch.clear();
        forwarded.service.state.write_cookie(id, exchange.request.origin.secure, &mut client.scratch);
        // Cannot fail: the name is a token and the gateway wrote the rest.
        let _ = exchange.response.edits.append(b"Set-Cookie", &client.scratch);
    }
}

fn unavailable(why: &Unavailable) -> Halt {
    match why {
        Unavailable::BreakerOpen { retry_after } => Halt::BreakerOpen(*retry_after),
        Unavailable::NoInstance | Unavailable::AllUnhealthy | Unavailable::AllDraining => {
            Halt::Unavailable(Duration::ZERO)
        }
    }
}

/// Waits until the next attempt may begin. Fails if the client disconnects.
async fn pause(client: &mut Client, exchange: &mut Exchange, until: Instant) -> Result<(), Halt> {
    client.deadline.set(until);
    let began = step_began(exchange);
    // The deadline ends the wait.
    let paused = client.wait(exchange, |_| Poll::<()>::Pending).await;
    step_ended(exchange, StepKind::Wait(WaitedFor::Pause), began);
    paused.map(|_| ())
}
