//! A body as it comes off a connection, whoever sends it: first the bytes read with the head, then the socket's; unchunked.

use std::task::{Context, Poll, ready};

use pylae_http::{ChunkedDecoder, Decoded, Framing};

use crate::io::socket::Socket;

/// Room that reading a chunked body needs behind the head.
const CHUNK_ROOM: usize = 4 * 1024;

/// One incoming body. `buffer`, where it is handed in, holds the head and what was read behind it.
#[derive(Default)]
pub(crate) struct BodyReader {
    framing: Framing,
    /// Bytes still to come, for `Framing::Length`.
    left: u64,
    decoder: ChunkedDecoder,
    head: usize,
    /// Where the next unread byte lies in the buffer.
    cursor: usize,
    done: bool,
    /// Lines that stood behind a body that ended with its stream.
    trailers: Vec<u8>,
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The connection ended in the middle.
    Ended,
    /// The chunked coding is broken.
    Malformed(&'static str),
}

impl BodyReader {
    /// Starts on a body that lies behind `head` bytes of the buffer, and comes from `socket`.
    pub(crate) fn start(&mut self, framing: Framing, head: usize, socket: &Socket) {
        // On a stream there is no other end of a body than that of the stream, whatever its head says.
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

    /// How the body is framed.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// Bytes still to come, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        matches!(self.framing, Framing::Length(_)).then_some(self.left)
    }

    /// Whether every byte of the body was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Validated trailer lines, once the body is done.
    pub(crate) fn trailers(&self) -> &[u8] {
        if self.framing == Framing::Chunked { self.decoder.trailers() } else { &self.trailers }
    }

    /// Bytes of the buffer that were taken, head included.
    pub(crate) fn consumed(&self) -> usize {
        self.cursor
    }

    /// Appends body bytes to `out`, at most `room`, as far as they are at hand or can be read. Ready with the number of
    /// bytes appended; 0 means that the body is done.
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
                // No more input than what fits: data never exceeds its input.
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
            // Everything held was taken: the room behind the head is free again.
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
