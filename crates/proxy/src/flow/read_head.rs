//! Stage: reads a request head, complete and in time.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::request::{admit, grpc};
use pylae_core::{Exchange, Halt, Instant};
use tracing::debug;

use crate::client::Client;
use crate::flow::Flow;
use crate::flow::observe::watched;
use crate::io::clock;
use crate::io::deadline::Deadline;
use crate::io::socket::Socket;
use crate::io::unread::{ReadProgress, Unread};
use crate::snapshot::Snapshot;
use crate::worker::Worker;

/// How long a connection is idle before it gives back what only the next request needs.
pub(crate) const REST: Duration = Duration::from_secs(1);

/// What came of the wait for a request.
pub(crate) enum Waited {
    /// The client has sent something.
    Readable,
    /// Nothing for so long that it is likely to go on. It may until this moment.
    Long(Instant),
    /// The connection should be closed: the client disconnected, was idle for too long or does not read, or the gateway
    /// is draining or needs room.
    Over,
}

/// Waits until the client sends something, but not longer than until it has read its response and said nothing for
/// `REST`. `first`: it is to be the first request of the connection.
pub(crate) async fn wait_readable(worker: &Worker, client: &mut Client, first: bool) -> Waited {
    let snapshot = worker.snapshot();
    let limits = &snapshot.plan.limits;
    let patience = if first { limits.head_timeout.0 } else { limits.keep_alive.0 };
    let Client { socket, deadline, slow, .. } = client;
    let (mut idle_since, mut unread) = (clock::coarse(), Unread::new(limits));
    // A client that does not read its response is noticed before one that is merely idle.
    deadline.set(idle_since.saturating_add(patience.min(REST)));
    loop {
        if let Some(readable) = deadline.within(|cx| poll_readable(cx, worker, socket, deadline)).await {
            return if readable { Waited::Readable } else { Waited::Over };
        }
        let now = clock::coarse();
        match unread.check(socket, now) {
            ReadProgress::Over if now >= idle_since.saturating_add(patience) => return Waited::Over,
            ReadProgress::Over if now >= idle_since.saturating_add(REST) => {
                deadline.stay_idle();
                return Waited::Long(idle_since.saturating_add(patience));
            }
            ReadProgress::Over => deadline.set(idle_since.saturating_add(patience.min(REST))),
            ReadProgress::UnderWay(until) => {
                idle_since = now;
                deadline.set(until);
            }
            ReadProgress::TooSlow => {
                *slow = true;
                return Waited::Over;
            }
        }
    }
}

/// Waits on after [`Waited::Long`], at most until this moment. Returns false if the connection should be closed.
pub(crate) async fn wait_longer(worker: &Worker, client: &mut Client, until: Instant) -> bool {
    let Client { socket, deadline, .. } = client;
    deadline.set(until);
    deadline.within(|cx| poll_readable(cx, worker, socket, deadline)).await.unwrap_or(false)
}

/// Ready with true once there is something to read, and with false if the connection should be closed.
fn poll_readable(cx: &mut Context<'_>, worker: &Worker, socket: &mut Socket, deadline: &Deadline) -> Poll<bool> {
    match socket.poll_readable(cx) {
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
        // The runtime may not know yet of a request that has just come.
        Poll::Pending if worker.should_close_idle(deadline) => Poll::Ready(!socket.peek_open()),
        Poll::Pending => Poll::Pending,
    }
}

/// Reads what a new client has sent already into the buffer of `exchange`. Returns true if that is something: most have
/// sent their request by the time that their connection is served, and need not be waited for.
pub(crate) async fn read_at_once(client: &mut Client, exchange: &mut Exchange) -> bool {
    let buffer = &mut exchange.request.buffer;
    poll_fn(|cx| Poll::Ready(matches!(client.socket.poll_read(cx, buffer, usize::MAX), Poll::Ready(Ok(1..))))).await
}

impl Flow<'_> {
    /// Reads the next request head into the exchange and checks all that follows from the head alone. Returns None if
    /// the client disconnected before it sent anything.
    pub(super) async fn read_head(&mut self) -> Option<Result<(), Halt>> {
        let (worker, snapshot) = (self.worker, self.snapshot);
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        client.written = 0;
        client.interim = None;
        exchange.request.origin.peer = client.info.peer;
        admit::set_client_from_peer(exchange);
        exchange.request.origin.secure = client.info.secure;
        exchange.request.origin.on_stream = client.socket.is_stream();
        exchange.request.origin.certificate.clone_from(&client.info.certificate);
        exchange.request.max_body = snapshot.plan.limits.max_body;
        let parsed = if let Some(what) = client.socket.refusal() {
            Err(Halt::Malformed(what))
        } else if let Some(parsed) = poll_once(client, snapshot, exchange).await {
            parsed
        } else {
            client.deadline.set(clock::coarse().saturating_add(snapshot.plan.limits.head_timeout.0));
            let Client { socket, deadline, .. } = client;
            match deadline.within(|cx| poll_head(cx, socket, snapshot, exchange)).await {
                Some(Some(parsed)) => parsed,
                _ if exchange.request.buffer.is_empty() => return None,
                Some(None) => Err(Halt::ClientGone),
                None => Err(Halt::HeadTimeout),
            }
        };
        exchange.times.started = clock::now();
        exchange.times.now = exchange.times.started;
        exchange.times.wall = clock::wall();
        if parsed.is_err() {
            admit::assign_id(&mut exchange.request.id, None, worker.random());
        }
        let token = if parsed.is_ok() { watched::take_token(worker, exchange) } else { None };
        let admitted = parsed.and_then(|()| snapshot.admit(exchange, worker.random()));
        let admitted =
            if exchange.request.origin.on_stream { admitted.and_then(|()| grpc::detect(exchange)) } else { admitted };
        client.body.start(exchange, &client.socket);
        client.body.reserve(snapshot.reserved.as_ref());
        if admitted.is_err() {
            client.body.mark_broken();
        }
        match &admitted {
            Ok(()) => debug!(
                id = %exchange.request.id.escape_ascii(), peer = %client.info.peer,
                method = %exchange.request.head.method_span.of(&exchange.request.buffer).escape_ascii(),
                host = %exchange.request.host.escape_ascii(), path = %exchange.request.target.path.escape_ascii(),
                "request head read"
            ),
            Err(halt) => {
                debug!(
                    id = %exchange.request.id.escape_ascii(), peer = %client.info.peer, why = %halt.detail(),
                    "request head refused"
                );
            }
        }
        self.begin_trace();
        self.begin_watch(token);
        Some(admitted)
    }
}

/// Returns the head if it can be read at once. This is the common case and sets no deadline.
async fn poll_once(client: &mut Client, snapshot: &Snapshot, exchange: &mut Exchange) -> Option<Result<(), Halt>> {
    poll_fn(|cx| match poll_head(cx, &mut client.socket, snapshot, exchange) {
        Poll::Ready(Some(parsed)) => Poll::Ready(Some(parsed)),
        // Disconnected or incomplete: the caller reads again under a deadline.
        Poll::Ready(None) | Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Parses the buffered bytes and reads more until the head is complete. Ready with None if the client disconnected.
fn poll_head(
    cx: &mut Context<'_>,
    socket: &mut Socket,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
) -> Poll<Option<Result<(), Halt>>> {
    let limits = &snapshot.head_limits;
    loop {
        if !exchange.request.buffer.is_empty() {
            match exchange.request.head.parse(&exchange.request.buffer, limits) {
                Ok(true) => return Poll::Ready(Some(Ok(()))),
                Ok(false) => {}
                Err(error) => return Poll::Ready(Some(Err(Halt::Head(error)))),
            }
        }
        if exchange.request.buffer.len() == exchange.request.buffer.capacity() {
            // Only large heads outgrow the small buffer. `parse` refuses heads above the limit.
            exchange.request.buffer.reserve_exact(limits.head);
        }
        let first = exchange.request.buffer.is_empty();
        match socket.poll_read(cx, &mut exchange.request.buffer, usize::MAX) {
            Poll::Ready(Ok(n)) if n > 0 && first => socket.describe(&mut exchange.request.head),
            Poll::Ready(Ok(n)) if n > 0 => {}
            Poll::Ready(_) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        }
    }
}
