//! One direction of an open WebSocket: relays bytes with back-pressure, and nothing that violates the protocol.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use pylae_core::{Delivery, Instant, Pace};
use pylae_http::websocket::{MAX_HEADER, ScanEnd, Violation, WebSocketFrames};

use crate::io::buffers::Buffers;
use crate::io::clock;
use crate::io::socket::Socket;

/// One direction, from its source to its target.
pub(super) struct Direction {
    frames: WebSocketFrames,
    /// Bytes read and not written yet. Holds no memory while empty.
    buffer: Vec<u8>,
    written: usize,
    /// End of the bytes that may be written. At most the beginning of a frame header follows.
    ready: usize,
    state: State,
    /// The source has closed the connection.
    source_ended: bool,
    /// The start of the source's next frame is unknown, after a violation.
    out_of_sync: bool,
    received: u64,
    delivery: Delivery,
}

enum State {
    Open,
    /// Open, but this Close frame of the gateway replaces the source's.
    DeferredClose(Vec<u8>),
    /// Relays the rest of the current frame, then sends this Close frame of the gateway.
    Closing(Vec<u8>),
    /// The target was sent a Close frame: further input is discarded.
    Closed,
}

/// Why a direction has ended.
pub(super) enum DirectionEnd {
    /// The source closed the connection, and everything is written.
    Source,
    /// The target accepts no more bytes.
    Target,
    /// The source violated the protocol. The bytes before that are relayed.
    Broken(Violation),
}

impl Direction {
    /// Creates a direction. `early` are bytes that were already read from the source.
    pub(super) fn new(
        frames: WebSocketFrames,
        pace: Pace,
        early: &[u8],
        buffers: &Buffers,
    ) -> (Self, Option<Violation>) {
        let mut buffer = Vec::new();
        if !early.is_empty() {
            buffer = buffers.small();
            buffer.extend_from_slice(early);
        }
        let mut direction = Self {
            frames,
            buffer,
            written: 0,
            ready: 0,
            state: State::Open,
            source_ended: false,
            out_of_sync: false,
            received: early.len() as u64,
            delivery: Delivery::new(pace),
        };
        let violation = direction.scan().err();
        (direction, violation)
    }

    /// Returns the buffer to the pool.
    pub(super) fn finish(self, buffers: &Buffers) {
        buffers.give_back(self.buffer);
    }

    /// Bytes received from the source.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes written to the target.
    pub(super) fn sent(&self) -> u64 {
        self.delivery.sent()
    }

    /// Returns true if the source sent a Close frame.
    pub(super) fn has_received_close(&self) -> bool {
        !self.out_of_sync && self.frames.is_closed()
    }

    /// Returns true if a Close frame was written to the target.
    pub(super) fn has_sent_close(&self) -> bool {
        matches!(self.state, State::Closed) && self.written == self.ready
    }

    /// When the target counts as too slow, or None while the direction does not wait for it.
    pub(super) fn due(&mut self, to: &Socket, idle_timeout: Duration) -> Option<Instant> {
        to.due(&mut self.delivery, clock::coarse(), idle_timeout)
    }

    /// Returns true while the direction waits for the target to read.
    pub(super) fn is_waiting(&self) -> bool {
        self.delivery.is_waiting()
    }

    /// Sends the target this Close frame after the current frame, unless one was sent.
    pub(super) fn close(&mut self, frame: Vec<u8>) {
        if matches!(self.state, State::Open | State::DeferredClose(_)) {
            self.state = State::Closing(frame);
            // No violation is possible in this state.
            let _ = self.scan();
        }
    }

    /// Keeps this Close frame for the target. It replaces the source's own, or is sent by
    /// [`send_deferred_close`](Self::send_deferred_close), unless one was sent.
    pub(super) fn defer_close(&mut self, frame: Vec<u8>) {
        if matches!(self.state, State::Open) {
            self.state = State::DeferredClose(frame);
            self.frames.hold_close();
        }
    }

    /// Sends the deferred Close frame without waiting any longer for the source's own.
    pub(super) fn send_deferred_close(&mut self) {
        if let State::DeferredClose(frame) = &mut self.state {
            let frame = std::mem::take(frame);
            self.close(frame);
        }
    }

    /// Relays the bytes that are available.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
        buffers: &Buffers,
    ) -> Poll<DirectionEnd> {
        loop {
            if ready!(self.poll_write(cx, to)).is_err() {
                return Poll::Ready(DirectionEnd::Target);
            }
            if self.source_ended {
                return Poll::Ready(DirectionEnd::Source);
            }
            self.make_room(buffers);
            match from.poll_read(cx, &mut self.buffer, usize::MAX) {
                Poll::Ready(Ok(n)) if n > 0 => self.received += n as u64,
                Poll::Ready(_) => {
                    self.source_ended = true;
                    self.buffer.clear();
                }
                Poll::Pending => {
                    if self.buffer.is_empty() {
                        buffers.give_back(std::mem::take(&mut self.buffer));
                    }
                    return Poll::Pending;
                }
            }
            if let Err(violation) = self.scan() {
                return Poll::Ready(DirectionEnd::Broken(violation));
            }
        }
    }

    /// Writes the bytes that are ready.
    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Socket) -> Poll<Result<(), ()>> {
        while self.written < self.ready {
            match to.poll_write(cx, &self.buffer[self.written..self.ready]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.written += n;
                    self.delivery.send(n);
                    if self.delivery.is_waiting() {
                        self.delivery.stop_waiting(clock::coarse());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    to.start_waiting(&mut self.delivery, clock::coarse());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Drops what was written and makes room to read more.
    fn make_room(&mut self, buffers: &Buffers) {
        if self.buffer.capacity() == 0 {
            self.buffer = buffers.small();
        }
        self.buffer.drain(..self.ready);
        self.written = 0;
        self.ready = 0;
        if self.buffer.capacity() < MAX_HEADER {
            self.buffer.reserve(MAX_HEADER);
        }
    }

    /// Determines how much of the buffer may be written.
    fn scan(&mut self) -> Result<(), Violation> {
        match &mut self.state {
            State::Open | State::DeferredClose(_) => {
                let (passed, found) = self.frames.scan(&self.buffer[self.ready..]);
                self.ready += passed;
                if found == ScanEnd::More {
                    return Ok(());
                }
                self.buffer.truncate(self.ready);
                if let ScanEnd::Broken(violation) = found {
                    self.out_of_sync = true;
                    return Err(violation);
                }
                if let State::DeferredClose(frame) = std::mem::replace(&mut self.state, State::Closed) {
                    self.buffer.extend_from_slice(&frame);
                    self.ready += frame.len();
                }
            }
            State::Closing(frame) => {
                self.ready += self.frames.pass(&self.buffer[self.ready..]);
                if self.frames.is_at_boundary() {
                    self.buffer.splice(self.ready..self.ready, frame.iter().copied());
                    self.ready += frame.len();
                    self.state = State::Closed;
                    self.discard();
                }
            }
            State::Closed => self.discard(),
        }
        Ok(())
    }

    /// Discards the input after the end of what may be written, and notes whether it contains a Close frame.
    fn discard(&mut self) {
        if !self.out_of_sync {
            let (passed, found) = self.frames.scan(&self.buffer[self.ready..]);
            if found == ScanEnd::More {
                self.buffer.drain(self.ready..self.ready + passed);
                return;
            }
            self.out_of_sync = found != ScanEnd::Closed;
        }
        self.buffer.truncate(self.ready);
    }
}

#[cfg(test)]
mod tests;
