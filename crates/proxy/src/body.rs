//! The request body as it comes from the client: counted, unchunked, kept for a repeat while it is small.

use std::task::{Context, Poll, ready};

use pylae_core::{Buffer, Exchange, Halt};
use pylae_http::{ChunkedDecoder, Decoded, Framing};

use crate::socket::Socket;

/// Bytes of a body that are kept so that it can be sent again.
const REPLAYABLE: usize = 64 * 1024;
/// Room that reading a chunked body needs behind the head.
const CHUNK_ROOM: usize = 4 * 1024;

/// The body of the request that is being read from a connection.
#[derive(Default)]
pub(crate) struct Body {
    framing: Framing,
    /// Bytes still to come, for `Framing::Length`.
    left: u64,
    decoder: ChunkedDecoder,
    /// Where the next unread byte lies in the exchange's buffer.
    cursor: usize,
    /// Body bytes taken so far.
    taken: u64,
    done: bool,
    kept: Vec<u8>,
    replayable: bool,
}

impl Body {
    /// Starts on the body behind the head in `exchange`. `keep` says whether it may have to be sent again.
    pub(crate) fn start(&mut self, exchange: &Exchange) {
        self.framing = exchange.framing;
        self.left = match exchange.framing {
            Framing::Length(length) => length,
            _ => 0,
        };
        self.decoder.reset();
        self.cursor = exchange.head.len;
        self.taken = 0;
        self.done = matches!(exchange.framing, Framing::None | Framing::Length(0));
        self.kept.clear();
        self.replayable = true;
    }

    /// Whether every byte of the body was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether any of it was taken.
    pub(crate) fn is_untouched(&self) -> bool {
        self.taken == 0
    }

    /// Whether what was taken can be sent again.
    pub(crate) fn is_replayable(&self) -> bool {
        self.replayable
    }

    /// What was taken so far, as long as it is replayable.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Validated trailer lines, once the body is done.
    pub(crate) fn trailers(&self) -> &[u8] {
        if matches!(self.framing, Framing::Chunked) { self.decoder.trailers() } else { &[] }
    }

    /// Bytes of the exchange's buffer that belong to this request.
    pub(crate) fn consumed(&self) -> usize {
        self.cursor
    }

    /// Whether bytes of the body are at hand without reading.
    pub(crate) fn has_bytes(&self, exchange: &Exchange) -> bool {
        self.cursor < exchange.buffer.len()
    }

    /// Appends body bytes to `out` as far as they are at hand or can be read. Ready with the number of bytes appended; 0 means that
    /// the body is done. `out` must have room.
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        exchange: &mut Exchange,
        out: &mut Buffer,
    ) -> Poll<Result<usize, Halt>> {
        if self.done {
            return Poll::Ready(Ok(0));
        }
        let start = out.len();
        match self.framing {
            Framing::Chunked => ready!(self.poll_chunked(cx, socket, exchange, out))?,
            _ => ready!(self.poll_length(cx, socket, exchange, out))?,
        }
        let n = out.len() - start;
        self.taken += n as u64;
        if self.taken > exchange.max_body {
            return Poll::Ready(Err(Halt::BodyTooLarge(exchange.max_body)));
        }
        if self.replayable {
            if self.kept.len() + n <= REPLAYABLE {
                self.kept.extend_from_slice(&out.bytes()[start..]);
            } else {
                self.replayable = false;
                self.kept = Vec::new();
            }
        }
        Poll::Ready(Ok(n))
    }

    fn poll_length(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        exchange: &mut Exchange,
        out: &mut Buffer,
    ) -> Poll<Result<(), Halt>> {
        let held = &exchange.buffer.bytes()[self.cursor..];
        let n = if held.is_empty() {
            let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
            match ready!(socket.poll_read(cx, out, limit)) {
                Ok(n) if n > 0 => n,
                _ => return Poll::Ready(Err(Halt::ClientGone)),
            }
        } else {
            let most = held.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let n = out.append(&held[..most]);
            self.cursor += n;
            n
        };
        self.left -= n as u64;
        self.done = self.left == 0;
        Poll::Ready(Ok(()))
    }

    fn poll_chunked(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        exchange: &mut Exchange,
        out: &mut Buffer,
    ) -> Poll<Result<(), Halt>> {
        let start = out.len();
        loop {
            while self.cursor < exchange.buffer.len() && out.capacity() > out.len() {
                // No more input than what `out` can take: data never exceeds its input.
                let end = exchange.buffer.len().min(self.cursor + out.capacity() - out.len());
                let input = &exchange.buffer.bytes()[self.cursor..end];
                let (consumed, found) = self.decoder.decode(input).map_err(|error| Halt::Malformed(error.0))?;
                if let Decoded::Data(range) = &found {
                    out.append(&input[range.clone()]);
                }
                self.cursor += consumed;
                if found == Decoded::End {
                    self.done = true;
                    return Poll::Ready(Ok(()));
                }
            }
            if out.len() > start {
                return Poll::Ready(Ok(()));
            }
            // Everything held was taken: the room behind the head is free again.
            exchange.buffer.truncate(exchange.head.len);
            self.cursor = exchange.head.len;
            exchange.buffer.grow(exchange.head.len + CHUNK_ROOM);
            match ready!(socket.poll_read(cx, &mut exchange.buffer, usize::MAX)) {
                Ok(n) if n > 0 => {}
                _ => return Poll::Ready(Err(Halt::ClientGone)),
            }
        }
    }
}
