//! A connected stream, polled.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BufMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::Tls;

/// Silence after which the kernel asks whether a peer is still there.
const PROBE: Duration = Duration::from_secs(60);

/// A connected stream.
pub(crate) enum Socket {
    /// The client of a fetch that no client waits for: says nothing and takes everything.
    Nobody,
    /// A plain one.
    Tcp(TcpStream),
    /// An encrypted one, after its handshake.
    Tls(Box<Tls>),
}

impl Socket {
    /// Ready once there is something to read, without taking a buffer for it.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_readable(cx),
            Self::Nobody => Poll::Pending,
        }
    }

    /// Reads behind the bytes in `buffer`, up to its capacity and at most `limit` bytes. 0 is the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let room = (buffer.capacity() - buffer.len()).min(limit);
        debug_assert!(room > 0, "nothing can be read into a full buffer");
        match self {
            Self::Tcp(stream) => {
                let mut window = buffer.limit(room);
                pin!(stream.read_buf(&mut window)).poll(cx)
            }
            Self::Tls(stream) => stream.poll_read(cx, buffer, room),
            Self::Nobody => Poll::Pending,
        }
    }

    /// Writes some of `bytes`. Whoever is told to wait must come again with the same bytes in front, or never again.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, bytes),
            Self::Nobody => Poll::Ready(Ok(bytes.len())),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
            Self::Nobody => Poll::Ready(Ok(())),
        }
    }

    /// Has the kernel ask now and then whether a silent peer is still there: for streams that may be silent for as long as
    /// they like.
    pub(crate) fn probe(&self) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.stream(),
            Self::Nobody => return,
        };
        // Fails only when the connection is gone already.
        let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE).with_interval(PROBE / 4));
    }

    /// Makes closing a reset: the peer must not take the end of the connection for the end of what was sent.
    pub(crate) fn close_by_reset(&self) {
        match self {
            // Fails only when the connection is gone already.
            Self::Tcp(stream) => drop(stream.set_zero_linger()),
            Self::Tls(stream) => stream.close_by_reset(),
            Self::Nobody => {}
        }
    }

    /// Whether an idle connection is still silent and open, as far as is known without asking the kernel.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        match self {
            Self::Tcp(stream) => {
                let mut byte = [0];
                Pin::new(stream).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
            // What TLS says for itself, such as a session ticket, is no sound.
            Self::Tls(stream) => stream.poll_read(cx, &mut Vec::new(), 0).is_pending(),
            Self::Nobody => false,
        }
    }
}
