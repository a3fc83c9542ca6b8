//! A connected stream, polled.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BufMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::io::h2_stream::stream::H2Stream;
use crate::io::tls::Tls;

/// Silence after which the kernel asks whether a peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A connected stream.
pub(crate) enum Socket {
    /// The client of a fetch that no client waits for: says nothing and takes everything.
    Null,
    /// A plain one.
    Tcp(TcpStream),
    /// An encrypted one, after its handshake.
    Tls(Box<Tls>),
    /// A stream of an HTTP/2 connection.
    Stream(Box<H2Stream>),
}

impl Socket {
    /// Whether it carries one exchange whose bodies are bare and end with it: a stream of an HTTP/2 connection.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Why the request that it carries cannot be one, if that was seen before it was put into the words of HTTP/1.1.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if let Self::Stream(stream) = self { stream.refusal() } else { None }
    }

    /// Ready once there is something to read, without taking a buffer for it. `fresh`: nothing has been read yet, so that the kernel
    /// has to be asked; the runtime takes a new connection for readable until a read has found nothing.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>, fresh: bool) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) if fresh => stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])).map_ok(|_| ()),
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_readable(cx),
            Self::Null | Self::Stream(_) => Poll::Pending,
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
            Self::Stream(stream) => stream.poll_read(cx, buffer, room),
            Self::Null => Poll::Pending,
        }
    }

    /// Takes over what has come while nobody reads, where it would wait in many pieces: on a stream.
    #[inline]
    pub(crate) fn buffer_incoming(&mut self, cx: &mut Context<'_>) {
        if let Self::Stream(stream) = self {
            stream.buffer_incoming(cx);
        }
    }

    /// Reads into `into`, for those who read by themselves. Nothing read is the end.
    pub(crate) fn poll_read_buf(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => {
                let room = into.remaining();
                let mut plain = Vec::with_capacity(room);
                ready!(stream.poll_read(cx, &mut plain, room))?;
                into.put_slice(&plain);
                Poll::Ready(Ok(()))
            }
            Self::Null | Self::Stream(_) => Poll::Pending,
        }
    }

    /// Writes some of `bytes`. Whoever is told to wait must come again with the same bytes in front, or never again.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Null => Poll::Ready(Ok(bytes.len())),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, bytes),
            Self::Stream(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// Writes some of `pieces`.
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Self::Tcp(stream) = self {
            return Pin::new(stream).poll_write_vectored(cx, pieces);
        }
        // Put together, so that they become one record.
        let mut bytes = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        for piece in pieces {
            bytes.extend_from_slice(piece);
        }
        self.poll_write(cx, &bytes)
    }

    /// Says that what is written next is the last of the message, and what follows it (field lines). Where a message says itself
    /// where it ends, this means nothing.
    #[inline]
    pub(crate) fn end(&mut self, trailers: &[u8]) {
        if let Self::Stream(stream) = self {
            stream.end(trailers);
        }
    }

    /// Ends the message, behind its last byte.
    #[inline]
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Self::Stream(stream) = self { stream.finish() } else { Ok(()) }
    }

    /// Ends a message of which not all was written, and says by these lines what that means. False where there is no way to.
    pub(crate) fn end_early(&mut self, trailers: &[u8]) -> bool {
        if let Self::Stream(stream) = self { stream.end_early(trailers) } else { false }
    }

    /// What stood behind the body that was read to its end, where bodies end with the stream.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        if let Self::Stream(stream) = self { stream.take_trailers() } else { Vec::new() }
    }

    /// Whether the peer is sure not to have acted on the request that was written.
    pub(crate) fn is_unprocessed(&self) -> bool {
        if let Self::Stream(stream) = self { stream.is_unprocessed() } else { false }
    }

    /// Says that its connection gave no answer in time, so that no further exchange is sent over it.
    pub(crate) fn retire_connection(&self) {
        if let Self::Stream(stream) = self {
            stream.retire_connection();
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
            Self::Null | Self::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    /// Has the kernel ask now and then whether a silent peer is still there: for streams that may be silent for as long as
    /// they like.
    pub(crate) fn enable_keepalive(&self) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.stream(),
            // The connection of a stream is asked as a whole, from its beginning.
            Self::Null | Self::Stream(_) => return,
        };
        // Fails only when the connection is gone already.
        let _ = SockRef::from(stream)
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4));
    }

    /// Makes closing a reset: the peer must not take the end of the connection for the end of what was sent.
    pub(crate) fn close_by_reset(&mut self) {
        match self {
            // Fails only when the connection is gone already.
            Self::Tcp(stream) => drop(stream.set_zero_linger()),
            Self::Tls(stream) => stream.close_by_reset(),
            Self::Stream(stream) if stream.refusal().is_some() => stream.reset(h2::Reason::PROTOCOL_ERROR),
            Self::Stream(stream) => stream.reset(h2::Reason::INTERNAL_ERROR),
            Self::Null => {}
        }
    }

    /// Takes leave of an idle connection, where there are words for it: its peer is not to think that it was cut off.
    pub(crate) fn close_notify(&mut self) {
        if let Self::Tls(stream) = self {
            // If it cannot be said at once it is not worth waiting for.
            let _ = stream.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Whether an idle connection is still silent and open, as far as is known without asking the kernel.
    pub(crate) fn is_reusable(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        match self {
            Self::Tcp(stream) => {
                let mut byte = [0];
                Pin::new(stream).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
            // What TLS says for itself, such as a session ticket, is no sound.
            Self::Tls(stream) => stream.poll_read(cx, &mut Vec::new(), 0).is_pending(),
            Self::Null | Self::Stream(_) => false,
        }
    }

    /// Whether the kernel has nothing from the peer of an idle connection, not even its end. What the runtime knows is as old as the
    /// last turn of its loop; this asks with a system call.
    pub(crate) fn peek_open(&self) -> bool {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.stream(),
            Self::Null | Self::Stream(_) => return false,
        };
        let peeked = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}
