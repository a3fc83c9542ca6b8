//! The client's side of a connection.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use pylae_core::Exchange;

use crate::body::Body;
use crate::deadline::Deadline;
use crate::socket::Socket;

/// A client's connection and what is read from it at the moment.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    pub(crate) peer: SocketAddr,
    /// Whether the connection is encrypted.
    pub(crate) secure: bool,
    /// The one deadline of the connection's task.
    pub(crate) deadline: Rc<Deadline>,
    /// The body of the request in hand.
    pub(crate) body: Body,
    /// Memory for header values that are put together.
    pub(crate) scratch: Vec<u8>,
}

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It serves further requests.
    Keep,
    /// It is closed, but the client is given time to read what was sent.
    Close,
    /// It is cut off: what was sent is not complete, or nobody is left.
    Abort,
}

impl Client {
    /// Writes all of `bytes`.
    pub(crate) fn poll_write_all(&mut self, cx: &mut Context<'_>, bytes: &[u8], written: &mut usize) -> Poll<io::Result<()>> {
        while *written < bytes.len() {
            match self.socket.poll_write(cx, &bytes[*written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => *written += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready once the client has gone while its answer is awaited. Requests that it sends ahead are kept as far as there is
    /// room. Says nothing before the request's body has been taken completely.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange) -> Poll<()> {
        while self.body.is_done() && exchange.buffer.len() < exchange.buffer.capacity() {
            match self.socket.poll_read(cx, &mut exchange.buffer, usize::MAX) {
                Poll::Pending => break,
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}
