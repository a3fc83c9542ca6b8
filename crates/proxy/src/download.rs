//! A response on its way to the client: head, body as it comes from the instance, back-pressure.

use std::task::{Context, Poll};

use pylae_core::{Exchange, Pace};
use pylae_http::{Framing, chunked};

use crate::buffers::{Buffers, SMALL};
use crate::client::Client;
use crate::clock;
use crate::socket::Socket;
use crate::source::Source;

/// What a chunk adds to its data, at most.
const CHUNK_OVERHEAD: usize = 16;

/// A response, being sent.
pub(crate) struct Download {
    out: Vec<u8>,
    written: usize,
    /// The instance's body.
    source: Source,
    /// Framing towards the client.
    to: Framing,
    pace: Pace,
    sent: u64,
    /// The instance broke off.
    torn: bool,
}

/// Why a response could not be sent completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The client closed or reset the connection.
    Client,
    /// The instance broke off in the middle.
    Instance,
}

impl Download {
    /// A response whose head is what `encode` appends; its body is the instance's, framed as `from`.
    pub(crate) fn new(
        buffers: &Buffers,
        exchange: &Exchange,
        (from, to): (Framing, Framing),
        pace: Pace,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let large = matches!(from, Framing::Length(length) if length > SMALL as u64 / 2);
        let mut out = if large { buffers.bulk() } else { buffers.small() };
        encode(&mut out);
        let mut source = Source::default();
        source.start(from, exchange.response.len);
        Self { out, written: 0, source, to, pace, sent: 0, torn: false }
    }

    /// Gives its buffer back.
    pub(crate) fn finish(self, buffers: &Buffers) {
        buffers.give_back(self.out);
    }

    /// Bytes written to the client.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the instance's body was read completely, and nothing behind it.
    pub(crate) fn is_clean(&self, exchange: &Exchange) -> bool {
        let source = &self.source;
        source.is_done() && source.framing() != Framing::Close && source.consumed() == exchange.response_buffer.len()
    }

    /// Whether it is the client that is waited for.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.pace.is_waiting()
    }

    /// When the client has become too slow in reading.
    pub(crate) fn due(&self) -> Option<pylae_core::Instant> {
        self.pace.due()
    }

    /// Sends on. Ready when everything is sent.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
        instance: &mut Socket,
    ) -> Poll<Result<(), Cut>> {
        loop {
            let mut dry = false;
            while !self.source.is_done() && self.room() > 0 && !dry && !self.torn {
                let (start, room) = (self.out.len(), self.room());
                match self.source.poll_take(cx, instance, &mut exchange.response_buffer, &mut self.out, room) {
                    Poll::Ready(Ok(_)) => {
                        exchange.cache.take(&self.out[start..]);
                        if exchange.cache.is_muted() {
                            self.out.truncate(start);
                        } else {
                            self.close_piece(start);
                        }
                        if self.source.is_done() {
                            exchange.cache.complete();
                        }
                    }
                    Poll::Ready(Err(_)) => {
                        // What came before is sent on, but nothing that could end the body.
                        self.out.truncate(start);
                        self.torn = true;
                    }
                    Poll::Pending => dry = true,
                }
            }
            while self.written < self.out.len() {
                let Poll::Ready(result) = client.socket.poll_write(cx, &self.out[self.written..]) else {
                    self.pace.wait(clock::now());
                    return Poll::Pending;
                };
                match result {
                    Ok(n) if n > 0 => {
                        self.written += n;
                        self.sent += n as u64;
                        if self.pace.is_waiting() || !self.source.is_done() {
                            self.pace.moved(clock::now(), n);
                        }
                    }
                    _ => return Poll::Ready(Err(Cut::Client)),
                }
            }
            if self.source.is_done() {
                return Poll::Ready(Ok(()));
            }
            if self.torn {
                return Poll::Ready(Err(Cut::Instance));
            }
            self.out.clear();
            self.written = 0;
            if dry {
                return Poll::Pending;
            }
        }
    }

    /// Room for body bytes behind what waits to be sent.
    fn room(&self) -> usize {
        (self.out.capacity() - self.out.len()).saturating_sub(CHUNK_OVERHEAD)
    }

    /// Frames the bytes from `start` on, and ends the body if the instance has.
    fn close_piece(&mut self, start: usize) {
        if self.to == Framing::Chunked {
            chunked::wrap(&mut self.out, start);
            if self.source.is_done() {
                chunked::finish(&mut self.out, self.source.trailers());
            }
        }
    }
}
