//! HTTP/2 connections of clients: each stream is an exchange like any other, in a task of its own.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use pylae_core::Instant;
use pylae_core::plan::Limits;
use tracing::debug;

use crate::client::{After, Client};
use crate::flow;
use crate::io::clock;
use crate::io::deadline::Deadline;
use crate::io::h2_stream::heads;
use crate::io::h2_stream::permit::StreamPermits;
use crate::io::h2_stream::stream::H2Stream;
use crate::io::socket::Socket;
use crate::io::wire::{ClientWatch, HELD_FRAMES, SEND_BUFFER, Wire};
use crate::worker::Worker;

/// Time that a connection has to close after the last GOAWAY.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

type AcceptedStream = (Request<RecvStream>, SendResponse<Bytes>);

/// The server half of a client's HTTP/2 connection.
struct ServerConnection {
    worker: Rc<Worker>,
    connection: Connection<Wire, Bytes>,
    socket: WatchedSocket,
    watch: Rc<ClientWatch>,
    permits: Rc<StreamPermits>,
    deadline: Rc<Deadline>,
    head_timeout: Duration,
    /// How long the connection may have no stream.
    idle_timeout: Duration,
    state: State,
}

/// A second handle to the connection's socket, to inspect it.
struct WatchedSocket(Rc<RefCell<Socket>>);

impl WatchedSocket {
    /// Takes the socket away from the connection.
    fn take(&self) -> Socket {
        self.0.replace(Socket::Null)
    }
}

impl Drop for WatchedSocket {
    /// Runs when the connection's task is dropped midway.
    fn drop(&mut self) {
        self.0.borrow().reset_if_unread();
    }
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
    let watch = ClientWatch::new(limits);
    // Streams may be silent for any time.
    client.socket.enable_keepalive();
    let socket = Rc::new(RefCell::new(std::mem::replace(&mut client.socket, Socket::Null)));
    let watched = WatchedSocket(Rc::clone(&socket));
    let mut handshake = builder(limits).handshake(Wire::of_client(socket, ahead, Rc::clone(&watch)));
    client.deadline.set(clock::coarse().saturating_add(limits.head_timeout.0));
    let Some(Ok(connection)) = client.deadline.within(|cx| Pin::new(&mut handshake).poll(cx)).await else { return };
    debug!(peer = %client.info.peer, "connection speaks HTTP/2");
    let mut server = ServerConnection {
        worker: Rc::clone(&worker),
        connection,
        socket: watched,
        watch,
        permits: StreamPermits::new(),
        deadline: Rc::clone(&client.deadline),
        head_timeout: limits.head_timeout.0,
        idle_timeout: limits.head_timeout.0,
        state: State::Open,
    };
    let keep_alive = limits.keep_alive.0;
    drop(snapshot);
    loop {
        let deadline = Rc::clone(&server.deadline);
        match deadline.within(|cx| server.poll(cx)).await {
            Some(Some((request, respond))) => {
                server.idle_timeout = keep_alive;
                server.spawn_exchange(request, respond, &client);
            }
            Some(None) => break,
            None if server.is_slow() => {
                client.slow = true;
                // So that the exchanges of its streams are logged as `client_too_slow`.
                server.permits.mark_aborted();
                break;
            }
            // A client that was aborted gets no time to read the rest.
            None if server.has_timed_out() && server.is_aborting() => return,
            None if server.has_timed_out() => break,
            None => server.handle_timeout(),
        }
    }
    client.socket = server.socket.take();
    drop(server);
    client.close(&worker.snapshot().plan.limits).await;
}

fn builder(limits: &Limits) -> server::Builder {
    let http2 = &limits.http2;
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(http2.max_streams)
        .enable_connect_protocol()
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .initial_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(HELD_FRAMES)
        .max_pending_accept_reset_streams(http2.max_resets as usize)
        .max_local_error_reset_streams(Some(http2.max_resets as usize));
    builder
}

impl ServerConnection {
    /// Ready with the next request, or with None once the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<AcceptedStream>> {
        loop {
            if self.worker.draining.get() {
                self.shut_down();
            }
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok(accepted))) => return Poll::Ready(Some(accepted)),
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending if self.watch.is_breached() && !self.is_aborting() => self.abort(),
                Poll::Pending
                    if self.state == State::Open && self.is_idle() && self.worker.should_close_idle(&self.deadline) =>
                {
                    self.shut_down();
                }
                Poll::Pending => {
                    self.deadline.set(self.next_deadline());
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_aborting(&self) -> bool {
        matches!(self.state, State::Aborting(_))
    }

    fn is_idle(&self) -> bool {
        self.permits.in_use() == 0
    }

    /// Finishes open streams and accepts no more: sends a GOAWAY that still admits requests in transit, then the last
    /// one.
    fn shut_down(&mut self) {
        if self.state == State::Open {
            self.state = State::Closing(clock::coarse());
            self.connection.graceful_shutdown();
        }
    }

    /// Cuts off a client that exceeded a limit.
    fn abort(&mut self) {
        self.state = State::Aborting(clock::coarse());
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    }

    /// When the client counts as too slow in reading, or None while the kernel accepts all that is written for it.
    fn slow_deadline(&self) -> Option<Instant> {
        self.watch.slow_deadline(|| self.socket.0.borrow().unacknowledged())
    }

    fn is_slow(&self) -> bool {
        self.slow_deadline().is_some_and(|slow| slow <= clock::coarse())
    }

    /// When the next timeout fires.
    fn next_deadline(&self) -> Instant {
        let idle = match self.state {
            State::Aborting(since) => since.saturating_add(SHUTDOWN_TIMEOUT),
            State::Closing(since) if self.is_idle() => {
                since.max(self.permits.idle_since()).saturating_add(SHUTDOWN_TIMEOUT)
            }
            State::Open if self.is_idle() => self.permits.idle_since().saturating_add(self.idle_timeout),
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
        } else if self.is_idle() && self.next_deadline() <= now {
            self.shut_down();
        }
        self.deadline.set(self.next_deadline());
    }

    /// Starts a task for the exchange of a stream. `connection` is the client of the whole connection.
    fn spawn_exchange(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>, connection: &Client) {
        let (head, body) = request.into_parts();
        let mut exchange = self.worker.buffers.exchange();
        let head_written = heads::write_request(&head, !body.is_end_stream(), &mut exchange.request.buffer);
        let websocket = heads::opens_websocket(&head);
        let (worker, watch) = (Rc::clone(&self.worker), Rc::clone(&self.watch));
        let mut stream = H2Stream::inbound(body, respond, websocket, self.permits.acquire());
        if head_written.is_err() {
            stream.refuse("pseudo-header fields or fields that make no request of HTTP/1.1");
        }
        let socket = Socket::Stream(Box::new(stream));
        let mut client = Client::new(socket, connection.info.clone(), worker.wheel.deadline());
        tokio::task::spawn_local(async move {
            match flow::serve(&worker, &mut client, &mut exchange).await {
                Some(After::Keep | After::Close) => {
                    if exchange.request.upgrades {
                        client.socket.end(&[]);
                        // Fails only if the stream has ended already.
                        let _ = client.socket.finish();
                    } else if !exchange.is_call() {
                        // Read the rest of the request: some clients treat an early reset as a failure. gRPC clients
                        // rely on it.
                        client.drain(&worker.buffers, &mut exchange).await;
                    }
                    watch.served();
                }
                Some(After::Abort) | None => client.socket.close_by_reset(),
            }
            worker.buffers.give_back_exchange(exchange);
        });
    }
}
