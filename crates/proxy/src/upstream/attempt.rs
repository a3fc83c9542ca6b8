//! One attempt: a connection to one instance, the request over it, the head of the answer.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::exchange::request::Request;
use pylae_core::exchange::response::Response;
use pylae_core::plan::Protocol;
use pylae_core::request::{forwarding, websocket};
use pylae_core::service::{AttemptOutcome, Picked};
use pylae_core::{Exchange, Halt, Instant, Pace};
use pylae_http::Framing;
use pylae_http::body::framing;
use pylae_http::encode::{self, RequestLine, Via};

use crate::client::Client;
use crate::io::clock;
use crate::io::socket::Socket;
use crate::pool::http2::ConnectionUse;
use crate::snapshot::{Route, Service, Snapshot};
use crate::telemetry::metrics::Block;
use crate::upstream::answer::UpstreamResponse;
use crate::upstream::connect;
use crate::upstream::failure::{Failure, Fault};
use crate::upstream::http2::{self, StreamTarget};
use crate::upstream::upload::{Upload, UploadError};
use crate::worker::Worker;

/// Interim answers that an instance may send before the final one, whether or not they go on to the client.
const MAX_INTERIM: u32 = 64;

/// What one attempt is made with.
pub(crate) struct Attempt<'a, 's> {
    pub(crate) worker: &'a Worker,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) route: &'s Route,
    pub(crate) service: &'s Service,
    pub(crate) picked: &'a Picked<'s>,
    /// When the exchange as a whole must have an answer.
    pub(crate) deadline: Option<Instant>,
}

/// Something that an instance has to do in time.
#[derive(Clone, Copy)]
struct Wait {
    since: Instant,
    /// How long it may take by the configuration, whatever is left to the exchange.
    span: Duration,
}

impl Attempt<'_, '_> {
    /// Sends the request and takes the head of the answer. A kept connection that proves dead is replaced by a new one, once,
    /// without further ado, if the request may be sent again.
    pub(crate) async fn run(&self, client: &mut Client, exchange: &mut Exchange) -> Result<UpstreamResponse, Failure> {
        if self.service.plan.protocol == Protocol::Http2 && !exchange.request.upgrades {
            // Boxed: the tasks of other exchanges are not to carry it.
            return Box::pin(self.run_shared(client, exchange)).await;
        }
        let series = self.series();
        let mut sent = false;
        // A handshake goes out once: not over a connection that may be about to close.
        if !exchange.request.upgrades
            && let Some(connection) = self.worker.pools.acquire(
                self.service.pools[self.picked.index],
                clock::coarse(),
                needs_fresh_connection(client, exchange),
            )
        {
            series.inspect(|block| block.reused.add(1));
            tracing::debug!(id = %exchange.request.id.escape_ascii(), "over a kept connection");
            match self.round_trip(client, exchange, connection).await {
                Err(failure) if failure.ended_before_response() => {
                    let resend = client.body.is_replayable() && (!failure.is_sent() || is_repeatable(exchange));
                    self.report_lost_connection(resend);
                    if !resend {
                        return Err(failure);
                    }
                    // Whatever becomes of the new connection, the instance may have acted on what went over this one.
                    sent = failure.is_sent();
                }
                result => return result,
            }
        }
        let wait = self.start_wait(client, self.service.plan.connect_timeout.0);
        let connected = connect::connect(self.worker, self.service, self.picked.index, client, exchange).await;
        let connection = connected.map_err(|failure| self.attribute(failure, wait, exchange).after_sent(sent))?;
        series.inspect(|block| block.connected.add(1));
        self.round_trip(client, exchange, connection).await.map_err(|failure| failure.after_sent(sent))
    }

    /// The same over a connection that is shared. One that nothing was under way on is replaced as a kept one is; a request that the
    /// instance says that it has not looked at is sent again whatever it is.
    async fn run_shared(&self, client: &mut Client, exchange: &mut Exchange) -> Result<UpstreamResponse, Failure> {
        let connections = &self.worker.shared_connections;
        let target = StreamTarget { snapshot: self.snapshot, service: self.service, index: self.picked.index };
        let series = self.series();
        let (mut first, mut sent) = (true, false);
        loop {
            let wait = self.start_wait(client, self.service.plan.connect_timeout.0);
            let opened =
                http2::open_stream(connections, target, needs_fresh_connection(client, exchange), client, exchange)
                    .await;
            let opened = opened.map_err(|failure| self.attribute(failure, wait, exchange).after_sent(sent))?;
            let count = |block: &&Block| {
                if opened.usage == ConnectionUse::New { &block.connected } else { &block.reused }.add(1)
            };
            series.as_ref().inspect(|block| count(block));
            match self.round_trip(client, exchange, opened.socket).await {
                Err(failure) if first && opened.usage != ConnectionUse::New && failure.ended_before_response() => {
                    let repeatable = opened.usage == ConnectionUse::Idle && is_repeatable(exchange);
                    let resend = client.body.is_replayable() && (!failure.is_sent() || repeatable);
                    // Otherwise the instance has only refused the stream.
                    if failure.is_sent() {
                        self.report_lost_connection(resend);
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

    /// Counts a kept connection that ended under the request, and says so in the log; `again`: the request is sent once more.
    fn report_lost_connection(&self, resend: bool) {
        self.series().inspect(|block| if resend { &block.replaced } else { &block.lost }.add(1));
        self.service.lost_connections.report(self.worker.log(), clock::coarse(), "kept_connection_lost", || {
            let (service, instance) = (&self.service.name, &self.service.plan.instances[self.picked.index].url);
            let what = if resend { "it is sent again" } else { "it may not be sent again, and has failed" };
            format!("a kept connection to {instance} of service {service} ended under a request: {what}")
        });
    }

    /// What this worker counts for the route and the service.
    fn series(&self) -> Option<&Block> {
        self.route.series.as_ref().map(|series| series.of(self.worker.index))
    }

    /// Sets the deadline: `span` from now, or when the exchange must have an answer, whichever comes first.
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

    /// `failure`, which ended `wait`, as what it says about the instance: nothing, if that was not given its time.
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

    /// Whether `wait` was ended by the time that is left to the exchange, and the instance is not to blame for that.
    ///
    /// A client that wants an answer sooner than the configuration asks for, or that spends the route's deadline on its own
    /// body, must not be able to take instances out. But an instance that has had half of what the route can give is too slow.
    fn is_cut_short(&self, wait: Wait, exchange: &Exchange) -> bool {
        let now = clock::now();
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return false;
        }
        let deadline = self.route.deadline.filter(|deadline| now.since(exchange.times.started) >= *deadline);
        now.since(wait.since) < deadline.map_or(wait.span, |deadline| wait.span.min(deadline) / 2)
    }

    /// Sends the request over `connection` and takes the head of the answer.
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
        // A call may have nothing to say for a while; `idle_timeout` bounds that.
        let min_rate = if exchange.is_call() { 0 } else { limits.min_rate };
        let pace = Pace::new(min_rate, limits.body_grace.0);
        let framing = if connection.is_stream() { Framing::Close } else { exchange.request.framing };
        let upload =
            Upload::new(&self.worker.buffers, client, exchange, (framing, pace), |out| self.encode(exchange, out));
        let deadline = Rc::clone(&client.deadline);
        let wait = self.start_wait(client, self.route.timeout);
        let mut progress = AttemptProgress { attempt: self, connection, upload, interim: 0, wait, immediate: true };
        let result = match deadline.within(|cx| progress.poll(cx, client, exchange)).await {
            Some(result) => result,
            // Whom was it waiting for? A client that sends too slowly is not the instance's fault.
            None if progress.upload.waits_for_client() => {
                client.body.mark_broken();
                Err(Failure::Halt(Halt::BodyTimeout))
            }
            None => {
                progress.connection.retire_connection();
                Err(self.attribute(progress.fault(AttemptOutcome::Timeout, exchange), progress.wait, exchange))
            }
        };
        let AttemptProgress { connection, upload, .. } = progress;
        match result {
            Ok(framing) => Ok(UpstreamResponse { connection, upload, framing }),
            Err(failure) => {
                upload.finish(&self.worker.buffers);
                Err(failure)
            }
        }
    }

    fn encode(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        let host = self.service.host_for(self.picked.instance(), self.route.preserve_host, exchange);
        encode(exchange, host, exchange.request.framing, self.snapshot.plan.via, out);
    }
}

/// Whether doing the request twice is like doing it once (RFC 9110 section 9.2.2).
fn is_repeatable(exchange: &Exchange) -> bool {
    exchange.request.head.method.is_idempotent()
}

/// Whether the request must not go over a connection that is about to end, because it may not, or cannot, be sent again.
fn needs_fresh_connection(client: &Client, exchange: &Exchange) -> bool {
    !is_repeatable(exchange) || !client.body.will_be_replayable()
}

/// Appends the head of the request as an instance gets it; `via`: with a word about this gateway.
pub(crate) fn encode(exchange: &Exchange, host: &[u8], framing: Framing, via: bool, out: &mut Vec<u8>) {
    let path = if exchange.request.forward_path.is_empty() {
        &exchange.request.target.path
    } else {
        &exchange.request.forward_path
    };
    let line = RequestLine {
        method: exchange.request.head.method_span.of(&exchange.request.buffer),
        path,
        query: exchange.request.sent_query(),
        host,
        upgrade: exchange.request.upgrades,
        via: via.then(|| Via::of(exchange.request.head.version, exchange.request.origin.on_stream)),
    };
    encode::request(out, line, exchange.request.fields(forwarding::dropped(exchange)), framing);
}

/// A request on its way and its answer.
struct AttemptProgress<'o, 'a, 's> {
    attempt: &'o Attempt<'a, 's>,
    connection: Socket,
    upload: Upload,
    interim: u32,
    /// What is awaited: that the request moves on, then the head of the answer.
    wait: Wait,
    /// Whether the request is sent at once, as far as is known.
    immediate: bool,
}

impl AttemptProgress<'_, '_, '_> {
    fn fault(&self, outcome: AttemptOutcome, exchange: &Exchange) -> Failure {
        let sent = self.upload.is_started() && !self.connection.is_unprocessed();
        Failure::instance(outcome, sent, self.interim > 0 || !exchange.response.buffer.is_empty())
    }

    /// Ready with the framing of the answer once its head lies in `exchange`.
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
                // Small requests are sent in the first poll, under the deadline set before it.
                Poll::Ready(Ok(())) if self.immediate => {}
                Poll::Ready(Ok(())) => self.wait = self.attempt.start_wait(client, self.attempt.route.timeout),
                Poll::Ready(Err(UploadError::Client(halt))) => return Poll::Ready(Err(Failure::Halt(halt))),
                // An answer may come all the same.
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

    /// Reads the head of the final answer; interim ones are passed on, as far as they concern the client.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
    ) -> Poll<Result<Framing, Failure>> {
        let limits = &self.attempt.snapshot.head_limits;
        loop {
            if exchange.response.buffer.len() == exchange.response.buffer.capacity() {
                // Only heads need more than a small buffer; `parse` refuses those beyond the limit.
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
                // Behind a 101 that nobody asked for comes what is not HTTP.
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

/// The framing of a complete answer; none when the answer is not one that HTTP knows.
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
