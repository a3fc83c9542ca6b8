//! The client side of an exchange: reading, writing and closing its connection.

mod address;
pub(crate) mod admission;
pub(crate) mod body;
mod forward_interim;
mod interim;
pub(crate) mod token;
mod wait;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pylae_core::connection::certificate::Certificate;
use pylae_core::plan::Limits;
use pylae_core::{Delivery, Exchange, Pace};

pub(crate) use crate::client::address::AddressText;
use crate::client::body::{Body, DRAINABLE};
use crate::client::interim::Interim;
use crate::io::buffers::Buffers;
use crate::io::clock;
use crate::io::deadline::Deadline;
use crate::io::h2_stream::stream::H2Stream;
use crate::io::socket::Socket;
use crate::io::unread::{MAX_LEFT, ReadProgress, Unread};

/// Time that a client has to finish a body that is discarded, or to read a response before its connection is closed.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A client's connection and the state of its current exchange.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    pub(crate) info: ClientInfo,
    /// The one deadline of the connection's task.
    pub(crate) deadline: Rc<Deadline>,
    /// The body of the current request.
    pub(crate) body: Body,
    /// Scratch memory for composed field values.
    pub(crate) scratch: Vec<u8>,
    /// Bytes written to the client in the current exchange, heads included.
    pub(crate) written: u64,
    /// Set if the client read too slowly. Its connection is then reset, with all that is unread.
    pub(crate) slow: bool,
    /// True if the connection has served an exchange and was kept, or will be. Decided before a response is sent.
    pub(crate) kept: bool,
    /// Interim responses (1xx) of the current exchange, if there were any.
    pub(crate) interim: Option<Box<Interim>>,
}

/// What happens to the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It serves the next request.
    Keep,
    /// It is closed once the client had time to read the response.
    Close,
    /// It is closed at once: the response is incomplete, or the client disconnected.
    Abort,
}

impl Drop for Client {
    /// Runs also when the task is dropped midway, as at the end of a drain.
    fn drop(&mut self) {
        self.socket.reset_if_unread();
    }
}

/// What the connection says about a client.
#[derive(Clone)]
pub(crate) struct ClientInfo {
    pub(crate) peer: SocketAddr,
    /// The peer's address as it is written in forwarding fields.
    pub(crate) peer_text: AddressText,
    /// True if the connection is encrypted.
    pub(crate) secure: bool,
    /// The client certificate, if the listener asks for one and the client has one.
    pub(crate) certificate: Option<Arc<Certificate>>,
}

impl Client {
    /// A client that has sent nothing yet.
    pub(crate) fn new(socket: Socket, info: ClientInfo, deadline: Rc<Deadline>) -> Self {
        Self {
            socket,
            info,
            deadline,
            body: Body::default(),
            scratch: Vec::new(),
            written: 0,
            slow: false,
            kept: false,
            interim: None,
        }
    }

    /// Gives back the memory that only exchanges need.
    pub(crate) fn rest(&mut self) {
        (self.body, self.scratch) = (Body::default(), Vec::new());
        self.interim = None;
    }

    /// Gives the stream of an HTTP/2 connection back.
    pub(crate) fn leave_stream(&mut self) {
        self.socket = Socket::Null;
        self.deadline.clear();
    }

    /// Becomes the client of another stream of the same connection.
    pub(crate) fn take_stream(&mut self, stream: H2Stream) {
        self.socket = Socket::Stream(Box::new(stream));
        (self.body, self.slow) = (Body::default(), false);
    }

    /// Returns true if the client read too slowly, on its connection or on the HTTP/2 connection of its stream.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow || matches!(&self.socket, Socket::Stream(stream) if stream.is_aborted())
    }

    /// Sends a message whose `head` and `body` are complete in memory. Returns true if all was sent.
    ///
    /// Fails if the client reads more slowly than `limits.min_rate` or reads nothing for `patience`.
    pub(crate) async fn send(&mut self, limits: &Limits, patience: Duration, head: &[u8], body: &[u8]) -> bool {
        self.send_parts(limits, patience, [head, body], true).await && self.socket.finish().is_ok()
    }

    /// Sends `head` and `body`, which are the whole message if `ends`. Returns true if all was sent.
    pub(crate) async fn send_part(&mut self, limits: &Limits, head: &[u8], body: &[u8], ends: bool) -> bool {
        self.send_parts(limits, limits.keep_alive.0, [head, body], ends).await
    }

    async fn send_parts(&mut self, limits: &Limits, patience: Duration, [head, body]: [&[u8]; 2], ends: bool) -> bool {
        let mut delivery = Delivery::new(Pace::new(limits.min_rate, limits.body_grace.0));
        let deadline = Rc::clone(&self.deadline);
        let mut sent: usize = 0;
        let complete = deadline
            .within(|cx| {
                loop {
                    let left = sent.checked_sub(head.len()).map_or_else(|| &head[sent..], |at| &body[at..]);
                    if left.is_empty() {
                        return Poll::Ready(true);
                    }
                    if ends && (body.is_empty() || sent >= head.len()) {
                        self.socket.end(&[]);
                        if !self.kept {
                            self.socket.end_connection();
                        }
                    }
                    match self.socket.poll_write(cx, left) {
                        Poll::Ready(Ok(n)) if n > 0 => {
                            sent += n;
                            self.written += n as u64;
                            delivery.send(n);
                            if delivery.is_waiting() {
                                delivery.stop_waiting(clock::now());
                            }
                        }
                        Poll::Ready(_) => return Poll::Ready(false),
                        Poll::Pending => {
                            let now = clock::now();
                            self.socket.start_waiting(&mut delivery, now);
                            if let Some(due) = self.socket.due(&mut delivery, now, patience) {
                                deadline.set(due);
                            }
                            return Poll::Pending;
                        }
                    }
                }
            })
            .await;
        self.slow = complete.is_none();
        complete == Some(true)
    }

    /// Ready once the client has disconnected. Pipelined requests are buffered as far as there is room. Always pending
    /// before the request body was read completely. Of a fresh connection nothing is known until the wait has taken a
    /// while: most responses are there before.
    pub(crate) fn poll_disconnect(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange) -> Poll<()> {
        if let Socket::Stream(stream) = &mut self.socket {
            return stream.poll_disconnect(cx);
        }
        if self.socket.is_fresh() && self.deadline.may_postpone() {
            return Poll::Pending;
        }
        while self.body.is_done() && exchange.request.buffer.len() < exchange.request.buffer.capacity() {
            match self.socket.poll_read(cx, &mut exchange.request.buffer, usize::MAX) {
                Poll::Pending => break,
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Sends `100 Continue` to a client that waits for it (RFC 9110 section 10.1.1). Returns true if it was sent.
    pub(crate) async fn send_continue(&mut self, limits: &Limits) -> bool {
        self.send_part(limits, b"HTTP/1.1 100 Continue\r\n\r\n", &[], false).await
    }

    /// Discards what can be read of the request body without waiting.
    pub(crate) async fn discard_available(&mut self, buffers: &Buffers, exchange: &mut Exchange) {
        if self.body.is_done() || self.body.is_broken() {
            return;
        }
        let (mut discarded, mut left) = (buffers.small(), DRAINABLE);
        // The result shows in the state of the body.
        poll_fn(|cx| Poll::Ready(self.poll_drain(cx, exchange, &mut discarded, &mut left).is_ready())).await;
        buffers.give_back(discarded);
    }

    /// Discards the rest of the request body, up to a limit. Returns true if the connection can serve the next request.
    pub(crate) async fn drain(&mut self, buffers: &Buffers, exchange: &mut Exchange) -> bool {
        if self.body.is_done() {
            return true;
        }
        let deadline = Rc::clone(&self.deadline);
        deadline.set(clock::coarse().saturating_add(DRAIN_TIME));
        let (mut discarded, mut left) = (buffers.small(), DRAINABLE);
        let drained = deadline.within(|cx| self.poll_drain(cx, exchange, &mut discarded, &mut left)).await;
        buffers.give_back(discarded);
        drained.unwrap_or(false)
    }

    /// Ready with true at the end of the body, or with false if it fails or exceeds `left` bytes.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        discarded: &mut Vec<u8>,
        left: &mut u64,
    ) -> Poll<bool> {
        while !self.body.is_done() {
            discarded.clear();
            let room = discarded.capacity();
            match ready!(self.body.poll_data(cx, &mut self.socket, exchange, discarded, room)) {
                Ok(n) if (n as u64) < *left => *left -= n as u64,
                _ => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }

    /// Lingering close: shuts down the sending side, discards what the client still sends, then closes. If input were
    /// left unread, the kernel would reset the connection and the client could lose the response.
    pub(crate) async fn linger(&mut self, buffers: &Buffers, limits: &Limits) {
        let deadline = Rc::clone(&self.deadline);
        deadline.set(clock::coarse().saturating_add(DRAIN_TIME));
        let mut discarded = buffers.small();
        // A body that was refused at its start may be in transit in full.
        let mut left = 1024;
        let mut shut_down = false;
        deadline
            .within(|cx| {
                if !shut_down && ready!(self.socket.poll_shutdown(cx)).is_err() {
                    return Poll::Ready(());
                }
                shut_down = true;
                while left > 0 {
                    discarded.clear();
                    left -= 1;
                    match ready!(self.socket.poll_read(cx, &mut discarded, usize::MAX)) {
                        Ok(n) if n > 0 => {}
                        _ => break,
                    }
                }
                Poll::Ready(())
            })
            .await;
        buffers.give_back(discarded);
        self.close_when_read(limits, shut_down).await;
    }

    /// Returns true if the client has said that it sends nothing behind the request of `exchange`, and has not.
    pub(crate) async fn has_said_all(&mut self, exchange: &Exchange) -> bool {
        let request = &exchange.request;
        !request.options.persists(request.head.version)
            && self.body.is_done()
            && !self.body.is_broken()
            && self.body.consumed() == request.buffer.len()
            && poll_fn(|cx| Poll::Ready(!self.socket.has_input(cx))).await
    }

    /// Closes the connection of a client that sends nothing more, once it has read the response, or resets it if that
    /// takes too long. `only`: it has served no other exchange.
    pub(crate) async fn end(&mut self, limits: &Limits, only: bool) {
        if only && !self.slow && self.written <= MAX_LEFT {
            self.socket.close_notify();
            self.socket = Socket::Null;
        } else {
            self.close_when_read(limits, false).await;
        }
    }

    /// Closes the connection once the client has read the response, or resets it if that takes too long.
    pub(crate) async fn close(&mut self, limits: &Limits) {
        self.close_when_read(limits, true).await;
    }

    /// Closes the connection once all is read. Shuts down the sending side first, unless it is already `shut_down`.
    async fn close_when_read(&mut self, limits: &Limits, mut shut_down: bool) {
        let deadline = Rc::clone(&self.deadline);
        let mut unread = Unread::new(limits);
        while !self.slow {
            match unread.check(&self.socket, clock::coarse()) {
                ReadProgress::Over => break,
                ReadProgress::TooSlow => self.slow = true,
                ReadProgress::UnderWay(until) => {
                    deadline.set(until);
                    deadline
                        .within(|cx| {
                            shut_down = shut_down || self.socket.poll_shutdown(cx).is_ready();
                            Poll::<()>::Pending
                        })
                        .await;
                }
            }
        }
        if self.slow {
            self.socket.close_by_reset();
        } else if !shut_down {
            self.socket.close_notify();
        }
        self.socket = Socket::Null;
    }
}

#[cfg(test)]
mod tests;
