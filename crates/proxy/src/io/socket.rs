//! A socket: a plain, TLS or HTTP/2 stream behind one interface of poll functions.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BufMut;
use pylae_http::RequestHead;
use pylae_http::http2::error::Http2Code;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::io::fresh::{self, FreshStream};
use crate::io::h2_stream::stream::H2Stream;
use crate::io::tls::Tls;

/// Idle time before the first TCP keep-alive probe.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A connected stream of any kind.
pub(crate) enum Socket {
    /// The client of a background fetch: never readable, and accepts and discards every write.
    Null,
    /// A plain TCP connection that was accepted a moment ago. Becomes the next as soon as it is waited for.
    Fresh(FreshStream),
    /// A plain TCP connection.
    Tcp {
        stream: TcpStream,
        /// What is written next is the end, and the connection is closed behind it.
        is_last: bool,
    },
    /// A TLS connection after its handshake.
    Tls(Box<Tls>),
    /// A stream of an HTTP/2 connection.
    Stream(Box<H2Stream>),
}

impl Socket {
    /// Returns true for a stream of an HTTP/2 connection, which carries one exchange and ends with it.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Why the request of an HTTP/2 stream is malformed, if it could not be converted to HTTP/1.1.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if let Self::Stream(stream) = self { stream.refusal() } else { None }
    }

    /// Lets `head` know of field lines that are known, once the whole head was read into an empty buffer.
    pub(crate) fn describe(&self, head: &mut RequestHead) {
        if let Self::Stream(stream) = self {
            stream.describe(head);
        }
    }

    /// True for a connection that the runtime does not watch yet.
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh(_))
    }

    /// Has the runtime watch a fresh connection. After an error there is no connection any more.
    fn watch(&mut self) -> io::Result<()> {
        if self.is_fresh()
            && let Self::Fresh(stream) = std::mem::replace(self, Self::Null)
        {
            *self = stream.watch()?.into();
        }
        Ok(())
    }

    /// The plain TCP connection that it is, watched by the runtime.
    pub(crate) fn into_tcp(mut self) -> io::Result<TcpStream> {
        self.watch()?;
        if let Self::Tcp { stream, .. } = self { Ok(stream) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    /// Ready once there is something to read, as far as the runtime knows, without needing a buffer.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch()?;
        match self {
            Self::Tcp { stream, .. } => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_readable(cx),
            Self::Null | Self::Fresh(_) | Self::Stream(_) => Poll::Pending,
        }
    }

    /// Returns true if something has come that was not read, or the end, as far as is known without reading. Before
    /// the last write is sent, the kernel is asked: if a connection is closed with input, what was not sent is lost.
    pub(crate) fn has_input(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Fresh(stream) => fresh::has_input(stream),
            Self::Tcp { stream, is_last: true } => fresh::has_input(stream),
            _ => self.poll_readable(cx).is_ready(),
        }
    }

    /// Appends to `buffer`, up to its capacity and at most `limit` bytes. Ready with 0 at the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let room = (buffer.capacity() - buffer.len()).min(limit);
        debug_assert!(room > 0, "nothing can be read into a full buffer");
        if let Self::Fresh(stream) = self {
            match stream.read(buffer, room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.watch()?,
                read => return Poll::Ready(read),
            }
        }
        match self {
            Self::Tcp { stream, .. } => {
                let mut window = buffer.limit(room);
                pin!(stream.read_buf(&mut window)).poll(cx)
            }
            Self::Tls(stream) => stream.poll_read(cx, buffer, room),
            Self::Stream(stream) => stream.poll_read(cx, buffer, room),
            Self::Null | Self::Fresh(_) => Poll::Pending,
        }
    }

    /// Writes some of `bytes`. After `Pending` the caller must retry with the same bytes first, or not write again.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Self::Fresh(stream) = self {
            match stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.watch()?,
                written => return Poll::Ready(written),
            }
        }
        match self {
            Self::Null => Poll::Ready(Ok(bytes.len())),
            Self::Fresh(_) => Poll::Pending,
            Self::Tcp { stream, is_last: false } => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp { stream, is_last: true } => poll_write_last(stream, cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, bytes),
            Self::Stream(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// Declares that the next write ends the message, followed by these trailer lines. Only HTTP/2 streams need this.
    #[inline]
    pub(crate) fn end(&mut self, trailers: &[u8]) {
        if let Self::Stream(stream) = self {
            stream.end(trailers);
        }
    }

    /// Declares that the next write is the last one, and that the connection is shut down or closed at once then. Over
    /// plain TCP the kernel waits for that, so that one packet says both.
    #[inline]
    pub(crate) fn end_connection(&mut self) {
        match self {
            Self::Fresh(stream) => stream.end(),
            Self::Tcp { is_last, .. } => *is_last = true,
            Self::Null | Self::Tls(_) | Self::Stream(_) => {}
        }
    }

    /// Ends the message after its last byte.
    #[inline]
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Self::Stream(stream) = self { stream.finish() } else { Ok(()) }
    }

    /// Ends an incomplete message with these trailer lines. Returns false if that is impossible.
    pub(crate) fn end_early(&mut self, trailers: &[u8]) -> bool {
        if let Self::Stream(stream) = self { stream.end_early(trailers) } else { false }
    }

    /// Takes the trailers of an HTTP/2 stream whose body was read to its end.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        if let Self::Stream(stream) = self { stream.take_trailers() } else { Vec::new() }
    }

    /// Returns true if the peer certainly did not act on the request.
    pub(crate) fn is_unprocessed(&self) -> bool {
        if let Self::Stream(stream) = self { stream.is_unprocessed() } else { false }
    }

    /// Closes the connection of an HTTP/2 stream to new streams, after it timed out.
    pub(crate) fn retire_connection(&self) {
        if let Self::Stream(stream) = self {
            stream.retire_connection();
        }
    }

    /// Shuts down the sending side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Fresh(stream) => Poll::Ready(stream.shut_down()),
            Self::Tcp { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
            Self::Null | Self::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    /// Enables TCP keep-alive, for streams that may be silent for any time.
    pub(crate) fn enable_keepalive(&self) {
        // An HTTP/2 connection has keep-alive enabled from its start.
        let Some(connection) = self.connection() else { return };
        // Fails only if the connection is closed already.
        let _ = connection.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4));
    }

    /// Makes closing reset the connection, so that the peer does not take its end for the end of the message.
    pub(crate) fn close_by_reset(&mut self) {
        match self {
            Self::Stream(stream) if stream.refusal().is_some() => stream.reset(Http2Code::PROTOCOL_ERROR),
            Self::Stream(stream) => stream.reset(Http2Code::INTERNAL_ERROR),
            Self::Null | Self::Fresh(_) | Self::Tcp { .. } | Self::Tls(_) => {
                if let Some(connection) = self.connection() {
                    // Fails only if the connection is closed already.
                    let _ = connection.set_linger(Some(Duration::ZERO));
                }
            }
        }
    }

    /// Sends the TLS `close_notify` alert on an idle connection. Does nothing for other sockets.
    pub(crate) fn close_notify(&mut self) {
        if let Self::Tls(stream) = self {
            // Not worth waiting for if it cannot be written at once.
            let _ = stream.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Returns true if an idle connection is open and has no input, as far as the runtime knows.
    pub(crate) fn is_reusable(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        match self {
            Self::Tcp { stream, .. } => {
                let mut byte = [0];
                Pin::new(stream).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
            // TLS messages such as session tickets are not input.
            Self::Tls(stream) => stream.poll_read(cx, &mut Vec::new(), 0).is_pending(),
            Self::Null | Self::Fresh(_) | Self::Stream(_) => false,
        }
    }

    /// Returns true if the kernel has neither input nor the end of an idle connection. This costs a system call,
    /// whereas the runtime's knowledge may be outdated.
    pub(crate) fn peek_open(&self) -> bool {
        let Some(connection) = self.connection() else { return false };
        let peeked = connection.peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The TCP connection. None for an HTTP/2 stream, whose connection is not its own.
    pub(crate) fn connection(&self) -> Option<SockRef<'_>> {
        match self {
            Self::Fresh(stream) => Some(SockRef::from(stream)),
            Self::Tcp { stream, .. } => Some(SockRef::from(stream)),
            Self::Tls(stream) => Some(SockRef::from(stream.stream())),
            Self::Null | Self::Stream(_) => None,
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp { stream, is_last: false }
    }
}

/// Writes some of `bytes`, behind which the connection is closed.
fn poll_write_last(stream: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, || fresh::send(&SockRef::from(stream), bytes, true)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

#[cfg(test)]
mod tests;
