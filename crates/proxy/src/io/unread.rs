//! Bytes that a client has not read yet, and how a connection with such bytes is closed.

use std::os::fd::AsRawFd;
use std::time::Duration;

use pylae_core::plan::Limits;
use pylae_core::{Delivery, Instant, Pace};
use socket2::SockRef;

use crate::io::buffers::BULK;
use crate::io::socket::Socket;

/// Most unsent bytes that the kernel buffers per client. Its own bound is some megabytes.
pub(crate) const MAX_UNSENT: u32 = BULK as u32;
/// Most unread bytes that a connection may be closed with, such as a small response, a TLS alert or a GOAWAY. The
/// kernel keeps the bytes of a closed connection for minutes, even if the client no longer exists.
pub(crate) const MAX_LEFT: u64 = 4096;
/// Shortest and longest interval between checks of a client's progress, for which there is no event.
const RECHECK: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(2));

/// Tracks the bytes that a client has still to read.
pub(crate) struct Unread {
    pace: Pace,
    patience: Duration,
    /// Progress since unread bytes were first seen.
    delivery: Option<Delivery>,
    pause: Duration,
}

/// The progress of a client.
pub(crate) enum ReadProgress {
    /// It has read all but `MAX_LEFT` bytes, or has disconnected.
    Over,
    /// It is fast enough. Check again at this moment.
    UnderWay(Instant),
    TooSlow,
}

impl Unread {
    /// Applies the minimum rate of responses.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            pace: Pace::new(limits.min_rate, limits.body_grace.0),
            patience: limits.keep_alive.0.max(limits.body_grace.0),
            delivery: None,
            pause: RECHECK.0,
        }
    }

    /// Asks the kernel how much of what was written to `socket` is unread.
    pub(crate) fn check(&mut self, socket: &Socket, now: Instant) -> ReadProgress {
        let unacknowledged = socket.unacknowledged();
        if unacknowledged <= MAX_LEFT || socket.is_gone() {
            return ReadProgress::Over;
        }
        let delivery = self.delivery.get_or_insert_with(|| Delivery::of_unacknowledged(self.pace, now, unacknowledged));
        match delivery.due(now, self.patience, || unacknowledged) {
            Some(due) if due > now => {
                let next = now.saturating_add(self.pause);
                self.pause = (self.pause * 2).min(RECHECK.1);
                ReadProgress::UnderWay(due.min(next))
            }
            _ => ReadProgress::TooSlow,
        }
    }
}

impl Socket {
    /// Records that the peer takes nothing at the moment. A stream that waits for its HTTP/2 connection is no matter of
    /// its own: the connection is watched as a whole.
    pub(crate) fn start_waiting(&self, delivery: &mut Delivery, now: Instant) {
        if self.is_queued() { delivery.stop_waiting(now) } else { delivery.start_waiting(now) }
    }

    /// When the peer counts as too slow, for its pace or because it has read nothing for as long as `patience`. None
    /// while it is not waited for.
    pub(crate) fn due(&self, delivery: &mut Delivery, now: Instant, patience: Duration) -> Option<Instant> {
        if self.is_queued() {
            return Some(now.saturating_add(patience));
        }
        delivery.due(now, patience, || self.unacknowledged())
    }

    fn is_queued(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.is_queued())
    }

    /// Bytes written that the peer's kernel has not acknowledged. 0 for an HTTP/2 stream, whose connection is checked
    /// as a whole.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.connection().map_or(0, |connection| unacknowledged(&connection))
    }

    /// Makes closing reset the connection if more than `MAX_LEFT` bytes are unread.
    pub(crate) fn reset_if_unread(&self) {
        if self.unacknowledged() > MAX_LEFT
            && let Some(connection) = self.connection()
        {
            // Fails only if the connection is closed already.
            let _ = connection.set_linger(Some(Duration::ZERO));
        }
    }

    /// Returns true if the connection was reset or timed out, so that nothing more will be read.
    fn is_gone(&self) -> bool {
        self.connection().is_none_or(|connection| connection.peer_addr().is_err())
    }
}

/// `SIOCOUTQ` (tcp(7)).
fn unacknowledged(connection: &SockRef<'_>) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `connection` is there, and the request writes one `int`.
    let asked = unsafe { libc::ioctl(connection.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    // Fails only if there is no connection.
    if asked == 0 { u64::try_from(bytes).unwrap_or_default() } else { 0 }
}

#[cfg(test)]
mod tests;
