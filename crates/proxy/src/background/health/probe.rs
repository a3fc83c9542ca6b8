//! What every kind of check is made of.

use std::future::poll_fn;
use std::io;

use pylae_http::HeadLimits;

use crate::io::socket::Socket;

/// Bounds on an answer's head.
pub(super) const LIMITS: HeadLimits = HeadLimits { head: 16 * 1024, target: 0, fields: 100 };
/// Most bytes read of an answer's body.
pub(super) const MAX_DRAINED: usize = 64 * 1024;

/// What a check has seen.
pub(super) struct ProbeResult {
    pub(super) ok: bool,
    pub(super) reason: String,
    /// Where the rest of an answer comes from, and how much of it there is.
    pub(super) rest: Option<(Socket, usize)>,
}

/// Sends a whole request.
pub(super) async fn send(socket: &mut Socket, mut rest: &[u8]) -> io::Result<()> {
    socket.end(&[]);
    while !rest.is_empty() {
        match poll_fn(|cx| socket.poll_write(cx, rest)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => rest = &rest[written..],
        }
    }
    socket.finish()
}
