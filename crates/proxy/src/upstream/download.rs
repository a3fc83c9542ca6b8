//! Sends a response to the client: the head, then the body as the instance sends it, with back-pressure.

use std::borrow::Cow;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pylae_core::exchange::transform::without_digests;
use pylae_core::{Delivery, Exchange, Instant, Pace, Transforms};
use pylae_http::Framing;
use pylae_http::body::chunked;

use crate::client::Client;
use crate::io::body_reader::BodyReader;
use crate::io::buffers::{Buffers, SMALL};
use crate::io::clock;
use crate::io::socket::Socket;
use crate::upstream::failure::RelayError;
use crate::upstream::hook_body::Streamed;

/// Most bytes that the chunked coding adds to a chunk.
const CHUNK_OVERHEAD: usize = 16;
/// Most bytes read of a replaced body to keep its connection.
const MAX_REST: usize = 64 * 1024;

/// A response being sent.
pub(crate) struct Download {
    out: Vec<u8>,
    written: usize,
    /// The instance's body.
    source: BodyReader,
    /// The framing towards the client.
    to: Framing,
    delivery: Delivery,
    /// Why the body ended early.
    error: Option<RelayError>,
    /// Bytes read and discarded of a body that was replaced.
    rest: usize,
    changes: Option<Box<BodyChanges>>,
    /// The hooks that see the body before the transforms.
    hook_stream: Option<Box<Streamed>>,
}

/// The transforms of a body and their state.
struct BodyChanges {
    transforms: Transforms,
    /// Input of the transforms.
    plain: Vec<u8>,
    /// The transforms received bytes since the last flush.
    unflushed: bool,
    /// The transforms produced the end of the body, even if the instance still sends.
    complete: bool,
}

impl Download {
    /// Starts a response. `encode` appends its head. The instance's body is framed as `from`, the client's as `to`.
    pub(crate) fn new(
        buffers: &Buffers,
        exchange: &mut Exchange,
        instance: &Socket,
        (from, to, pace): (Framing, Framing, Pace),
        encode: impl FnOnce(&Exchange, &mut Vec<u8>),
    ) -> Self {
        let large = matches!(from, Framing::Length(length) if length > SMALL as u64 / 2);
        let mut out = if large { buffers.bulk() } else { buffers.small() };
        encode(exchange, &mut out);
        let mut source = BodyReader::default();
        source.start(from, exchange.response.head.len, instance);
        let changes = (!exchange.response.transforms.is_empty() && from != Framing::None).then(|| {
            let transforms = std::mem::take(&mut exchange.response.transforms);
            Box::new(BodyChanges { transforms, plain: buffers.small(), unflushed: false, complete: false })
        });
        let stream = exchange.hooks_mut().and_then(|hooks| hooks.stream.take());
        let hook_stream = stream.map(|stream| Box::new(Streamed::new(stream, source.is_done())));
        let delivery = Delivery::new(pace);
        let mut download = Self { out, written: 0, source, to, delivery, error: None, rest: 0, changes, hook_stream };
        let done = download.changes.as_ref().is_some_and(|changes| changes.transforms.is_done());
        if done || (download.is_complete() && download.changes.is_some()) {
            let start = download.out.len();
            download.transform(start);
        }
        download
    }

    /// Returns the buffers to the pool.
    pub(crate) fn finish(self, buffers: &Buffers) {
        buffers.give_back(self.out);
        if let Some(changes) = self.changes {
            buffers.give_back(changes.plain);
        }
    }

    /// The trailers of the instance's body, at its end.
    pub(crate) fn trailers(&self) -> &[u8] {
        self.source.trailers()
    }

    /// Bytes written to the client.
    pub(crate) fn sent(&self) -> u64 {
        self.delivery.sent()
    }

    /// Returns true if the instance's body was read to its end and nothing followed it.
    pub(crate) fn is_clean(&self, exchange: &Exchange) -> bool {
        let source = &self.source;
        source.is_done() && source.framing() != Framing::Close && source.consumed() == exchange.response.buffer.len()
    }

    /// Returns true once the body is complete.
    fn is_complete(&self) -> bool {
        self.is_replaced()
            || self.hook_stream.as_ref().map_or_else(|| self.source.is_done(), |hook_stream| hook_stream.is_complete())
    }

    /// Returns true if the client's body is complete regardless of what the instance still sends.
    fn is_replaced(&self) -> bool {
        self.changes.as_ref().is_some_and(|changes| changes.complete)
    }

    /// Returns true while the response waits for the client to read.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.delivery.is_waiting()
    }

    /// When the client counts as too slow or has read nothing for `idle_timeout`. None while the response does not wait
    /// for the client.
    pub(crate) fn due(&mut self, socket: &Socket, idle_timeout: Duration) -> Option<Instant> {
        socket.due(&mut self.delivery, clock::coarse(), idle_timeout)
    }

    /// Reads and writes. Ready once everything is sent.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
        instance: &mut Socket,
    ) -> Poll<Result<(), RelayError>> {
        loop {
            let mut starved = false;
            while !self.is_complete() && self.room() > 0 && !starved && self.error.is_none() {
                let (start, room) = (self.out.len(), self.room());
                let (into, room) = match &mut self.changes {
                    None => (&mut self.out, room),
                    Some(changes) => (&mut changes.plain, room.min(SMALL)),
                };
                let taken = match &mut self.hook_stream {
                    None => {
                        let taken = self.source.poll_data(cx, instance, &mut exchange.response.buffer, into, room);
                        taken.map_err(|_| RelayError::Instance)
                    }
                    Some(hook_stream) => hook_stream.poll_data(cx, &mut self.source, instance, exchange, into),
                };
                match taken {
                    Poll::Ready(Ok(_)) => self.process(start, exchange),
                    Poll::Ready(Err(error)) => {
                        // What was complete before is sent, but nothing that could mark the end of the body.
                        self.out.truncate(start);
                        self.error = Some(error);
                    }
                    Poll::Pending => {
                        starved = true;
                        self.flush();
                    }
                }
            }
            if self.is_complete() {
                // Trailers describe the body as the instance sent it. Those of a gRPC call state its result.
                let apply = self.hook_stream.is_none() || exchange.is_call();
                let trailers = if apply { trailers(&self.source, self.changes.is_some()) } else { Cow::default() };
                client.socket.end(&trailers);
                // The rest of a body that was replaced is waited for before.
                if !client.kept && !self.is_replaced() {
                    client.socket.end_connection();
                }
            }
            ready!(self.poll_write(cx, client))?;
            if self.is_complete() {
                return Poll::Ready(client.socket.finish().map_err(|_| RelayError::Client));
            }
            if let Some(error) = self.error {
                return Poll::Ready(Err(error));
            }
            self.out.clear();
            self.written = 0;
            if starved {
                return Poll::Pending;
            }
        }
    }

    /// Writes what is in `out` to the client.
    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Poll<Result<(), RelayError>> {
        while self.written < self.out.len() {
            let Poll::Ready(result) = client.socket.poll_write(cx, &self.out[self.written..]) else {
                client.socket.start_waiting(&mut self.delivery, clock::now());
                return Poll::Pending;
            };
            match result {
                Ok(n) if n > 0 => {
                    self.written += n;
                    self.delivery.send(n);
                    client.written += n as u64;
                    if self.delivery.is_waiting() {
                        self.delivery.stop_waiting(clock::now());
                    }
                }
                _ => return Poll::Ready(Err(RelayError::Client)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Processes what was read: it is in `out` from `start` on, or in the input of the transforms.
    fn process(&mut self, start: usize, exchange: &mut Exchange) {
        if self.hook_stream.is_none() {
            // The cache stores bodies as instances send them.
            if let Some(cache) = exchange.cache_mut() {
                cache.copy_body(self.changes.as_ref().map_or(&self.out[start..], |changes| &changes.plain));
            }
        }
        if exchange.is_cache_only() {
            self.out.truncate(start);
            if let Some(changes) = &mut self.changes {
                changes.plain.clear();
            }
        } else if self.changes.is_some() {
            self.transform(start);
        } else {
            self.finish_chunk(start);
        }
        if self.hook_stream.is_none()
            && self.source.is_done()
            && let Some(cache) = exchange.cache_mut()
        {
            cache.complete();
        }
    }

    /// Discards the rest of a body that was replaced, so that its connection can be reused. Ready at its end, on an
    /// error or at the limit.
    pub(crate) fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        instance: &mut Socket,
    ) -> Poll<()> {
        let Some(changes) = self.changes.as_mut().filter(|_| self.hook_stream.is_none()) else {
            return Poll::Ready(());
        };
        while !self.source.is_done() && self.rest < MAX_REST {
            changes.plain.clear();
            let taken = self.source.poll_data(cx, instance, &mut exchange.response.buffer, &mut changes.plain, SMALL);
            let Ok(n) = ready!(taken) else { break };
            self.rest += n;
        }
        Poll::Ready(())
    }

    /// Returns true if a replaced body was not read to its end.
    pub(crate) fn has_rest(&self) -> bool {
        self.is_replaced() && !self.source.is_done()
    }

    /// Runs the input through the transforms and frames the output.
    fn transform(&mut self, start: usize) {
        let complete = self.is_complete();
        let Some(changes) = &mut self.changes else { return };
        let complete = complete || changes.transforms.is_done();
        changes.complete = complete;
        changes.transforms.push(&changes.plain, complete, &mut self.out);
        changes.plain.clear();
        changes.unflushed = true;
        self.finish_chunk(start);
    }

    /// Flushes the transforms when a streamed body pauses, because the client may wait for it. A body of known length
    /// is not flushed, as it has no pauses.
    fn flush(&mut self) {
        let start = self.out.len();
        if let Some(changes) = self.changes.as_deref_mut().filter(|changes| changes.unflushed)
            && !matches!(self.source.framing(), Framing::Length(_))
        {
            changes.unflushed = false;
            changes.transforms.flush(&mut self.out);
            self.finish_chunk(start);
        }
    }

    /// Free space for body bytes in the output buffer.
    fn room(&self) -> usize {
        if self.hook_stream.is_some() {
            // Hooks produce pieces of any size: read the next when the last is nearly written.
            return SMALL.saturating_sub(self.out.len());
        }
        (self.out.capacity() - self.out.len()).saturating_sub(CHUNK_OVERHEAD)
    }

    /// Frames the bytes from `start` on as a chunk, and appends the last chunk at the end of the body.
    fn finish_chunk(&mut self, start: usize) {
        if self.to == Framing::Chunked {
            chunked::wrap(&mut self.out, start);
            if self.is_complete() {
                // The instance's trailers do not describe a body that hooks changed.
                let changed = self.changes.is_some();
                let kept = if self.hook_stream.is_none() { trailers(&self.source, changed) } else { Cow::default() };
                chunked::finish(&mut self.out, &kept);
            }
        }
    }
}

/// The trailers to forward. After a change, only those that still hold.
fn trailers(source: &BodyReader, changed: bool) -> Cow<'_, [u8]> {
    if changed { without_digests(source.trailers()).into() } else { source.trailers().into() }
}
