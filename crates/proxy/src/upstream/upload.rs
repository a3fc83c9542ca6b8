//! Sends a request to an instance: the head, then the body as the client sends it, with back-pressure.

use std::io::ErrorKind;
use std::task::{Context, Poll, ready};

use pylae_core::{Exchange, Halt, Pace};
use pylae_http::Framing;
use pylae_http::body::chunked;

use crate::client::Client;
use crate::io::buffers::{Buffers, SMALL};
use crate::io::clock;
use crate::io::socket::Socket;

/// Most bytes that the chunked coding adds to a chunk.
const CHUNK_OVERHEAD: usize = 16;

/// The request of one attempt, being sent.
pub(crate) struct Upload {
    out: Vec<u8>,
    written: usize,
    framing: Framing,
    ended: bool,
    abandoned: bool,
    flushes: u64,
    /// Bytes read from the client plus bytes written to the instance.
    progress: u64,
    pace: Pace,
    /// Once any of it was sent, the request is not sent again.
    once: bool,
}

/// Why a request could not be sent completely.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The client sent an invalid body or disconnected.
    Client(Halt),
    /// The instance closed or reset the connection.
    Instance,
}

impl Upload {
    /// Starts a request. `encode` appends its head. Body bytes buffered by an earlier attempt are sent again.
    pub(crate) fn new(
        buffers: &Buffers,
        client: &Client,
        exchange: &Exchange,
        framing: Framing,
        pace: Pace,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let large = match exchange.request.framing {
            Framing::Length(length) => length > SMALL as u64 / 2,
            // What has come already says what is to be expected.
            _ => exchange.request.buffer.len().saturating_sub(exchange.request.head.len) > SMALL / 2,
        };
        let mut out = if large { buffers.bulk() } else { buffers.small() };
        encode(&mut out);
        let start = out.len();
        out.extend_from_slice(client.body.buffered());
        let mut upload = Self {
            out,
            written: 0,
            framing,
            ended: false,
            abandoned: false,
            flushes: 0,
            progress: 0,
            pace,
            once: false,
        };
        upload.finish_chunk(client, start);
        upload
    }

    /// Says whether nobody sends the request again once any of it was sent. Then nothing is kept for that.
    pub(crate) fn sent_once(self, once: bool) -> Self {
        Self { once, ..self }
    }

    /// Returns the buffer to the pool.
    pub(crate) fn finish(self, buffers: &Buffers) {
        buffers.give_back(self.out);
    }

    /// Returns true if head and body were sent completely.
    pub(crate) fn is_sent(&self) -> bool {
        self.ended && self.written == self.out.len()
    }

    /// Returns true while all that was sent has come together.
    pub(crate) fn is_one_piece(&self) -> bool {
        self.flushes == 0
    }

    /// Returns true if anything was sent.
    pub(crate) fn is_started(&self) -> bool {
        self.written > 0 || self.flushes > 0
    }

    /// A number that grows whenever bytes are read from the client or written to the instance.
    pub(crate) fn progress(&self) -> u64 {
        self.progress
    }

    /// Returns true while the request waits for the client's body.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.pace.is_waiting() && !self.abandoned
    }

    /// Stops sending: the instance accepts no more.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Returns true if the instance accepts no more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// When the client counts as too slow in sending its body.
    pub(crate) fn due(&self) -> Option<pylae_core::Instant> {
        self.pace.due()
    }

    /// Reads and writes. Ready once everything is sent.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
        instance: &mut Socket,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            // Body bytes that are already buffered are sent together with the head, and later ones that have come with
            // each other.
            while self.written == 0
                && !self.ended
                && self.room() > 0
                && (self.flushes > 0 || client.body.has_bytes(exchange))
            {
                let Poll::Ready(filled) = self.poll_fill(cx, client, exchange) else { break };
                filled.map_err(UploadError::Client)?;
            }
            if self.ended {
                instance.end(&client.body.trailers());
            }
            while self.written < self.out.len() {
                match ready!(instance.poll_write(cx, &self.out[self.written..])) {
                    Ok(n) if n > 0 => {
                        self.written += n;
                        self.progress += n as u64;
                        if self.once {
                            client.body.stop_buffering();
                        }
                    }
                    // The request cannot be expressed in the instance's protocol.
                    Err(error) if error.kind() == ErrorKind::InvalidInput => {
                        let halt = Halt::Malformed("the request cannot be written in HTTP/2, which the service speaks");
                        return Poll::Ready(Err(UploadError::Client(halt)));
                    }
                    _ => return Poll::Ready(Err(UploadError::Instance)),
                }
            }
            if self.ended {
                return Poll::Ready(instance.finish().map_err(|_| UploadError::Instance));
            }
            self.out.clear();
            self.written = 0;
            self.flushes += 1;
            let filled = ready!(self.poll_fill(cx, client, exchange));
            filled.map_err(UploadError::Client)?;
        }
    }

    /// Sends the rest of a request whose response began early, as long as the instance accepts it.
    pub(crate) fn poll_remaining(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
        instance: &mut Socket,
    ) {
        if !self.is_sent()
            && !self.abandoned
            && matches!(self.poll(cx, client, exchange, instance), Poll::Ready(Err(_)))
        {
            self.abandon();
        }
    }

    /// Free space for body bytes in the output buffer.
    fn room(&self) -> usize {
        (self.out.capacity() - self.out.len()).saturating_sub(CHUNK_OVERHEAD)
    }

    /// Reads one piece of the body.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), Halt>> {
        let start = self.out.len();
        let room = self.room();
        let Client { body, socket, .. } = client;
        match body.poll_data(cx, socket, exchange, &mut self.out, room) {
            Poll::Pending => {
                // Otherwise it is the instance that is waited for.
                if self.out.is_empty() {
                    self.pace.start_waiting(clock::now());
                }
                Poll::Pending
            }
            Poll::Ready(Err(halt)) => Poll::Ready(Err(halt)),
            Poll::Ready(Ok(n)) => {
                self.pace.transferred(clock::now(), n);
                self.progress += n as u64;
                self.finish_chunk(client, start);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Frames the bytes from `start` on as a chunk, and appends the last chunk at the end of the body.
    fn finish_chunk(&mut self, client: &Client, start: usize) {
        self.ended = client.body.is_done();
        if self.framing == Framing::Chunked {
            chunked::wrap(&mut self.out, start);
            if self.ended {
                chunked::finish(&mut self.out, &client.body.trailers());
            }
        }
    }
}

#[cfg(test)]
mod tests;
