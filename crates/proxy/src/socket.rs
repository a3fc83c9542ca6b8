//! A connected stream, polled.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use pylae_core::Buffer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connected stream.
pub(crate) struct Socket(TcpStream);

impl Socket {
    /// Takes a connected stream and switches Nagle's algorithm off.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Ready once there is something to read, without taking a buffer for it.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    /// Reads into the room of `buffer`, at most `limit` bytes. 0 is the end of the stream.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer, limit: usize) -> Poll<io::Result<usize>> {
        let room = buffer.room();
        let most = room.len().min(limit);
        let mut read = ReadBuf::new(&mut room[..most]);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut read))?;
        let n = read.filled().len();
        buffer.advance(n);
        Poll::Ready(Ok(n))
    }

    /// Writes some of `bytes`.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    /// Whether an idle connection is still silent and open, as far as is known without asking the kernel.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        Pin::new(&mut self.0).poll_read(&mut Context::from_waker(Waker::noop()), &mut read).is_pending()
    }
}
