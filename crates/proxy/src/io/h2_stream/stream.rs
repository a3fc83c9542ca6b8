//! A stream of an HTTP/2 connection that looks like an HTTP/1.1 connection with one exchange: heads are text, and
//! bodies are plain bytes that end with the stream. So the flow and all its checks are the same for both protocols.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::SEC_WEBSOCKET_ACCEPT;
use http::uri::Scheme;
use http::{HeaderMap, StatusCode};
use pylae_http::body::chunked;

use super::heads::{self, Malformed};
use super::permit::StreamPermit;

/// Most bytes written at once, which bounds what the connection buffers for a stream that its peer does not read.
const MAX_WRITE: usize = 64 * 1024;

/// Smaller buffered pieces are copied together, so that they do not keep their read buffers alive.
const COALESCE_BELOW: usize = 1024;

/// One stream, on either side of the gateway.
pub(crate) struct H2Stream {
    incoming: Incoming,
    outgoing: Outgoing,
    held: HeldData,
    /// The trailers, as lines.
    trailers: Vec<u8>,
    send_state: SendState,
    /// The peer certainly did not act on the request.
    unprocessed: bool,
    /// Why the request is malformed, if it is.
    refusal: Option<&'static str>,
    /// The request opens a WebSocket: a 101 response becomes a 200.
    websocket: bool,
    /// Counts the stream on its connection until it is over.
    permit: StreamPermit,
}

/// Body bytes that were received and not read yet.
#[derive(Default)]
struct HeldData {
    pieces: VecDeque<Bytes>,
    /// Small pieces after `pieces`, copied together.
    coalesced: BytesMut,
}

/// The receiving half.
enum Incoming {
    /// The request was not sent yet.
    NotRequested,
    /// The response head is awaited.
    Head(ResponseFuture),
    Body(RecvStream),
    Done,
}

/// The sending half.
enum Outgoing {
    Response(SendResponse<Bytes>),
    Request(SendRequest<Bytes>, Scheme),
    Body(SendStream<Bytes>),
    Failed,
}

/// Whether the next write ends the message.
enum SendState {
    Open,
    Last(Option<HeaderMap>),
    Ended,
}

impl H2Stream {
    /// A stream of a client. The head of its request was taken out of it already.
    pub(crate) fn inbound(
        body: RecvStream,
        response: SendResponse<Bytes>,
        websocket: bool,
        permit: StreamPermit,
    ) -> Self {
        Self { websocket, ..Self::new(Incoming::Body(body), Outgoing::Response(response), permit) }
    }

    /// A stream to an instance. Its request is still to be written.
    pub(crate) fn outbound(connection: SendRequest<Bytes>, scheme: Scheme, permit: StreamPermit) -> Self {
        Self::new(Incoming::NotRequested, Outgoing::Request(connection, scheme), permit)
    }

    fn new(incoming: Incoming, outgoing: Outgoing, permit: StreamPermit) -> Self {
        Self {
            incoming,
            outgoing,
            held: HeldData::default(),
            trailers: Vec::new(),
            send_state: SendState::Open,
            unprocessed: false,
            refusal: None,
            websocket: false,
            permit,
        }
    }

    /// Marks the request as malformed.
    pub(crate) fn refuse(&mut self, what: &'static str) {
        self.refusal = Some(what);
    }

    pub(crate) fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }

    /// Appends at most `room` bytes, or a whole head, to `buffer`. Ready with 0 at the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            match &mut self.incoming {
                // The request will never be sent. Without this the response would be awaited until the deadline.
                Incoming::NotRequested if matches!(self.outgoing, Outgoing::Failed) => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                Incoming::NotRequested => return Poll::Pending,
                Incoming::Done => return Poll::Ready(Ok(0)),
                Incoming::Head(response) => {
                    // Poll for interim heads first: h2 drops them when the final head is polled.
                    if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                        let (head, ()) = interim.map_err(|error| self.on_error(&error))?.into_parts();
                        let start = buffer.len();
                        heads::write_response(head.status, &head.headers, buffer).map_err(malformed)?;
                        return Poll::Ready(Ok(buffer.len() - start));
                    }
                    let response = ready!(std::pin::Pin::new(response).poll(cx));
                    let (head, body) = response.map_err(|error| self.on_error(&error))?.into_parts();
                    let start = buffer.len();
                    heads::write_response(head.status, &head.headers, buffer).map_err(malformed)?;
                    self.incoming = Incoming::Body(body);
                    return Poll::Ready(Ok(buffer.len() - start));
                }
                Incoming::Body(body) => {
                    let mut n = self.held.take(buffer, room);
                    // Join small pieces.
                    while n < room
                        && let Poll::Ready(Some(Ok(data))) = body.poll_data(cx)
                    {
                        self.held.pieces.push_back(data);
                        n += self.held.take(buffer, room - n);
                    }
                    if n > 0 {
                        // Release only what was read, so that the other side's speed reaches the peer as back-pressure.
                        let _ = body.flow_control().release_capacity(n);
                        return Poll::Ready(Ok(n));
                    }
                    match ready!(body.poll_data(cx)) {
                        Some(Ok(data)) => self.held.pieces.push_back(data),
                        Some(Err(error)) => return Poll::Ready(Err(self.on_error(&error))),
                        None => {
                            let trailers = ready!(body.poll_trailers(cx)).map_err(|error| self.on_error(&error))?;
                            if let Some(trailers) = trailers {
                                let mut section = Vec::new();
                                heads::write_trailers(&trailers, &mut section).map_err(malformed)?;
                                chunked::trailers(&section, &mut self.trailers).map_err(|_| malformed(Malformed))?;
                            }
                            self.incoming = Incoming::Done;
                        }
                    }
                }
            }
        }
    }

    /// Buffers received data that is not read at the moment, so that the connection does not hold many small frames.
    /// Does not enlarge the peer's window.
    pub(crate) fn buffer_incoming(&mut self, cx: &mut Context<'_>) {
        if let Incoming::Body(body) = &mut self.incoming {
            while let Poll::Ready(Some(Ok(data))) = body.poll_data(cx) {
                self.held.put(data);
            }
        }
    }

    /// Ready once the peer has reset the stream.
    pub(crate) fn poll_disconnect(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.buffer_incoming(cx);
        let reset = match &mut self.outgoing {
            Outgoing::Response(response) => response.poll_reset(cx),
            Outgoing::Body(body) => body.poll_reset(cx),
            Outgoing::Request(..) => return Poll::Pending,
            Outgoing::Failed => return Poll::Ready(()),
        };
        reset.map(|_| ())
    }

    /// Declares that the next write ends the message, followed by these trailer lines. Repeated calls have no effect.
    pub(crate) fn end(&mut self, trailers: &[u8]) {
        if matches!(self.send_state, SendState::Open) {
            // The lines were validated when they were received.
            let fields = Some(trailers).filter(|lines| !lines.is_empty());
            self.send_state = SendState::Last(fields.and_then(|lines| heads::read_trailers(lines).ok()));
        }
    }

    /// Writes some of `bytes`: the whole head, or as much of the body as the peer's window allows.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bare_end = matches!(self.send_state, SendState::Last(None));
        let written = match &mut self.outgoing {
            Outgoing::Failed => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Outgoing::Response(response) => {
                let (mut head, len) = heads::read_response(bytes).map_err(malformed)?;
                if self.websocket && head.status() == StatusCode::SWITCHING_PROTOCOLS {
                    // RFC 8441 section 5.1.
                    *head.status_mut() = StatusCode::OK;
                    head.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
                } else if self.websocket && head.status().is_success() {
                    // The route has no WebSocket, so the instance saw a plain GET. The client must not take the
                    // response for an open tunnel.
                    response.send_reset(Reason::HTTP_1_1_REQUIRED);
                    return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
                }
                if head.status().is_informational() {
                    return Poll::Ready(response.send_informational(head).map(|()| len).map_err(io::Error::other));
                }
                let last = bare_end && len == bytes.len();
                response.send_response(head, last).map(|body| (Outgoing::Body(body), len, last))
            }
            Outgoing::Request(connection, scheme) => {
                let Ok((head, len)) = heads::read_request(bytes, scheme.clone()) else {
                    self.unprocessed = true;
                    self.outgoing = Outgoing::Failed;
                    return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
                };
                let last = bare_end && len == bytes.len();
                connection.send_request(head, last).map(|(response, body)| {
                    self.incoming = Incoming::Head(response);
                    (Outgoing::Body(body), len, last)
                })
            }
            Outgoing::Body(body) => {
                let wanted = bytes.len().min(MAX_WRITE);
                body.reserve_capacity(wanted);
                while body.capacity() == 0 {
                    match ready!(body.poll_capacity(cx)) {
                        Some(Ok(_)) => {}
                        _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                    }
                }
                let n = body.capacity().min(wanted);
                let last = bare_end && n == bytes.len();
                let sent = body.send_data(Bytes::copy_from_slice(&bytes[..n]), last);
                if sent.is_ok() && last {
                    self.send_state = SendState::Ended;
                }
                return Poll::Ready(sent.map(|()| n).map_err(io::Error::other));
            }
        };
        let (outgoing, len, last) = written.map_err(|error| self.on_error(&error))?;
        self.outgoing = outgoing;
        if last {
            self.send_state = SendState::Ended;
        }
        Poll::Ready(Ok(len))
    }

    /// Ends the message, if its last write did not.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let SendState::Last(trailers) = std::mem::replace(&mut self.send_state, SendState::Ended) else {
            return Ok(());
        };
        let Outgoing::Body(body) = &mut self.outgoing else { return Ok(()) };
        let ended = match trailers {
            Some(trailers) => body.send_trailers(trailers),
            None => body.send_data(Bytes::new(), true),
        };
        ended.map_err(io::Error::other)
    }

    /// Ends an incomplete message with these trailer lines. Returns false if the message has ended or not begun.
    pub(crate) fn end_early(&mut self, trailers: &[u8]) -> bool {
        let Outgoing::Body(body) = &mut self.outgoing else { return false };
        let open = !matches!(self.send_state, SendState::Ended);
        self.send_state = SendState::Ended;
        open && heads::read_trailers(trailers).is_ok_and(|fields| body.send_trailers(fields).is_ok())
    }

    /// Resets the stream, because its message is incomplete.
    pub(crate) fn reset(&mut self, reason: Reason) {
        match &mut self.outgoing {
            Outgoing::Response(response) => response.send_reset(reason),
            Outgoing::Body(body) => body.send_reset(reason),
            Outgoing::Request(..) | Outgoing::Failed => {}
        }
    }

    /// Takes the trailers, as lines that may be forwarded. Empty before the end of the body.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    /// Returns true if the peer certainly did not act on the request.
    pub(crate) fn is_unprocessed(&self) -> bool {
        self.unprocessed || matches!(self.outgoing, Outgoing::Request(..))
    }

    /// Closes the connection of the stream to new streams.
    pub(crate) fn retire_connection(&self) {
        self.permit.retire();
    }

    /// Returns true if the connection was cut off because the client does not read.
    pub(crate) fn is_aborted(&self) -> bool {
        self.permit.is_aborted()
    }

    /// Records an error of the connection or the stream. A stream that was refused or excluded by a GOAWAY was not
    /// processed (RFC 9113 section 8.7).
    fn on_error(&mut self, error: &h2::Error) -> io::Error {
        let left_out = error.is_go_away() && error.is_remote();
        self.unprocessed = left_out || error.reason() == Some(Reason::REFUSED_STREAM);
        if matches!(self.outgoing, Outgoing::Request(..)) {
            self.unprocessed = true;
        }
        self.outgoing = Outgoing::Failed;
        io::ErrorKind::ConnectionReset.into()
    }
}

impl HeldData {
    fn put(&mut self, data: Bytes) {
        if data.len() < COALESCE_BELOW {
            self.coalesced.put(data);
        } else {
            if !self.coalesced.is_empty() {
                self.pieces.push_back(self.coalesced.split().freeze());
            }
            self.pieces.push_back(data);
        }
    }

    /// Moves at most `room` bytes to `buffer`. Returns their number.
    fn take(&mut self, buffer: &mut Vec<u8>, room: usize) -> usize {
        let start = buffer.len();
        while let left @ 1.. = room - (buffer.len() - start) {
            let Some(piece) = self.pieces.front_mut() else {
                if self.coalesced.is_empty() {
                    break;
                }
                self.pieces.push_back(std::mem::take(&mut self.coalesced).freeze());
                continue;
            };
            let n = piece.len().min(left);
            buffer.extend_from_slice(&piece[..n]);
            piece.advance(n);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        buffer.len() - start
    }
}

fn malformed(_: Malformed) -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests;
