//! A connected stream, polled.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connected stream; none is nobody, who says nothing and takes everything.
pub(crate) struct Socket(Option<TcpStream>);

impl Socket {
    /// Takes a connected stream and switches Nagle's algorithm off.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(Some(stream)))
    }

    /// The client of a fetch that no client waits for.
    pub(crate) fn nobody() -> Self {
        Self(None)
    }

    /// Ready once there is something to read, without taking a buffer for it.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_ref().map_or(Poll::Pending, |stream| stream.poll_read_ready(cx))
    }

    /// Reads behind the bytes in `buffer`, up to its capacity and at most `limit` bytes. 0 is the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let room = buffer.capacity() - buffer.len();
        debug_assert!(room > 0, "nothing can be read into a full buffer");
        let Some(stream) = &mut self.0 else { return Poll::Pending };
        let mut window = buffer.limit(room.min(limit));
        pin!(stream.read_buf(&mut window)).poll(cx)
    }

    /// Writes some of `bytes`.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(stream) => Pin::new(stream).poll_write(cx, bytes),
            None => Poll::Ready(Ok(bytes.len())),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Makes closing a reset: the peer must not take the end of the connection for the end of what was sent.
    pub(crate) fn close_by_reset(&self) {
        // Fails only when the connection is gone already.
        let _ = self.0.as_ref().map(TcpStream::set_zero_linger);
    }

    /// Whether an idle connection is still silent and open, as far as is known without asking the kernel.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let Some(stream) = &mut self.0 else { return false };
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut read).is_pending()
    }
}
