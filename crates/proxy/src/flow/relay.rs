//! Stage: an instance's answer on its way to the client, body included.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::request::grpc;
use pylae_core::service::AttemptOutcome;
use pylae_core::{Exchange, Instant, Pace};
use pylae_http::Framing;

use crate::client::{After, Client};
use crate::flow::Flow;
use crate::flow::respond::keeps;
use crate::io::clock;
use crate::io::socket::Socket;
use crate::reply::Sent;
use crate::reply::head::{encode_head, framing_towards, stated_length};
use crate::snapshot::Route;
use crate::upstream::answer::{Forwarded, UpstreamResponse};
use crate::upstream::download::Download;
use crate::upstream::failure::RelayError;
use crate::upstream::upload::Upload;

/// Time that an instance has for the rest of a body that was replaced; its client has the answer already.
const REST_TIME: Duration = Duration::from_secs(1);

/// An answer on its way, and the rest of the request, if the instance has answered early.
struct Relay {
    connection: Socket,
    upload: Upload,
    download: Download,
    /// When the client of a call wants it to be over.
    last: Option<Instant>,
    idle_timeout: Duration,
    /// When there has been silence for too long.
    silence: Instant,
    /// Whether it is a stream of events; asked once the answer turns out not to come at once.
    streams_events: Option<bool>,
}

impl<'a> Flow<'a> {
    /// Sends an instance's answer, body included.
    pub(super) async fn relay(&mut self, route: &Route, taken: Forwarded<'a>) -> Sent {
        let worker = self.worker;
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        let Forwarded { service, mut picked, answered, entered: _entered } = taken;
        let UpstreamResponse { connection, upload, framing: from } = answered;
        let to = framing_towards(exchange, from, client.socket.is_stream());
        let close = !upload.is_sent() || to == Framing::Close || !keeps(worker, client, exchange);
        let stated = stated_length(exchange, from);
        let plan = &self.snapshot.plan;
        let pace = Pace::new(plan.limits.min_rate, plan.limits.body_grace.0);
        let download = Download::new(&worker.buffers, exchange, &connection, (from, to, pace), |exchange, out| {
            encode_head(out, exchange, (stated, to), close, plan.via);
        });
        let (last, idle_timeout) = (exchange.deadline(), route.idle_timeout);
        let silence = clock::coarse().saturating_add(idle_timeout);
        let mut relay = Relay { connection, upload, download, last, idle_timeout, silence, streams_events: None };
        let deadline = Rc::clone(&client.deadline);
        deadline.set(relay.no_later(silence));
        let relayed = deadline.within(|cx| relay.poll(cx, client, exchange)).await;
        let late = relayed.is_none() && last.is_some_and(|last| last <= clock::now());
        let result = relayed.unwrap_or_else(|| Err(relay.who_is_slow(client, late)));
        // A call that took too long says nothing about the instance: its client alone decides how long that is.
        if let Some(outcome) = outcome(exchange, result, relay.download.trailers()).filter(|_| !late) {
            let now = clock::now();
            worker.log_changes(picked.report(now, outcome, now.since(exchange.times.started)));
        }
        let told =
            matches!(result, Err(RelayError::Instance | RelayError::Hook)) && break_off(client, exchange, to, late);
        if result.is_ok() && relay.download.has_rest() && relay.upload.is_sent() {
            deadline.set(clock::coarse().saturating_add(REST_TIME));
            deadline.within(|cx| relay.download.poll_rest(cx, exchange, &mut relay.connection)).await;
        }
        let Relay { connection, upload, download, streams_events, .. } = relay;
        let persists = exchange.response.options.persists(exchange.response.head.version);
        // What was asked to switch is not used again.
        if result.is_ok() && persists && !exchange.request.upgrades && upload.is_sent() && download.is_clean(exchange) {
            let (pool, plan) = (service.pools[picked.index], &service.plan);
            worker.pools.put(pool, connection, clock::coarse(), plan.idle_timeout.0, plan.max_idle);
        }
        download.finish(&worker.buffers);
        upload.finish(&worker.buffers);
        let after = match result {
            Ok(()) if close => After::Close,
            Ok(()) => After::Keep,
            Err(_) if told => After::Close,
            Err(_) => After::Abort,
        };
        Sent { after, complete: result.is_ok(), timed: streams_events != Some(true) }
    }
}

impl Relay {
    /// Ready once everything is sent, or one side has gone. Sets the deadline for what is awaited.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), RelayError>> {
        let before = self.moved();
        self.upload.poll_on(cx, client, exchange, &mut self.connection);
        let polled = self.download.poll(cx, client, exchange, &mut self.connection);
        if polled.is_pending() {
            self.connection.gather(cx);
            if client.poll_gone(cx, exchange).is_ready() {
                return Poll::Ready(Err(RelayError::Client));
            }
            if self.moved() > before {
                self.silence = clock::coarse().saturating_add(self.idle_timeout);
            }
            // Events come when they come.
            if *self.streams_events.get_or_insert_with(|| streams(client, exchange, &self.connection)) {
                self.silence = Instant::default().saturating_add(Duration::MAX);
            }
            // While it is the client that is waited for, the instance is not asked for anything.
            let due = self.download.due(&client.socket, self.idle_timeout).unwrap_or(self.silence);
            client.deadline.set(self.no_later(due));
        }
        polled
    }

    /// A number that grows whenever anything moves.
    fn moved(&self) -> u64 {
        self.download.sent() + self.upload.moved()
    }

    /// `due`, or when the client wants it to be over, if that comes first.
    fn no_later(&self, due: Instant) -> Instant {
        self.last.map_or(due, |last| last.min(due))
    }

    /// Whose silence the deadline has ended; `late`: the whole call took too long.
    fn who_is_slow(&self, client: &mut Client, late: bool) -> RelayError {
        client.slow = !late && self.download.waits_for_client();
        if client.slow || (!late && self.upload.waits_for_client()) { RelayError::Client } else { RelayError::Instance }
    }
}

/// What the end of an answer says about the instance, if that is anything else than its head has said.
fn outcome(exchange: &Exchange, result: Result<(), RelayError>, trailers: &[u8]) -> Option<AttemptOutcome> {
    match result {
        Ok(()) if exchange.is_call() => {
            let status = grpc::judged(exchange, grpc::status_in(trailers)?);
            (status >= 500).then_some(AttemptOutcome::Status(status))
        }
        Ok(()) | Err(RelayError::Client | RelayError::Hook) => None,
        Err(RelayError::Instance) => Some(AttemptOutcome::Reset),
    }
}

/// Whether the answer is a stream of events. Then its ends may be silent for as long as they are there.
fn streams(client: &Client, exchange: &Exchange, connection: &Socket) -> bool {
    let streams = exchange.response.is_event_stream();
    if streams {
        client.socket.probe();
        connection.probe();
    }
    streams
}

/// Breaks an answer off that cannot be completed. Whether the client was told so in words of gRPC.
fn break_off(client: &mut Client, exchange: &mut Exchange, to: Framing, late: bool) -> bool {
    if let Some(cache) = exchange.cache_mut() {
        cache.break_off();
    }
    let told = exchange.is_call() && client.socket.end_early(call_ended(late).as_bytes());
    if to == Framing::Close && !told {
        client.socket.close_by_reset();
    }
    told
}

/// What a call of gRPC is told whose answer cannot be completed.
fn call_ended(late: bool) -> String {
    if late {
        grpc::trailers(grpc::DEADLINE_EXCEEDED, "the call took longer than its deadline")
    } else {
        grpc::trailers(grpc::UNAVAILABLE, "the service broke off")
    }
}
