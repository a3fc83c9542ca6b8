//! Stage: relays an instance's response to the client, body included.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::request::grpc;
use pylae_core::service::AttemptOutcome;
use pylae_core::{Exchange, Instant, Pace};
use pylae_http::Framing;

use crate::client::{After, Client};
use crate::flow::Flow;
use crate::flow::respond::can_keep_alive;
use crate::io::clock;
use crate::io::socket::Socket;
use crate::reply::Sent;
use crate::reply::head::{encode_head, framing_towards, stated_length};
use crate::snapshot::Route;
use crate::upstream::answer::{Forwarded, UpstreamResponse};
use crate::upstream::download::Download;
use crate::upstream::failure::RelayError;
use crate::upstream::upload::Upload;

/// Time limit for reading the rest of a body that was replaced. The client has its response already.
const REST_TIME: Duration = Duration::from_secs(1);

/// A response being relayed, and the rest of the request if the instance responded early.
struct Relay {
    connection: Socket,
    upload: Upload,
    download: Download,
    /// The deadline that the client of a gRPC call set.
    call_deadline: Option<Instant>,
    idle_timeout: Duration,
    /// When `idle_timeout` has passed without progress.
    idle_at: Instant,
    /// Whether the response is an event stream. Determined the first time the relay has to wait.
    event_stream: Option<bool>,
}

impl<'a> Flow<'a> {
    /// Sends an instance's response, body included.
    pub(super) async fn relay(&mut self, route: &Route, forwarded: Forwarded<'a>) -> Sent {
        let worker = self.worker;
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        let Forwarded { service, mut picked, response, permit: _permit } = forwarded;
        let UpstreamResponse { connection, upload, framing: from } = response;
        let to = framing_towards(exchange, from, client.socket.is_stream());
        let close = !upload.is_sent() || to == Framing::Close || !can_keep_alive(worker, client, exchange);
        let stated = stated_length(exchange, from);
        let plan = &self.snapshot.plan;
        let pace = Pace::new(plan.limits.min_rate, plan.limits.body_grace.0);
        let download = Download::new(&worker.buffers, exchange, &connection, (from, to, pace), |exchange, out| {
            encode_head(out, exchange, (stated, to), close, plan.via);
        });
        let (call_deadline, idle_timeout) = (exchange.deadline(), route.idle_timeout);
        let idle_at = clock::coarse().saturating_add(idle_timeout);
        let mut relay =
            Relay { connection, upload, download, call_deadline, idle_timeout, idle_at, event_stream: None };
        let deadline = Rc::clone(&client.deadline);
        deadline.set(relay.or_call_deadline(idle_at));
        let relayed = deadline.within(|cx| relay.poll(cx, client, exchange)).await;
        let late = relayed.is_none() && call_deadline.is_some_and(|call_deadline| call_deadline <= clock::now());
        let result = relayed.unwrap_or_else(|| Err(relay.timed_out_side(client, late)));
        // A call past its deadline says nothing about the instance: the client chose the deadline.
        if let Some(outcome) = final_outcome(exchange, result, relay.download.trailers()).filter(|_| !late) {
            let now = clock::now();
            worker.log_changes(picked.report(now, outcome, now.since(exchange.times.started)));
        }
        let notified = matches!(result, Err(RelayError::Instance | RelayError::Hook))
            && break_off_response(client, exchange, to, late);
        if result.is_ok() && relay.download.has_rest() && relay.upload.is_sent() {
            deadline.set(clock::coarse().saturating_add(REST_TIME));
            deadline.within(|cx| relay.download.poll_rest(cx, exchange, &mut relay.connection)).await;
        }
        let Relay { connection, upload, download, event_stream, .. } = relay;
        let persists = exchange.response.options.persists(exchange.response.head.version);
        // A connection that was asked to upgrade is not reused.
        if result.is_ok() && persists && !exchange.request.upgrades && upload.is_sent() && download.is_clean(exchange) {
            let (pool, plan) = (service.pools[picked.index], &service.plan);
            worker.pools.release(pool, connection, clock::coarse(), plan.idle_timeout.0, plan.max_idle);
        }
        download.finish(&worker.buffers);
        upload.finish(&worker.buffers);
        let after = match result {
            Ok(()) if close => After::Close,
            Ok(()) => After::Keep,
            Err(_) if notified => After::Close,
            Err(_) => After::Abort,
        };
        Sent { after, complete: result.is_ok(), timed: event_stream != Some(true) }
    }
}

impl Relay {
    /// Ready once everything is sent or one side has disconnected. Sets the deadline for whatever it waits for.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), RelayError>> {
        let before = self.progress();
        self.upload.poll_remaining(cx, client, exchange, &mut self.connection);
        let polled = self.download.poll(cx, client, exchange, &mut self.connection);
        if polled.is_pending() {
            if client.poll_disconnect(cx, exchange).is_ready() {
                return Poll::Ready(Err(RelayError::Client));
            }
            if self.progress() > before {
                self.idle_at = clock::coarse().saturating_add(self.idle_timeout);
            }
            // An event stream may be idle for any time.
            if *self.event_stream.get_or_insert_with(|| is_event_stream(client, exchange, &self.connection)) {
                self.idle_at = Instant::default().saturating_add(Duration::MAX);
            }
            // While the client is slow to read, the instance is not timed.
            let due = self.download.due(&client.socket, self.idle_timeout).unwrap_or(self.idle_at);
            client.deadline.set(self.or_call_deadline(due));
        }
        polled
    }

    /// A number that grows whenever bytes move in either direction.
    fn progress(&self) -> u64 {
        self.download.sent() + self.upload.progress()
    }

    /// The earlier of `due` and the deadline of the call.
    fn or_call_deadline(&self, due: Instant) -> Instant {
        self.call_deadline.map_or(due, |call_deadline| call_deadline.min(due))
    }

    /// Returns the side that caused the timeout. `late`: the call passed its deadline, which is not the client's fault.
    fn timed_out_side(&self, client: &mut Client, late: bool) -> RelayError {
        client.slow = !late && self.download.waits_for_client();
        if client.slow || (!late && self.upload.waits_for_client()) { RelayError::Client } else { RelayError::Instance }
    }
}

/// What the end of the response says about the instance, if it changes what the head said.
fn final_outcome(exchange: &mut Exchange, result: Result<(), RelayError>, trailers: &[u8]) -> Option<AttemptOutcome> {
    match result {
        Ok(()) if exchange.is_call() => {
            let status = grpc::read_status(trailers)?;
            exchange.end_call(status);
            let status = grpc::effective_call_status(exchange, status);
            (status >= 500).then_some(AttemptOutcome::Status(status))
        }
        Ok(()) | Err(RelayError::Client | RelayError::Hook) => None,
        Err(RelayError::Instance) => Some(AttemptOutcome::Reset),
    }
}

/// Returns true for an event stream, and enables TCP keep-alive on both sides, as they may be silent for any time.
fn is_event_stream(client: &Client, exchange: &Exchange, connection: &Socket) -> bool {
    let event_stream = exchange.response.is_event_stream();
    if event_stream {
        client.socket.enable_keepalive();
        connection.enable_keepalive();
    }
    event_stream
}

/// Ends a response that cannot be completed. Returns true if the client was sent gRPC trailers that say so.
fn break_off_response(client: &mut Client, exchange: &mut Exchange, to: Framing, late: bool) -> bool {
    if let Some(cache) = exchange.cache_mut() {
        cache.abort();
    }
    let (status, message) = if late {
        (grpc::DEADLINE_EXCEEDED, "the call took longer than its deadline")
    } else {
        (grpc::UNAVAILABLE, "the service broke off")
    };
    let notified = exchange.is_call() && client.socket.end_early(grpc::trailers(status, message).as_bytes());
    if notified {
        exchange.end_call(status);
    }
    if to == Framing::Close && !notified {
        client.socket.close_by_reset();
    }
    notified
}
