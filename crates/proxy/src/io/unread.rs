//! What clients have not read yet: how much that is, and how a connection ends on which there is some.

use std::os::fd::AsRawFd;
use std::time::Duration;

use pylae_core::plan::Limits;
use pylae_core::{Delivery, Instant, Pace};
use tokio::net::TcpStream;

use crate::io::buffers::BULK;
use crate::io::socket::Socket;

/// Most bytes that the kernel takes for a client while it cannot send them. Its own bound is some megabytes for each client.
pub(crate) const MAX_UNSENT: u32 = BULK as u32;
/// Most unread bytes that a connection is closed with: a small answer, the last words of TLS or HTTP/2. The kernel keeps what it has of
/// a closed connection for minutes, for a client that need not exist any more.
const MAX_LEFT: u64 = 4096;
/// Time until it is looked again whether a client has read on, at first and at most. Nothing tells of it.
const RECHECK: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(2));

/// The rest of what was written to a client, which it has still to read.
pub(crate) struct Unread {
    pace: Pace,
    patience: Duration,
    /// Since it was found out that there is a rest.
    delivery: Option<Delivery>,
    pause: Duration,
}

/// How a client gets on with it.
pub(crate) enum ReadProgress {
    /// It has read all but what may be left to the kernel, or it is gone.
    Over,
    /// It is fast enough; then it is to be looked at again.
    UnderWay(Instant),
    TooSlow,
}

impl Unread {
    /// A rest that is to be read at the pace of answers.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            pace: Pace::new(limits.min_rate, limits.body_grace.0),
            patience: limits.keep_alive.0.max(limits.body_grace.0),
            delivery: None,
            pause: RECHECK.0,
        }
    }

    /// Asks the kernel what is unread of all that was written to `socket`.
    pub(crate) fn check(&mut self, socket: &Socket, now: Instant) -> ReadProgress {
        let unacknowledged = socket.unacknowledged();
        if unacknowledged <= MAX_LEFT || socket.is_gone() {
            return ReadProgress::Over;
        }
        let delivery = self.delivery.get_or_insert_with(|| Delivery::of_rest(self.pace, now, unacknowledged));
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
    /// Bytes written to it that the peer's kernel has not acknowledged. None of a stream: its connection is looked at as a whole.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.connection().map_or(0, unacknowledged)
    }

    /// Has closing drop what is unread, if that is more than may be left to the kernel.
    pub(crate) fn reset_if_unread(&self) {
        if self.unacknowledged() > MAX_LEFT
            && let Some(connection) = self.connection()
        {
            // Fails only when the connection is gone already.
            let _ = connection.set_zero_linger();
        }
    }

    /// Whether there is no connection any more: it was reset, or has timed out. What was unread then is unread for ever.
    fn is_gone(&self) -> bool {
        self.connection().is_none_or(|connection| connection.peer_addr().is_err())
    }

    fn connection(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.stream()),
            Self::Null | Self::Stream(_) => None,
        }
    }
}

/// `SIOCOUTQ` (tcp(7)).
fn unacknowledged(stream: &TcpStream) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `stream` is, and the request writes one `int`.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    // Fails only when there is no connection.
    if asked == 0 { u64::try_from(bytes).unwrap_or_default() } else { 0 }
}

#[cfg(test)]
mod tests;
