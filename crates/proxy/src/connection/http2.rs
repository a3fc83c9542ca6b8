//! HTTP/2 connections of clients: each stream is an exchange like any other, in a task of its own.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::Instant;
use pylae_core::plan::Limits;
use pylae_http::http2::connection::{Http2Connection, Http2Grants};
use tracing::debug;

use crate::client::Client;
use crate::connection::stream_tasks::StreamTasks;
use crate::flow::read_head::REST;
use crate::io::client_watch::ClientWatch;
use crate::io::clock;
use crate::io::h2_stream::driver::Http2Driver;
use crate::io::h2_stream::permit::StreamPermits;
use crate::io::h2_stream::shared::SharedHttp2;
use crate::io::h2_stream::stream::H2Stream;
use crate::worker::Worker;

/// Time that a connection has to close after the last GOAWAY.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The server half of a client's HTTP/2 connection.
struct ServerConnection<'a> {
    worker: Rc<Worker>,
    client: &'a mut Client,
    driver: Http2Driver,
    watch: Rc<ClientWatch>,
    tasks: Rc<StreamTasks>,
    permits: Rc<StreamPermits>,
    head_timeout: Duration,
    keep_alive: Duration,
    /// How long the connection may be idle.
    idle_timeout: Duration,
    /// When the last byte of the output was written.
    written_at: Instant,
    /// There is output that the client has still to take.
    has_output: bool,
    /// It holds memory for the next streams.
    is_warm: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Open streams are finished and no new one is accepted, since this moment.
    Closing(Instant),
    /// The client was sent a GOAWAY with an error, at this moment.
    Aborting(Instant),
}

/// Reads the first bytes of a connection, up to the deadline that is set on `client`. Returns true if they are the
/// preface of HTTP/2.
pub(crate) async fn starts_with_preface(client: &mut Client, buffer: &mut Vec<u8>) -> bool {
    // PRI is no method of HTTP/1 (RFC 9113 section 11.6).
    const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0\r\n";
    let Client { socket, deadline, .. } = client;
    let starts_with_preface = deadline.within(|cx| {
        while buffer.len() < PREFACE_LINE.len() && PREFACE_LINE.starts_with(buffer) {
            match socket.poll_read(cx, buffer, usize::MAX) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(buffer.starts_with(PREFACE_LINE))
    });
    starts_with_preface.await.unwrap_or(false)
}

/// Serves the connection of `client` until either side closes it. `ahead` are the bytes that were read already.
pub(crate) async fn serve(worker: Rc<Worker>, mut client: Client, ahead: Vec<u8>) {
    let snapshot = worker.snapshot();
    let limits = &snapshot.plan.limits;
    // Streams may be silent for any time.
    client.socket.enable_keepalive();
    let watch = ClientWatch::new(limits);
    let mut connection = Http2Connection::server(granted(limits));
    watch.receive(&mut connection, &ahead);
    drop(ahead);
    debug!(peer = %client.info.peer, "connection speaks HTTP/2");
    let deadline = Rc::clone(&client.deadline);
    let mut server = ServerConnection {
        worker: Rc::clone(&worker),
        client: &mut client,
        driver: Http2Driver::new(SharedHttp2::new(connection)),
        tasks: StreamTasks::new(&worker, &watch),
        watch,
        permits: StreamPermits::new(),
        head_timeout: limits.head_timeout.0,
        keep_alive: limits.keep_alive.0,
        idle_timeout: limits.head_timeout.0,
        written_at: clock::coarse(),
        has_output: false,
        is_warm: true,
        state: State::Open,
    };
    drop(snapshot);
    let lingers = loop {
        match deadline.within(|cx| server.poll(cx)).await {
            // A flood is not read to its end.
            Some(()) => break !server.is_aborting(),
            None if server.is_slow() => {
                server.client.slow = true;
                // So that the exchanges of its streams are logged as `client_too_slow`.
                server.permits.mark_aborted();
                break false;
            }
            // A client that was aborted gets no time to read the rest.
            None if server.has_timed_out() && server.is_aborting() => return,
            None if server.has_timed_out() => break false,
            None => server.handle_timeout(),
        }
    };
    drop(server);
    let snapshot = worker.snapshot();
    if lingers {
        // Frames may be on their way, for which the kernel would reset the connection.
        client.linger(&worker.buffers, &snapshot.plan.limits).await;
    } else {
        client.close(&snapshot.plan.limits).await;
    }
}

/// What a client may send.
fn granted(limits: &Limits) -> Http2Grants {
    Http2Grants {
        max_streams: limits.http2.max_streams,
        stream_window: limits.http2.stream_window,
        connection_window: limits.http2.connection_window,
        max_head: limits.max_head,
    }
}

impl Drop for ServerConnection<'_> {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

impl ServerConnection<'_> {
    /// Ready once the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.worker.draining.get() {
                self.shut_down();
            }
            let over = self.driver.poll(cx, &mut self.client.socket, Some(&self.watch));
            if std::mem::replace(&mut self.has_output, self.driver.has_output()) && !self.has_output {
                self.written_at = clock::coarse();
            }
            while let Some(key) = self.driver.next_opened() {
                self.idle_timeout = self.keep_alive;
                self.is_warm = true;
                let stream = H2Stream::inbound(Rc::clone(self.driver.shared()), key, self.permits.acquire());
                self.tasks.serve(stream, &self.client.info);
            }
            if over.is_ready() {
                return Poll::Ready(());
            }
            if self.watch.is_breached() && !self.is_aborting() {
                self.abort();
            } else if self.state == State::Open
                && self.is_idle()
                && self.worker.should_close_idle(&self.client.deadline)
            {
                self.shut_down();
            } else {
                self.client.deadline.set(self.next_deadline());
                return Poll::Pending;
            }
        }
    }

    fn is_aborting(&self) -> bool {
        matches!(self.state, State::Aborting(_))
    }

    /// Returns true if no stream is open, and what they have sent is written.
    fn is_idle(&self) -> bool {
        self.permits.in_use() == 0 && !self.has_output
    }

    fn idle_since(&self) -> Instant {
        self.permits.idle_since().max(self.written_at)
    }

    /// Finishes open streams and accepts no more: sends a GOAWAY that still admits requests in transit, then the last
    /// one.
    fn shut_down(&mut self) {
        if self.state == State::Open {
            self.state = State::Closing(clock::coarse());
            self.driver.shut_down();
        }
    }

    /// Cuts off a client that exceeded a limit.
    fn abort(&mut self) {
        self.state = State::Aborting(clock::coarse());
        self.driver.abort();
    }

    /// When the client counts as too slow in reading, or None while the kernel accepts all that is written for it.
    fn slow_deadline(&self) -> Option<Instant> {
        self.watch.slow_deadline(|| self.client.socket.unacknowledged())
    }

    fn is_slow(&self) -> bool {
        self.slow_deadline().is_some_and(|slow| slow <= clock::coarse())
    }

    /// When the next timeout fires.
    fn next_deadline(&self) -> Instant {
        let idle = match self.state {
            State::Aborting(since) => since.saturating_add(SHUTDOWN_TIMEOUT),
            State::Closing(since) if self.is_idle() => since.max(self.idle_since()).saturating_add(SHUTDOWN_TIMEOUT),
            State::Open if self.is_idle() => {
                let since = self.idle_since();
                since.saturating_add(if self.is_warm { REST.min(self.idle_timeout) } else { self.idle_timeout })
            }
            State::Open | State::Closing(_) => clock::coarse().saturating_add(self.idle_timeout.max(SHUTDOWN_TIMEOUT)),
        };
        let head = self.watch.head_since().map(|since| since.saturating_add(self.head_timeout));
        [head, self.slow_deadline()].into_iter().flatten().fold(idle, Instant::min)
    }

    /// Returns true if a closing connection has used up its time.
    fn has_timed_out(&self) -> bool {
        let due = self.next_deadline() <= clock::coarse();
        due && match self.state {
            State::Open => false,
            State::Closing(_) => self.is_idle(),
            State::Aborting(_) => true,
        }
    }

    /// Aborts on a head that took too long, and shuts an idle connection down.
    fn handle_timeout(&mut self) {
        let now = clock::coarse();
        if self.watch.head_since().is_some_and(|since| since.saturating_add(self.head_timeout) <= now) {
            self.abort();
        } else if self.is_idle() && self.idle_since().saturating_add(self.idle_timeout) <= now {
            self.shut_down();
        } else if self.is_idle() && std::mem::replace(&mut self.is_warm, false) {
            self.driver.rest();
            self.tasks.rest();
        }
        self.client.deadline.set(self.next_deadline());
    }
}
