//! Reads the body of a request or response: first the bytes read with the head, then from the socket. Decodes the
//! chunked coding.

use std::task::{Context, Poll, ready};

use pylae_http::{ChunkedDecoder, Decoded, Framing};

use crate::io::socket::Socket;

/// Buffer space after the head for reading a chunked body.
const CHUNK_ROOM: usize = 4 * 1024;

/// An incoming body. The `buffer` that its methods receive holds the head and the bytes read after it.
#[derive(Default)]
pub(crate) struct BodyReader {
    framing: Framing,
    /// Bytes still to come, for `Framing::Length`.
    left: u64,
    decoder: ChunkedDecoder,
    head: usize,
    /// Position of the next unread byte in the buffer.
    cursor: usize,
    done: bool,
    /// Trailer lines of a body that ended with its HTTP/2 stream.
    trailers: Vec<u8>,
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The connection ended midway.
    Ended,
    /// The chunked coding is invalid.
    Malformed(&'static str),
}

impl BodyReader {
    /// Starts reading a body from `socket`. It begins after `head` bytes of the buffer.
    pub(crate) fn start(&mut self, framing: Framing, head: usize, socket: &Socket) {
        // On an HTTP/2 stream the body ends with the stream, whatever its head says.
        let bare = socket.is_stream() && framing != Framing::None;
        let framing = if bare { Framing::Close } else { framing };
        self.framing = framing;
        self.trailers.clear();
        self.left = if let Framing::Length(length) = framing { length } else { 0 };
        if framing == Framing::Chunked {
            self.decoder.reset();
        }
        self.head = head;
        self.cursor = head;
        self.done = matches!(framing, Framing::None | Framing::Length(0));
    }

    /// Notes that a head of another length has taken the place of the one in the buffer.
    pub(crate) fn shift(&mut self, from: usize, to: usize) {
        self.head = self.head - from + to;
        self.cursor = self.cursor - from + to;
    }

    /// The framing of the body.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// Bytes still to come, if the length is known.
    pub(crate) fn left(&self) -> Option<u64> {
        matches!(self.framing, Framing::Length(_)).then_some(self.left)
    }

    /// Returns true once the body was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Validated trailer lines, at the end of the body.
    pub(crate) fn trailers(&self) -> &[u8] {
        if self.framing == Framing::Chunked { self.decoder.trailers() } else { &self.trailers }
    }

    /// Bytes of the buffer that were consumed, head included.
    pub(crate) fn consumed(&self) -> usize {
        self.cursor
    }

    /// Appends at most `room` body bytes to `out`. Ready with their number, which is 0 at the end of the body.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        buffer: &mut Vec<u8>,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<usize, BodyError>> {
        if self.done {
            return Poll::Ready(Ok(0));
        }
        if self.framing == Framing::Chunked {
            return self.poll_chunked(cx, socket, buffer, out, room);
        }
        let max =
            if self.framing == Framing::Close { room } else { room.min(usize::try_from(self.left).unwrap_or(room)) };
        let buffered = &buffer[self.cursor..];
        let n = if buffered.is_empty() {
            match ready!(socket.poll_read(cx, out, max)) {
                Ok(0) if self.framing == Framing::Close => 0,
                Ok(n) if n > 0 => n,
                _ => return Poll::Ready(Err(BodyError::Ended)),
            }
        } else {
            let n = buffered.len().min(max);
            out.extend_from_slice(&buffered[..n]);
            self.cursor += n;
            n
        };
        if self.framing == Framing::Close {
            self.done = n == 0;
            if self.done {
                self.trailers = socket.take_trailers();
            }
        } else {
            self.left -= n as u64;
            self.done = self.left == 0;
        }
        Poll::Ready(Ok(n))
    }

    fn poll_chunked(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        buffer: &mut Vec<u8>,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<usize, BodyError>> {
        let start = out.len();
        loop {
            while self.cursor < buffer.len() && out.len() - start < room {
                // Decode no more input than fits the room: output never exceeds input.
                let end = buffer.len().min(self.cursor + room - (out.len() - start));
                let input = &buffer[self.cursor..end];
                let (consumed, found) = self.decoder.decode(input).map_err(|error| BodyError::Malformed(error.0))?;
                if let Decoded::Data(range) = &found {
                    out.extend_from_slice(&input[range.clone()]);
                }
                self.cursor += consumed;
                if found == Decoded::End {
                    self.done = true;
                    return Poll::Ready(Ok(out.len() - start));
                }
            }
            if out.len() > start {
                return Poll::Ready(Ok(out.len() - start));
            }
            // All buffered bytes are consumed: reuse the space after the head.
            buffer.truncate(self.head);
            self.cursor = self.head;
            buffer.reserve(CHUNK_ROOM);
            match ready!(socket.poll_read(cx, buffer, usize::MAX)) {
                Ok(n) if n > 0 => {}
                _ => return Poll::Ready(Err(BodyError::Ended)),
            }
        }
    }
}
