//! What all kinds of checks have in common.

use std::future::poll_fn;
use std::io;

use pylae_http::HeadLimits;

use crate::io::socket::Socket;

/// Limits on a response head.
pub(super) const LIMITS: HeadLimits = HeadLimits { head: 16 * 1024, target: 0, fields: 100 };
/// Most bytes read of a response body.
pub(super) const MAX_DRAINED: usize = 64 * 1024;

/// The result of a check.
pub(super) struct ProbeResult {
    pub(super) ok: bool,
    pub(super) reason: String,
    /// The socket with the rest of the response, and the number of bytes to drain.
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
