//! A stream of an HTTP/2 connection that looks like an HTTP/1.1 connection with one exchange: heads are text, and
//! bodies are plain bytes that end with the stream. So the flow and all its checks are the same for both protocols.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pylae_http::RequestHead;
use pylae_http::body::chunked;
use pylae_http::http2::connection::{Received, StreamKey, StreamReset, StreamSent};
use pylae_http::http2::error::Http2Code;

use super::permit::StreamPermit;
use super::shared::SharedHttp2;

/// The request could not be sent.
const NOT_SENT: StreamReset = StreamReset { code: None, unprocessed: true };

/// One stream, on either side of the gateway.
pub(crate) struct H2Stream {
    connection: Rc<SharedHttp2>,
    /// None before a request is sent.
    key: Option<StreamKey>,
    side: StreamSide,
    /// The head that is sent is on its way.
    head_sent: bool,
    send_state: SendState,
    /// The trailers that were received, as lines.
    trailers: Vec<u8>,
    /// How it was cut off: nothing more can be sent.
    failure: Option<StreamReset>,
    /// What was to be sent waits for the connection, not for a window of the peer.
    queued: bool,
    /// Counts the stream on its connection until it is over.
    permit: StreamPermit,
}

/// Whose stream it is.
enum StreamSide {
    Client {
        /// Why the request is malformed, if it is.
        refusal: Option<&'static str>,
        /// The request opens a WebSocket: a 101 response becomes a 200.
        websocket: bool,
        /// The head of the request was read.
        asked: bool,
    },
    Instance {
        /// The address is one of https.
        secure: bool,
    },
}

/// Whether the next write ends the message.
enum SendState {
    Open,
    /// It does, followed by these trailer lines.
    Last(Vec<u8>),
    Ended,
}

impl H2Stream {
    /// A stream that a client has opened.
    pub(crate) fn inbound(connection: Rc<SharedHttp2>, key: StreamKey, permit: StreamPermit) -> Self {
        let (refusal, websocket) =
            connection.with(|connection| (connection.refusal(key), connection.opens_websocket(key)));
        Self::new(connection, Some(key), StreamSide::Client { refusal, websocket, asked: false }, permit)
    }

    /// A stream to an instance. Its request is still to be written.
    pub(crate) fn outbound(connection: Rc<SharedHttp2>, secure: bool, permit: StreamPermit) -> Self {
        Self::new(connection, None, StreamSide::Instance { secure }, permit)
    }

    fn new(connection: Rc<SharedHttp2>, key: Option<StreamKey>, side: StreamSide, permit: StreamPermit) -> Self {
        connection.add_stream();
        Self {
            connection,
            key,
            side,
            head_sent: false,
            send_state: SendState::Open,
            trailers: Vec::new(),
            failure: None,
            queued: false,
            permit,
        }
    }

    /// Why the request is malformed, if it is.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if let StreamSide::Client { refusal, .. } = self.side { refusal } else { None }
    }

    /// Lets `head` know the field lines of the request, once its text was read into an empty buffer.
    pub(crate) fn describe(&self, head: &mut RequestHead) {
        if let Some(key) = self.key {
            self.connection.with(|connection| connection.describe(key, head));
        }
    }

    /// Appends at most `room` bytes, or whole heads, to `buffer`. Ready with 0 at the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(key) = self.key else {
            // The request will never be sent. Without this the response would be awaited until the deadline.
            return if self.failure.is_some() {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            } else {
                Poll::Pending
            };
        };
        let opens = matches!(self.side, StreamSide::Client { websocket: true, asked: false, .. });
        // Only its head.
        let room = if opens { 0 } else { room };
        match self.connection.with(|connection| connection.read(key, buffer, room)) {
            Received::Bytes(n) if opens => Poll::Ready(Ok(n + self.add_key(buffer))),
            Received::Bytes(n) => Poll::Ready(Ok(n)),
            Received::Nothing => {
                self.connection.wait(key, cx);
                Poll::Pending
            }
            Received::End => Poll::Ready(self.read_trailers(key).map(|()| 0)),
            Received::Reset(reset) => Poll::Ready(Err(self.on_reset(reset))),
        }
    }

    /// Adds the key to the handshake at the end of `buffer`: HTTP/2 has none, but that of HTTP/1.1 needs one. Returns
    /// its length.
    fn add_key(&mut self, buffer: &mut Vec<u8>) -> usize {
        if let StreamSide::Client { asked, .. } = &mut self.side {
            *asked = true;
        }
        let before = buffer.len();
        buffer.truncate(before - 2);
        let key = STANDARD.encode(fastrand::u128(..).to_ne_bytes());
        for part in ["sec-websocket-key: ", &key, "\r\n\r\n"] {
            buffer.extend_from_slice(part.as_bytes());
        }
        buffer.len() - before
    }

    fn read_trailers(&mut self, key: StreamKey) -> io::Result<()> {
        let mut section = Vec::new();
        self.connection.with(|connection| connection.take_trailers(key, &mut section));
        if section.is_empty() {
            return Ok(());
        }
        chunked::trailers(&section, &mut self.trailers).map(drop).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Ready once the peer has reset the stream.
    pub(crate) fn poll_disconnect(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else { return if self.failure.is_some() { Poll::Ready(()) } else { Poll::Pending } };
        if self.failure.is_some() || self.connection.with(|connection| connection.reset_of(key).is_some()) {
            return Poll::Ready(());
        }
        self.connection.wait(key, cx);
        Poll::Pending
    }

    /// Declares that the next write ends the message, followed by these trailer lines. Repeated calls have no effect.
    pub(crate) fn end(&mut self, trailers: &[u8]) {
        if matches!(self.send_state, SendState::Open) {
            // The lines were validated when they were received.
            self.send_state = SendState::Last(trailers.to_vec());
        }
    }

    /// Writes some of `bytes`: the whole head, or as much of the body as the peer's window allows.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.failure.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let bare_end = matches!(&self.send_state, SendState::Last(trailers) if trailers.is_empty());
        let Some(key) = self.key else { return self.poll_request(cx, bytes, bare_end) };
        if !self.head_sent {
            return self.poll_respond(cx, key, bytes, bare_end);
        }
        let sent = self.connection.with(|connection| connection.send_data(key, bytes, bare_end));
        self.queued = sent == StreamSent::Queued;
        match sent {
            StreamSent::Bytes(n) => {
                if bare_end && n == bytes.len() {
                    self.send_state = SendState::Ended;
                }
                Poll::Ready(Ok(n))
            }
            StreamSent::Blocked | StreamSent::Queued => {
                self.connection.wait(key, cx);
                Poll::Pending
            }
            StreamSent::Broken | StreamSent::Unfit => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Sends the head of the request at the start of `bytes`.
    fn poll_request(&mut self, cx: &mut Context<'_>, bytes: &[u8], ends: bool) -> Poll<io::Result<usize>> {
        let StreamSide::Instance { secure } = self.side else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let scheme = if secure { &b"https"[..] } else { b"http" };
        let (usable, opened) = self.connection.with(|connection| {
            let opened = connection.may_open().then(|| connection.open(bytes, scheme, ends));
            (connection.is_usable(), opened)
        });
        match opened {
            None if !usable => {
                self.failure = Some(NOT_SENT);
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            None => {
                self.connection.wait_to_open(cx);
                Poll::Pending
            }
            Some(Ok((key, len))) => {
                self.key = Some(key);
                Poll::Ready(Ok(self.sent_head(len, ends && len == bytes.len())))
            }
            Some(Err(_)) => {
                self.failure = Some(NOT_SENT);
                Poll::Ready(Err(io::ErrorKind::InvalidInput.into()))
            }
        }
    }

    /// Sends the head of a response at the start of `bytes`, an interim or the final one.
    fn poll_respond(
        &mut self,
        cx: &mut Context<'_>,
        key: StreamKey,
        bytes: &[u8],
        ends: bool,
    ) -> Poll<io::Result<usize>> {
        let status = bytes.get(9..12).unwrap_or_default();
        let websocket = matches!(self.side, StreamSide::Client { websocket: true, .. });
        let upgraded = websocket && status == b"101";
        if websocket && status.starts_with(b"2") {
            // The route has no WebSocket, so the instance saw a plain GET. The client must not take the response for an
            // open tunnel.
            self.reset(Http2Code::HTTP_1_1_REQUIRED);
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        }
        let sent = self.connection.with(|connection| connection.respond(key, bytes, ends, upgraded));
        self.queued = sent == StreamSent::Queued;
        match sent {
            StreamSent::Bytes(len) if status.starts_with(b"1") && !upgraded => Poll::Ready(Ok(len)),
            StreamSent::Bytes(len) => Poll::Ready(Ok(self.sent_head(len, ends && len == bytes.len()))),
            StreamSent::Blocked | StreamSent::Queued => {
                self.connection.wait(key, cx);
                Poll::Pending
            }
            StreamSent::Broken => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            StreamSent::Unfit => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
    }

    fn sent_head(&mut self, len: usize, ends: bool) -> usize {
        self.head_sent = true;
        if ends {
            self.send_state = SendState::Ended;
        }
        len
    }

    /// Ends the message, if its last write did not.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let SendState::Last(trailers) = std::mem::replace(&mut self.send_state, SendState::Ended) else {
            return Ok(());
        };
        let Some(key) = self.key.filter(|_| self.head_sent && self.failure.is_none()) else { return Ok(()) };
        let ended = self.connection.with(|connection| {
            if trailers.is_empty() {
                matches!(connection.send_data(key, &[], true), StreamSent::Bytes(_))
            } else {
                connection.send_trailers(key, &trailers)
            }
        });
        if ended { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Ends an incomplete message with these trailer lines. Returns false if the message has ended or not begun.
    pub(crate) fn end_early(&mut self, trailers: &[u8]) -> bool {
        let Some(key) = self.key.filter(|_| self.head_sent && self.failure.is_none()) else { return false };
        let open = !matches!(self.send_state, SendState::Ended);
        self.send_state = SendState::Ended;
        open && self.connection.with(|connection| connection.send_trailers(key, trailers))
    }

    /// Resets the stream, because its message is incomplete.
    pub(crate) fn reset(&mut self, code: Http2Code) {
        if let Some(key) = self.key {
            self.connection.with(|connection| connection.reset(key, code));
        }
    }

    /// Takes the trailers, as lines that may be forwarded. Empty before the end of the body.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    /// Returns true if the last write waits for the connection, not for a window of the peer.
    pub(crate) fn is_queued(&self) -> bool {
        self.queued
    }

    /// Returns true if the peer certainly did not act on the request.
    pub(crate) fn is_unprocessed(&self) -> bool {
        self.key.is_none() || self.failure.is_some_and(|failure| failure.unprocessed)
    }

    /// Closes the connection of the stream to new streams.
    pub(crate) fn retire_connection(&self) {
        self.permit.retire();
    }

    /// Returns true if the connection was cut off because the client does not read.
    pub(crate) fn is_aborted(&self) -> bool {
        self.permit.is_aborted()
    }

    /// Records that the stream was cut off.
    fn on_reset(&mut self, reset: StreamReset) -> io::Error {
        self.failure = Some(reset);
        io::ErrorKind::ConnectionReset.into()
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        self.connection.release(self.key);
    }
}

#[cfg(test)]
mod tests;
