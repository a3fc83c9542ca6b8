//! One attempt: gets a connection to an instance, sends the request and reads the response head.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::exchange::request::Request;
use pylae_core::exchange::response::Response;
use pylae_core::plan::Protocol;
use pylae_core::request::websocket;
use pylae_core::service::{AttemptOutcome, Picked};
use pylae_core::trace::ConnectionKind;
use pylae_core::{Exchange, Halt, Instant, Pace};
use pylae_http::Framing;
use pylae_http::body::framing;
use pylae_http::encode::Via;

use crate::client::Client;
use crate::io::clock;
use crate::io::socket::Socket;
use crate::pool::http2::ConnectionUse;
use crate::snapshot::{Route, Service, Snapshot};
use crate::telemetry::metrics::Block;
use crate::upstream::answer::UpstreamResponse;
use crate::upstream::connect;
use crate::upstream::failure::{Failure, Fault};
use crate::upstream::forwarded_head::ForwardedHead;
use crate::upstream::http2::{self, StreamTarget};
use crate::upstream::upload::{Upload, UploadError};
use crate::worker::Worker;

/// Most interim responses accepted before the final one, whether they are forwarded or not.
const MAX_INTERIM: u32 = 64;

/// The parameters of an attempt.
pub(crate) struct Attempt<'a, 's> {
    pub(crate) worker: &'a Worker,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) route: &'s Route,
    pub(crate) service: &'s Service,
    pub(crate) picked: &'a Picked<'s>,
    /// The deadline of the whole exchange.
    pub(crate) deadline: Option<Instant>,
    /// Where it notes over which connection the request goes.
    pub(crate) connection: &'a Cell<Option<ConnectionKind>>,
}

/// A wait for the instance.
#[derive(Clone, Copy)]
struct Wait {
    since: Instant,
    /// The configured timeout, regardless of the exchange's deadline.
    span: Duration,
}

impl Attempt<'_, '_> {
    /// Sends the request and reads the response head. If a pooled connection turns out to be dead and the request may
    /// be sent again, a new connection replaces it, once. This does not count as a retry.
    pub(crate) async fn run(&self, client: &mut Client, exchange: &mut Exchange) -> Result<UpstreamResponse, Failure> {
        if self.service.plan.protocol == Protocol::Http2 && !exchange.request.upgrades {
            // Boxed, so that the tasks of other exchanges do not carry this future's size.
            return Box::pin(self.run_shared(client, exchange)).await;
        }
        let series = self.series(exchange);
        let mut sent = false;
        // A WebSocket handshake is sent once only, so not over a pooled connection that may be about to close.
        if !exchange.request.upgrades
            && let Some(connection) = self.worker.pools.acquire(
                self.service.pools[self.picked.index],
                clock::coarse(),
                needs_fresh_connection(client, exchange),
            )
        {
            series.inspect(|block| block.reused.add(1));
            self.connection.set(Some(ConnectionKind::Kept));
            tracing::debug!(id = %exchange.request.id.escape_ascii(), "over a kept connection");
            match self.round_trip(client, exchange, connection).await {
                Err(failure) if failure.ended_before_response() => {
                    let resend = client.body.is_replayable() && (!failure.is_sent() || is_repeatable(exchange));
                    self.report_lost_connection(exchange, resend);
                    if !resend {
                        return Err(failure);
                    }
                    // Even if the new connection fails: the instance may have acted on what was sent over this one.
                    sent = failure.is_sent();
                }
                result => return result,
            }
        }
        let wait = self.start_wait(client, self.service.plan.connect_timeout.0);
        let connected = connect::connect(self.worker, self.service, self.picked.index, client, exchange).await;
        let connection = connected.map_err(|failure| self.attribute(failure, wait, exchange).after_sent(sent))?;
        series.inspect(|block| block.connected.add(1));
        self.connection.set(Some(ConnectionKind::New));
        self.round_trip(client, exchange, connection).await.map_err(|failure| failure.after_sent(sent))
    }

    /// Sends the request over a shared HTTP/2 connection. A dead connection that was idle is replaced like a pooled
    /// one. A request that the instance did not process (refused stream, GOAWAY) is sent again whatever its method.
    async fn run_shared(&self, client: &mut Client, exchange: &mut Exchange) -> Result<UpstreamResponse, Failure> {
        let target = StreamTarget { snapshot: self.snapshot, service: self.service, index: self.picked.index };
        let series = self.series(exchange);
        let (mut first, mut sent) = (true, false);
        loop {
            let wait = self.start_wait(client, self.service.plan.connect_timeout.0);
            let opened =
                http2::open_stream(self.worker, target, needs_fresh_connection(client, exchange), client, exchange)
                    .await;
            let opened = opened.map_err(|failure| self.attribute(failure, wait, exchange).after_sent(sent))?;
            let count = |block: &&Block| {
                if opened.usage == ConnectionUse::New { &block.connected } else { &block.reused }.add(1);
            };
            series.as_ref().inspect(|block| count(block));
            let is_new = opened.usage == ConnectionUse::New;
            self.connection.set(Some(if is_new { ConnectionKind::New } else { ConnectionKind::Shared }));
            match self.round_trip(client, exchange, opened.socket).await {
                Err(failure) if first && opened.usage != ConnectionUse::New && failure.ended_before_response() => {
                    let repeatable = opened.usage == ConnectionUse::Idle && is_repeatable(exchange);
                    let resend = client.body.is_replayable() && (!failure.is_sent() || repeatable);
                    // If nothing was sent, the instance only refused the stream.
                    if failure.is_sent() {
                        self.report_lost_connection(exchange, resend);
                    }
                    if !resend {
                        return Err(failure);
                    }
                    (first, sent) = (false, failure.is_sent());
                }
                result => return result.map_err(|failure| failure.after_sent(sent)),
            }
        }
    }

    /// Counts and logs a kept connection that ended during the request. `resend`: the request is sent again.
    fn report_lost_connection(&self, exchange: &Exchange, resend: bool) {
        self.series(exchange).inspect(|block| if resend { &block.replaced } else { &block.lost }.add(1));
        self.service.lost_connections.report(self.worker.log(), clock::coarse(), "kept_connection_lost", || {
            let (service, instance) = (&self.service.name, &self.service.plan.instances[self.picked.index].url);
            let what = if resend { "it is sent again" } else { "it may not be sent again, and has failed" };
            format!("a kept connection to {instance} of service {service} ended under a request: {what}")
        });
    }

    /// This worker's counters for the route and its service.
    fn series(&self, exchange: &Exchange) -> Option<&Block> {
        let series = match &self.route.split {
            None => self.route.series.as_ref(),
            Some(_) => self.route.series_for(Some(self.service), exchange),
        };
        series.map(|series| series.of(self.worker.index))
    }

    /// Sets the deadline to `span` from now, or to the exchange's deadline if that is earlier.
    fn start_wait(&self, client: &Client, span: Duration) -> Wait {
        let wait = Wait { since: clock::coarse(), span };
        client.deadline.set(self.due(wait));
        wait
    }

    /// When `wait` ends.
    fn due(&self, wait: Wait) -> Instant {
        let due = wait.since.saturating_add(wait.span);
        self.deadline.map_or(due, |deadline| deadline.min(due))
    }

    /// Turns a timeout into a cancellation if the instance was not given its configured time.
    fn attribute(&self, failure: Failure, wait: Wait, exchange: &Exchange) -> Failure {
        match failure {
            Failure::Instance(fault)
                if matches!(fault.outcome, AttemptOutcome::Timeout | AttemptOutcome::ConnectFailed)
                    && self.is_cut_short(wait, exchange) =>
            {
                Failure::Instance(Fault { outcome: AttemptOutcome::Cancelled, ..fault })
            }
            other => other,
        }
    }

    /// Returns true if the exchange's deadline ended `wait` and the instance is not to blame.
    ///
    /// A client that sets a short deadline, or that uses up the route's deadline by sending its body slowly, must not
    /// be able to eject instances. But an instance that had half of the route's deadline is too slow.
    fn is_cut_short(&self, wait: Wait, exchange: &Exchange) -> bool {
        let now = clock::now();
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return false;
        }
        let deadline = self.route.deadline.filter(|deadline| now.since(exchange.times.started) >= *deadline);
        now.since(wait.since) < deadline.map_or(wait.span, |deadline| wait.span.min(deadline) / 2)
    }

    /// Sends the request over `connection` and reads the response head.
    async fn round_trip(
        &self,
        client: &mut Client,
        exchange: &mut Exchange,
        connection: Socket,
    ) -> Result<UpstreamResponse, Failure> {
        let limits = &self.snapshot.plan.limits;
        if client.body.take_expects_continue() && !client.send_continue(limits).await {
            return Err(Failure::Halt(Halt::ClientGone));
        }
        // A gRPC stream may be silent for a while. `idle_timeout` bounds that.
        let min_rate = if exchange.is_call() { 0 } else { limits.min_rate };
        let pace = Pace::new(min_rate, limits.body_grace.0);
        let framing = if connection.is_stream() { Framing::Close } else { exchange.request.framing };
        let once = !connection.is_stream() && self.is_sent_once(exchange);
        let encode = |out: &mut Vec<u8>| self.encode(exchange, out);
        let upload = Upload::new(&self.worker.buffers, client, exchange, framing, pace, encode).sent_once(once);
        let deadline = Rc::clone(&client.deadline);
        let wait = self.start_wait(client, self.route.timeout);
        // Holds if this task ends before it is known.
        let sent_before = std::mem::replace(&mut exchange.sent, true);
        let mut progress = AttemptProgress { attempt: self, connection, upload, interim: 0, wait, immediate: true };
        let result = match deadline.within(|cx| progress.poll(cx, client, exchange)).await {
            Some(result) => result,
            // A client that sends too slowly is not the instance's fault.
            None if progress.upload.waits_for_client() => {
                client.body.mark_broken();
                Err(Failure::Halt(Halt::BodyTimeout))
            }
            None => {
                progress.connection.retire_connection();
                Err(self.attribute(progress.fault(AttemptOutcome::Timeout, exchange), progress.wait, exchange))
            }
        };
        exchange.sent = sent_before || progress.is_sent();
        let AttemptProgress { connection, upload, .. } = progress;
        match result {
            Ok(framing) => Ok(UpstreamResponse { connection, upload, framing }),
            Err(failure) => {
                upload.finish(&self.worker.buffers);
                Err(failure)
            }
        }
    }

    /// Returns true if nobody asks for the body once the instance may have acted on the request: it may not be sent
    /// again, and no copy goes to a mirror. An instance that speaks HTTP/2 can say that it has not acted on it.
    fn is_sent_once(&self, exchange: &Exchange) -> bool {
        let may_retry = self.route.retries > 0 && !self.route.retry_on.is_empty();
        !is_repeatable(exchange) && !may_retry && self.route.mirror.is_none()
    }

    fn encode(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        let host = self.service.host_for(self.picked.instance(), self.route.preserve_host, exchange);
        let head = ForwardedHead { service: self.service, host, framing: exchange.request.framing };
        head.encode(exchange, self.snapshot.plan.via, out);
    }
}

/// Returns true if the request is idempotent (RFC 9110 section 9.2.2).
fn is_repeatable(exchange: &Exchange) -> bool {
    exchange.request.head.method.is_idempotent()
}

/// Returns true if the request must not use a connection that may be about to close, because it cannot be resent.
fn needs_fresh_connection(client: &Client, exchange: &Exchange) -> bool {
    !is_repeatable(exchange) || !client.body.will_be_replayable()
}

/// The progress of one attempt over its connection.
struct AttemptProgress<'o, 'a, 's> {
    attempt: &'o Attempt<'a, 's>,
    connection: Socket,
    upload: Upload,
    interim: u32,
    /// The current wait: for progress of the request, then for the response head.
    wait: Wait,
    /// True until sending the request had to wait.
    immediate: bool,
}

impl AttemptProgress<'_, '_, '_> {
    /// Returns true if the instance may have acted on the request.
    fn is_sent(&self) -> bool {
        self.upload.is_started() && !self.connection.is_unprocessed()
    }

    fn fault(&self, outcome: AttemptOutcome, exchange: &Exchange) -> Failure {
        Failure::instance(outcome, self.is_sent(), self.interim > 0 || !exchange.response.buffer.is_empty())
    }

    /// Ready with the framing of the response body once its head is in `exchange`.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
    ) -> Poll<Result<Framing, Failure>> {
        if client.poll_interim(cx) == Poll::Ready(false) {
            return Poll::Ready(Err(Failure::Halt(Halt::ClientGone)));
        }
        if !self.upload.is_sent() && !self.upload.is_abandoned() {
            let before = self.upload.progress();
            match self.upload.poll(cx, client, exchange, &mut self.connection) {
                // A small request is sent in the first poll, whose deadline is set already.
                Poll::Ready(Ok(())) if self.immediate && self.upload.is_one_piece() => {}
                Poll::Ready(Ok(())) => self.wait = self.attempt.start_wait(client, self.attempt.route.timeout),
                Poll::Ready(Err(UploadError::Client(halt))) => return Poll::Ready(Err(Failure::Halt(halt))),
                // A response may still arrive.
                Poll::Ready(Err(UploadError::Instance)) => self.upload.abandon(),
                Poll::Pending => {
                    if self.immediate || self.upload.progress() != before {
                        self.wait = Wait { since: clock::coarse(), span: self.attempt.route.idle_timeout };
                        self.immediate = false;
                    }
                    let idle_at = self.attempt.due(self.wait);
                    client.deadline.set(self.upload.due().map_or(idle_at, |due| due.min(idle_at)));
                }
            }
        }
        if let Poll::Ready(result) = self.poll_head(cx, client, exchange) {
            return Poll::Ready(result);
        }
        if client.poll_disconnect(cx, exchange).is_ready() {
            return Poll::Ready(Err(Failure::Halt(Halt::ClientGone)));
        }
        Poll::Pending
    }

    /// Reads the head of the final response. Forwards interim responses where the client accepts them.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
    ) -> Poll<Result<Framing, Failure>> {
        let limits = &self.attempt.snapshot.head_limits;
        loop {
            if exchange.response.buffer.len() == exchange.response.buffer.capacity() {
                // Only large heads outgrow the small buffer. `parse` refuses heads above the limit.
                exchange.response.buffer.reserve_exact(limits.head);
            }
            match self.connection.poll_read(cx, &mut exchange.response.buffer, usize::MAX) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Err(self.fault(AttemptOutcome::Reset, exchange))),
                Poll::Pending => return Poll::Pending,
            }
            while !exchange.response.buffer.is_empty() {
                match exchange.response.head.parse(&exchange.response.buffer, limits) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => return Poll::Ready(Err(self.fault(AttemptOutcome::Reset, exchange))),
                }
                exchange.response.via = Via::of(exchange.response.head.version, self.connection.is_stream());
                if exchange.response.head.status >= 200
                    || (exchange.response.head.status == 101 && exchange.request.upgrades)
                {
                    let framing = read_framing(exchange);
                    return Poll::Ready(framing.ok_or_else(|| self.fault(AttemptOutcome::Reset, exchange)));
                }
                self.interim += 1;
                let Exchange {
                    response: Response { head: response, buffer: response_buffer, options: response_options, .. },
                    ..
                } = exchange;
                let options = response_options.read(&response.fields, response_buffer);
                // What follows an unrequested 101 is not HTTP.
                if options.is_err() || response.status == 101 || self.interim > MAX_INTERIM {
                    return Poll::Ready(Err(self.fault(AttemptOutcome::Reset, exchange)));
                }
                if !client.forward_interim(cx, exchange, self.attempt.snapshot.plan.via) {
                    return Poll::Ready(Err(Failure::Halt(Halt::ClientGone)));
                }
                exchange.response.buffer.drain(..exchange.response.head.len);
                exchange.response.head.clear();
                exchange.response.options.clear();
            }
        }
    }
}

/// Determines the framing of the response body, or None if the response is invalid.
fn read_framing(exchange: &mut Exchange) -> Option<Framing> {
    let Exchange {
        request: Request { head, .. },
        response:
            Response { head: response, buffer: response_buffer, options: response_options, status, body_length, .. },
        ..
    } = exchange;
    response_options.read(&response.fields, response_buffer).ok()?;
    *status = response.status;
    let switches = response.status == 101;
    let framing = framing::response(response, response_buffer, head.method).ok()?;
    *body_length = if let Framing::Length(length) = framing { Some(length) } else { None };
    (!switches || websocket::accepts(exchange)).then_some(framing)
}
