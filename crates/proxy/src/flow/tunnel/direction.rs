//! One direction of an open WebSocket: bytes as they come, no faster than they are taken, and nothing that breaks a rule.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use pylae_core::{Delivery, Instant, Pace};
use pylae_http::websocket::{MOST_HEADER, ScanEnd, Violation, WebSocketFrames};

use crate::io::buffers::Buffers;
use crate::io::clock;
use crate::io::socket::Socket;

/// One direction, from its source to its target.
pub(super) struct Direction {
    frames: WebSocketFrames,
    /// What was read and not written yet. No memory while that is nothing.
    buffer: Vec<u8>,
    written: usize,
    /// Up to here it may be written: behind it is at most the beginning of a header.
    ready: usize,
    state: State,
    /// The source has ended the connection.
    source_ended: bool,
    /// Where the source's next frame begins is not known any more.
    out_of_sync: bool,
    received: u64,
    delivery: Delivery,
}

enum State {
    Open,
    /// The same, but this Close frame of the gateway's own goes in the place of the source's.
    DeferredClose(Vec<u8>),
    /// The rest of the frame under way passes, and then this Close frame of the gateway's own.
    Closing(Vec<u8>),
    /// The target has a Close frame: what still comes is thrown away.
    Closed,
}

/// Why a direction does not go on.
pub(super) enum DirectionEnd {
    /// The source has ended the connection, and everything is written.
    Source,
    /// The target does not take anything any more.
    Target,
    /// The source broke a rule; what came before passes.
    Broken(Violation),
}

impl Direction {
    /// A direction that `early` bytes of the source were read for.
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

    /// Gives its buffer back.
    pub(super) fn finish(self, buffers: &Buffers) {
        buffers.give_back(self.buffer);
    }

    /// Bytes that came from the source.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that were written to the target.
    pub(super) fn sent(&self) -> u64 {
        self.delivery.sent()
    }

    /// Whether the source has sent a Close frame.
    pub(super) fn has_received_close(&self) -> bool {
        !self.out_of_sync && self.frames.is_closed()
    }

    /// Whether the target has taken a Close frame.
    pub(super) fn has_sent_close(&self) -> bool {
        matches!(self.state, State::Closed) && self.written == self.ready
    }

    /// When the target, at the other end of `to`, has read nothing for too long, or too little; none while it is not waited for.
    pub(super) fn due(&mut self, to: &Socket, idle_timeout: Duration) -> Option<Instant> {
        self.delivery.due(clock::coarse(), idle_timeout, || to.unacknowledged())
    }

    /// Whether it is the target that is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.delivery.is_waiting()
    }

    /// Has the target get this Close frame, behind the frame under way, unless it has one.
    pub(super) fn close(&mut self, frame: Vec<u8>) {
        if matches!(self.state, State::Open | State::DeferredClose(_)) {
            self.state = State::Closing(frame);
            // Nothing can be broken in that state.
            let _ = self.scan();
        }
    }

    /// Has the target get this Close frame in the place of the source's own, or at [`pay`](Self::pay), unless it has one.
    pub(super) fn defer_close(&mut self, frame: Vec<u8>) {
        if matches!(self.state, State::Open) {
            self.state = State::DeferredClose(frame);
            self.frames.hold_close();
        }
    }

    /// Does not wait for the source's own Close frame any longer.
    pub(super) fn send_deferred_close(&mut self) {
        if let State::DeferredClose(frame) = &mut self.state {
            let frame = std::mem::take(frame);
            self.close(frame);
        }
    }

    /// Relays what there is.
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

    /// Writes what is ready.
    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Socket) -> Poll<Result<(), ()>> {
        while self.written < self.ready {
            match to.poll_write(cx, &self.buffer[self.written..self.ready]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.written += n;
                    self.delivery.send(n);
                    if self.delivery.is_waiting() {
                        self.delivery.go_on(clock::coarse());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    self.delivery.wait(clock::coarse());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Forgets what was written, and sees to it that something can be read behind the rest.
    fn make_room(&mut self, buffers: &Buffers) {
        if self.buffer.capacity() == 0 {
            self.buffer = buffers.small();
        }
        self.buffer.drain(..self.ready);
        self.written = 0;
        self.ready = 0;
        if self.buffer.capacity() < MOST_HEADER {
            self.buffer.reserve(MOST_HEADER);
        }
    }

    /// Finds out how much of what was read may be written.
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
                if self.frames.is_between() {
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

    /// Throws away what lies behind the end of what may be written; only whether the source sends a Close frame is of interest.
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
