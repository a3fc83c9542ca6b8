//! Stage: the response out, whoever made it.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use pylae_core::cache::Stored;
use pylae_core::exchange::answer;
use pylae_core::request::grpc;
use pylae_core::service::Outcome;
use pylae_core::{Answer, Exchange, Halt, Instant, Pace, location};
use pylae_http::encode::{self, StatusLine};
use pylae_http::{Framing, Method, Name, Version};

use crate::client::{After, Client};
use crate::flow::cache_phase;
use crate::flow::tunnel::tunnel;
use crate::io::clock;
use crate::io::socket::Socket;
use crate::snapshot::{Route, Snapshot};
use crate::upstream::answer::Taken;
use crate::upstream::download::Download;
use crate::upstream::failure::Cut;
use crate::upstream::upload::Upload;
use crate::worker::Worker;

/// Time that an instance has for the rest of a body that was replaced; its client has the answer already.
const REST_TIME: Duration = Duration::from_secs(1);

/// What the exchange came to.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and a box would be an allocation per request"
)]
pub(crate) enum Reply<'s> {
    /// An instance's answer.
    Taken(Taken<'s>),
    /// The gateway's own.
    Own(Box<Answer>),
    /// A stored one.
    Stored(Stored),
    /// Nothing: nobody is left to be answered.
    Nobody,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) after: After,
    /// Whether the response reached the client completely.
    pub(crate) complete: bool,
    /// Whether its duration says how fast it was answered, and not how long its ends wanted to stay connected.
    pub(crate) timed: bool,
}

impl Reply<'_> {
    /// The one place where an early exit becomes a response. Sets the status that response policies and logs see.
    pub(crate) fn from_halt(halt: &Halt, exchange: &mut Exchange) -> Self {
        exchange.status = halt.status();
        exchange.code = Some(halt.code());
        match halt {
            Halt::ClientGone => Self::Nobody,
            _ => Self::own(answer::to_halt(halt, exchange, clock::wall()), exchange),
        }
    }

    /// The gateway's own answer. Its fields become edits, so that response policies see them like any other.
    pub(crate) fn own(answer: Answer, exchange: &mut Exchange) -> Self {
        exchange.status = answer.status;
        exchange.body_length = Some(answer.body.len() as u64);
        location::forget(exchange);
        exchange.clear_response();
        for (name, value) in &answer.headers {
            // Fields of an answer were validated where they were made; one that is refused all the same is left out.
            let _ = exchange.response_edits.append(name.as_bytes(), value);
        }
        Self::Own(Box::new(answer))
    }
}

/// Sends `reply`.
pub(crate) async fn respond(
    worker: &Worker,
    snapshot: &Snapshot,
    route: Option<&Route>,
    client: &mut Client,
    exchange: &mut Exchange,
    reply: Reply<'_>,
) -> Sent {
    if !matches!(reply, Reply::Nobody) && !client.finish_informing(&snapshot.plan.limits).await {
        if let Reply::Taken(taken) = reply {
            taken.let_go(worker, false);
        }
        return Sent { after: After::Abort, complete: false, timed: true };
    }
    // Cannot fail: an id is made of characters that may stand in a value.
    let _ = exchange.response_edits.set_known(Name::XRequestId, &exchange.id);
    match (reply, route) {
        // It is told by a reset of its stream (RFC 9113 section 8.1.1).
        _ if client.socket.refusal().is_some() => Sent { after: After::Abort, complete: false, timed: true },
        (Reply::Taken(taken), Some(route)) if exchange.status == 101 => {
            Box::pin(tunnel(worker, snapshot, route, client, exchange, taken)).await
        }
        (Reply::Taken(taken), Some(route)) => relay(worker, snapshot, route, client, exchange, taken).await,
        (Reply::Stored(stored), _) => cache_phase::stored(worker, snapshot, client, exchange, &stored).await,
        (Reply::Own(mut answer), _) => {
            change(exchange, &mut answer);
            own(worker, snapshot, client, exchange, &answer).await
        }
        _ => Sent { after: After::Abort, complete: false, timed: true },
    }
}

/// Sends the body of the gateway's own answer through the transforms.
fn change(exchange: &mut Exchange, answer: &mut Answer) {
    if !exchange.transforms.is_empty() {
        let mut body = Vec::new();
        exchange.transforms.push(&answer.body, true, &mut body);
        answer.body = body.into();
    }
}

/// Sends the gateway's own answer.
async fn own(
    worker: &Worker,
    snapshot: &Snapshot,
    client: &mut Client,
    exchange: &mut Exchange,
    answer: &Answer,
) -> Sent {
    client.skip(&worker.buffers, exchange).await;
    let close = !keeps(worker, client, exchange) || !client.body.is_drainable(exchange.max_body);
    if exchange.response_edits.get(b"Date").is_none() {
        let _ = exchange.response_edits.set_known(Name::Date, worker.date().as_bytes());
    }
    // A call that failed is told so by its head, which is all there is of the answer.
    let has_body = !matches!(answer.status, 204 | 304) && !is_failed_call(exchange);
    let length = answer.body.len() as u64;
    let framing =
        if has_body && exchange.head.method != Method::Head { Framing::Length(length) } else { Framing::None };
    let mut out = worker.buffers.small();
    encode_head(&mut out, exchange, (has_body.then_some(length), framing), close, snapshot.plan.via);
    if framing != Framing::None {
        out.extend_from_slice(&answer.body);
    }
    let complete = client.send(&snapshot.plan.limits, patience(snapshot, exchange), &out, &[]).await;
    worker.buffers.give_back(out);
    let drained = complete && !close && client.drain(&worker.buffers, exchange).await;
    let after = match (complete, drained) {
        (true, true) => After::Keep,
        (true, false) => After::Close,
        (false, _) => After::Abort,
    };
    Sent { after, complete, timed: true }
}

/// Longest time that a client may read nothing of an answer that is complete in memory.
pub(crate) fn patience(snapshot: &Snapshot, exchange: &Exchange) -> Duration {
    exchange.route.map_or(snapshot.plan.limits.keep_alive.0, |index| snapshot.routes[index].idle_timeout)
}

/// Sends an instance's answer, body included.
async fn relay(
    worker: &Worker,
    snapshot: &Snapshot,
    route: &Route,
    client: &mut Client,
    exchange: &mut Exchange,
    taken: Taken<'_>,
) -> Sent {
    let Taken { service, mut picked, answered, entered: _entered } = taken;
    let (mut connection, mut upload, from) = (answered.connection, answered.upload, answered.framing);
    let to = framing_towards(exchange, from, client.socket.is_stream());
    let close = !upload.is_sent() || to == Framing::Close || !keeps(worker, client, exchange);
    let stated = stated_length(exchange, from);
    let limits = &snapshot.plan.limits;
    let pace = Pace::new(limits.min_rate, limits.body_grace.0);
    let mut download = Download::new(&worker.buffers, exchange, &connection, (from, to, pace), |exchange, out| {
        encode_head(out, exchange, (stated, to), close, snapshot.plan.via);
    });
    let deadline = Rc::clone(&client.deadline);
    let last = exchange.deadline();
    let set = |due: Instant| deadline.set(last.map_or(due, |last| last.min(due)));
    let mut silence = clock::coarse().saturating_add(route.idle_timeout);
    set(silence);
    // Asked once the answer turns out not to come at once.
    let mut streams_events = None;
    let relayed = deadline
        .within(|cx| {
            let before = download.sent() + upload.moved();
            keep_sending(&mut upload, cx, client, exchange, &mut connection);
            let polled = download.poll(cx, client, exchange, &mut connection);
            if polled.is_pending() {
                connection.gather(cx);
                if client.poll_gone(cx, exchange).is_ready() {
                    return Poll::Ready(Err(Cut::Client));
                }
                if download.sent() + upload.moved() > before {
                    silence = clock::coarse().saturating_add(route.idle_timeout);
                }
                // Events come when they come.
                if *streams_events.get_or_insert_with(|| streams(client, exchange, &connection)) {
                    silence = Instant::default().saturating_add(Duration::MAX);
                }
                // While it is the client that is waited for, the instance is not asked for anything.
                set(download.due(&client.socket, route.idle_timeout).unwrap_or(silence));
            }
            polled
        })
        .await;
    let late = relayed.is_none() && last.is_some_and(|last| last <= clock::now());
    let client_is_slow = !late && (download.waits_for_client() || upload.waits_for_client());
    client.slow = relayed.is_none() && !late && download.waits_for_client();
    let result = relayed.unwrap_or(Err(if client_is_slow { Cut::Client } else { Cut::Instance }));
    // A call that took too long says nothing about the instance: its client alone decides how long that is.
    if let Some(outcome) = outcome(exchange, result, download.trailers()).filter(|_| !late) {
        let now = clock::now();
        worker.log_changes(picked.report(now, outcome, now.since(exchange.started)));
    }
    let told = matches!(result, Err(Cut::Instance | Cut::Hook)) && break_off(client, exchange, to, late);
    if result.is_ok() && download.has_rest() && upload.is_sent() {
        deadline.set(clock::coarse().saturating_add(REST_TIME));
        deadline.within(|cx| download.poll_rest(cx, exchange, &mut connection)).await;
    }
    let persists = exchange.response_options.persists(exchange.response.version);
    // What was asked to switch is not used again.
    if result.is_ok() && persists && !exchange.upgrades && upload.is_sent() && download.is_clean(exchange) {
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

/// What the end of an answer says about the instance, if that is anything else than its head has said.
fn outcome(exchange: &Exchange, result: Result<(), Cut>, trailers: &[u8]) -> Option<Outcome> {
    match result {
        Ok(()) if exchange.is_call() => {
            let status = grpc::judged(exchange, grpc::status_in(trailers)?);
            (status >= 500).then_some(Outcome::Status(status))
        }
        Ok(()) | Err(Cut::Client | Cut::Hook) => None,
        Err(Cut::Instance) => Some(Outcome::Reset),
    }
}

/// Whether the answer is a stream of events. Then its ends may be silent for as long as they are there.
fn streams(client: &Client, exchange: &Exchange, connection: &Socket) -> bool {
    let streams = exchange.is_event_stream();
    if streams {
        client.socket.probe();
        connection.probe();
    }
    streams
}

/// Breaks an answer off that cannot be completed. Whether the client was told so in words of gRPC.
fn break_off(client: &mut Client, exchange: &mut Exchange, to: Framing, late: bool) -> bool {
    exchange.cache.break_off();
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

/// Whether the gateway itself answers a call of gRPC with an error.
fn is_failed_call(exchange: &Exchange) -> bool {
    exchange.is_call() && exchange.code.is_some()
}

/// Whether the body changes on its way, so that nobody knows how long it will be.
fn is_changed(exchange: &Exchange) -> bool {
    !exchange.transforms.is_empty() || exchange.hooks.as_ref().is_some_and(|hooks| hooks.stream.is_some())
}

/// How the client is told where the body ends that an instance framed as `from`.
fn framing_towards(exchange: &Exchange, from: Framing, on_stream: bool) -> Framing {
    match (from, exchange.head.version) {
        // The client has it already; the body is for the cache alone.
        _ if exchange.cache.is_muted() => Framing::None,
        (Framing::Chunked | Framing::Close, _) if on_stream => Framing::Close,
        (Framing::Length(_), _) if on_stream && is_changed(exchange) => Framing::Close,
        (Framing::Chunked | Framing::Close, Version::Http10) => Framing::Close,
        (Framing::Close, Version::Http11) => Framing::Chunked,
        // Nobody knows how long it will be.
        (Framing::Length(_), Version::Http10) if is_changed(exchange) => Framing::Close,
        (Framing::Length(_), Version::Http11) if is_changed(exchange) => Framing::Chunked,
        (framing, _) => framing,
    }
}

/// Sends on a request that is answered before it was sent completely, as long as somebody takes it.
pub(crate) fn keep_sending(
    upload: &mut Upload,
    cx: &mut std::task::Context<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    connection: &mut crate::io::socket::Socket,
) {
    if !upload.is_sent()
        && !upload.is_abandoned()
        && let Poll::Ready(Err(_)) = upload.poll(cx, client, exchange, connection)
    {
        upload.abandon();
    }
}

/// Whether the client's connection may serve another request.
pub(crate) fn keeps(worker: &Worker, client: &Client, exchange: &Exchange) -> bool {
    exchange.options.persists(exchange.head.version) && !worker.draining.get() && !client.body.is_broken()
}

/// The Content-Length to state in an answer that has none of the body it speaks of (RFC 9110 section 8.6).
fn stated_length(exchange: &Exchange, from: Framing) -> Option<u64> {
    if from != Framing::None
        || is_changed(exchange)
        || !(exchange.head.method == Method::Head || exchange.response.status == 304)
    {
        return None;
    }
    let stated = exchange.response.fields.get(&exchange.response_buffer, Name::ContentLength)?;
    std::str::from_utf8(stated).ok()?.parse().ok()
}

/// Appends the head of the response as the client gets it; `via`: with a word about this gateway, if the response is an instance's.
pub(crate) fn encode_head(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    (stated_length, framing): (Option<u64>, Framing),
    close: bool,
    via: bool,
) {
    let line = StatusLine {
        // Policies and logs know how it failed; the call's own words for it stand in its fields.
        status: if is_failed_call(exchange) { 200 } else { exchange.status },
        reason: exchange.response.reason.of(&exchange.response_buffer),
        stated_length,
        close,
        keep_alive: !close && exchange.head.version == Version::Http10,
        upgrade: exchange.upgrades && matches!(exchange.status, 101 | 426),
        via: Some(exchange.response_via).filter(|_| via && exchange.is_relayed()),
    };
    encode::response(out, line, exchange.response_fields(), framing);
}
