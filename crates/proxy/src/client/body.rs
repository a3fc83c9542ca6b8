//! The request body: counted against its bound, and kept for a repeat while it is small.

use std::task::{Context, Poll, ready};

use pylae_core::request::admit;
use pylae_core::{Exchange, Halt};

use crate::io::socket::Socket;
use crate::io::source::{BodyError, BodyReader};

/// Bytes of a body that are kept so that it can be sent again.
const REPLAYABLE: usize = 64 * 1024;
/// Bytes of a body that nobody wants which are read all the same to keep the connection.
pub(crate) const DRAINABLE: u64 = 256 * 1024;

/// The body of the request that is being read from a connection.
#[derive(Default)]
pub(crate) struct Body {
    source: BodyReader,
    /// Body bytes taken so far.
    received: u64,
    buffered: Vec<u8>,
    /// Most bytes that are kept.
    buffer_limit: usize,
    replayable: bool,
    /// The client waits for `100 Continue` before it sends anything.
    expects_continue: bool,
    /// Where the next request would start is not known.
    broken: bool,
}

impl Body {
    /// Starts on the body behind the head in `exchange`.
    pub(crate) fn start(&mut self, exchange: &Exchange, socket: &Socket) {
        self.source.start(exchange.request.framing, exchange.request.head.len, socket);
        self.received = 0;
        self.buffered.clear();
        self.buffer_limit = REPLAYABLE;
        self.replayable = true;
        self.expects_continue =
            admit::awaits_continue(exchange) && exchange.request.buffer.len() == exchange.request.head.len;
        self.broken = false;
    }

    /// Says that the body, and with it the connection, cannot be read on.
    pub(crate) fn mark_broken(&mut self) {
        self.broken = true;
    }

    /// Says that so many bytes are kept at least, before any is taken.
    pub(crate) fn buffer_at_least(&mut self, bytes: usize) {
        self.buffer_limit = self.buffer_limit.max(bytes);
    }

    /// Whether the body cannot be read on.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether `100 Continue` is owed before anything is read. Asked once: it is owed once.
    pub(crate) fn take_expects_continue(&mut self) -> bool {
        std::mem::take(&mut self.expects_continue)
    }

    /// Whether the rest of the body will be read although nobody wants it, so that the connection can go on: it is known to
    /// be short. Of a chunked body that is known only when it is over.
    pub(crate) fn is_drainable(&self, max_body: u64) -> bool {
        let is_short = |left: u64| left <= DRAINABLE && self.received.saturating_add(left) <= max_body;
        self.is_done() || (!self.broken && !self.expects_continue && self.source.left().is_some_and(is_short))
    }

    /// Whether every byte of the body was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.source.is_done()
    }

    /// Whether what was taken can be sent again.
    pub(crate) fn is_replayable(&self) -> bool {
        self.replayable
    }

    /// Whether all of it will be replayable, as far as is known before it has come: its length is known, and small.
    pub(crate) fn will_be_replayable(&self) -> bool {
        let fits = |left: u64| self.received.saturating_add(left) <= self.buffer_limit as u64;
        self.replayable && (self.is_done() || self.source.left().is_some_and(fits))
    }

    /// Bytes taken so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Says that so many bytes were taken by other means.
    pub(crate) fn add_received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// What was taken so far, as long as it is replayable.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buffered
    }

    /// Validated trailer lines, once the body is done.
    pub(crate) fn trailers(&self) -> &[u8] {
        self.source.trailers()
    }

    /// Bytes of the exchange's buffer that belong to this request.
    pub(crate) fn consumed(&self) -> usize {
        self.source.consumed()
    }

    /// Whether bytes of the body are at hand without reading.
    pub(crate) fn has_bytes(&self, exchange: &Exchange) -> bool {
        !self.is_done() && self.consumed() < exchange.request.buffer.len()
    }

    /// Appends body bytes to `out`, at most `room`, as far as they are at hand or can be read. Ready with the number of
    /// bytes appended; 0 means that the body is done.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        exchange: &mut Exchange,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<usize, Halt>> {
        let start = out.len();
        let read = ready!(self.source.poll_data(cx, socket, &mut exchange.request.buffer, out, room));
        let n = match read {
            Ok(n) if self.received + n as u64 <= exchange.request.max_body => n,
            refused => {
                self.broken = true;
                return Poll::Ready(Err(match refused {
                    Ok(_) => Halt::BodyTooLarge(exchange.request.max_body),
                    Err(BodyError::Ended) => Halt::ClientGone,
                    Err(BodyError::Malformed(what)) => Halt::Malformed(what),
                }));
            }
        };
        self.received += n as u64;
        if self.replayable {
            if self.buffered.len() + n <= self.buffer_limit {
                self.buffered.extend_from_slice(&out[start..]);
            } else {
                self.replayable = false;
                self.buffered = Vec::new();
            }
        }
        Poll::Ready(Ok(n))
    }
}
