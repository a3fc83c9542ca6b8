//! The request body: checked against its size limit, and buffered for retries while it is small.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pylae_core::request::admit;
use pylae_core::{Exchange, Halt};
use pylae_http::body::chunked;

use crate::io::body_reader::{BodyError, BodyReader};
use crate::io::socket::Socket;

/// Most bytes of a body that are buffered for retries.
const REPLAYABLE: usize = 64 * 1024;
/// Most bytes of an unused body that are read and discarded to keep the connection.
pub(crate) const DRAINABLE: u64 = 256 * 1024;

/// The body of the current request.
#[derive(Default)]
pub(crate) struct Body {
    source: BodyReader,
    /// Body bytes received so far.
    received: u64,
    buffered: Vec<u8>,
    /// Most bytes that are buffered.
    buffer_limit: usize,
    replayable: bool,
    /// The client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
    /// The body cannot be read to its end, so the start of the next request is unknown.
    broken: bool,
    /// Names of trailer fields that no client may send.
    reserved: Option<Arc<[Box<str>]>>,
}

impl Body {
    /// Starts reading the body that follows the head in `exchange`.
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

    /// Notes that a head of another length has taken the place of the one in the buffer.
    pub(crate) fn shift(&mut self, from: usize, to: usize) {
        self.source.shift(from, to);
    }

    /// Marks the body as unreadable, and with it the rest of the connection.
    pub(crate) fn mark_broken(&mut self) {
        self.broken = true;
    }

    /// Raises the buffer limit to `bytes`. To be called before anything is received.
    pub(crate) fn buffer_at_least(&mut self, bytes: usize) {
        self.buffer_limit = self.buffer_limit.max(bytes);
    }

    /// Returns true if the body cannot be read to its end.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Returns true if `100 Continue` must be sent before anything is read. Returns true once only.
    pub(crate) fn take_expects_continue(&mut self) -> bool {
        std::mem::take(&mut self.expects_continue)
    }

    /// Returns true if the rest of the body is known to be short enough to be discarded, so that the connection can be
    /// kept. For a chunked body that is known only at its end.
    pub(crate) fn is_drainable(&self, max_body: u64) -> bool {
        let is_short = |left: u64| left <= DRAINABLE && self.received.saturating_add(left) <= max_body;
        self.is_done() || (!self.broken && !self.expects_continue && self.source.left().is_some_and(is_short))
    }

    /// Returns true once the body was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.source.is_done()
    }

    /// Returns true while all bytes received so far are buffered.
    pub(crate) fn is_replayable(&self) -> bool {
        self.replayable
    }

    /// Buffers nothing from here on: nobody will ask for what was received.
    pub(crate) fn stop_buffering(&mut self) {
        self.replayable = false;
        self.buffered = Vec::new();
    }

    /// Returns true if the whole body will fit the buffer: its length is known and small.
    pub(crate) fn will_be_replayable(&self) -> bool {
        let fits = |left: u64| self.received.saturating_add(left) <= self.buffer_limit as u64;
        self.replayable && (self.is_done() || self.source.left().is_some_and(fits))
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Counts bytes that were read by other means.
    pub(crate) fn add_received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// The bytes received so far, as long as they are all buffered.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buffered
    }

    /// Has these fields left out of the trailers of this request and all that follow.
    pub(crate) fn reserve(&mut self, names: Option<&Arc<[Box<str>]>>) {
        if self.reserved.is_some() || names.is_some() {
            self.reserved = names.cloned();
        }
    }

    /// Validated trailer lines, at the end of the body.
    pub(crate) fn trailers(&self) -> Cow<'_, [u8]> {
        let sent = self.source.trailers();
        match &self.reserved {
            Some(names) if !sent.is_empty() => chunked::without(sent, names).into(),
            _ => sent.into(),
        }
    }

    /// Number of bytes in the exchange's buffer that belong to this request.
    pub(crate) fn consumed(&self) -> usize {
        self.source.consumed()
    }

    /// Returns true if the buffer holds body bytes that were not consumed.
    pub(crate) fn has_bytes(&self, exchange: &Exchange) -> bool {
        !self.is_done() && self.consumed() < exchange.request.buffer.len()
    }

    /// Appends at most `room` body bytes to `out`. Ready with their number, which is 0 at the end of the body.
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
                self.stop_buffering();
            }
        }
        Poll::Ready(Ok(n))
    }
}
