//! The socket of a connection to a server of the store.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::io::connect::connect_any;
use crate::io::tls::Connector;
use crate::io::tls::Tls;

/// Most bytes that are read for what was written last: answers are far smaller, and they are held until complete.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A plain or TLS connection.
pub(super) struct StoreSocket {
    stream: Transport,
    /// Bytes read since the last write.
    read: usize,
    /// Why nothing can be written any more.
    failed: Option<io::Error>,
    pub(super) failure: SocketFailure,
}

/// Why a socket has failed, once it has. Whoever writes later than that learns only that it has.
pub(super) type SocketFailure = Arc<OnceLock<String>>;

enum Transport {
    Tcp(TcpStream),
    Tls(Box<Tls>),
}

impl StoreSocket {
    /// Connects, TLS handshake included.
    pub(super) async fn connect(host: &str, port: u16, tls: Option<&Connector>) -> io::Result<Self> {
        let stream = connect_any(host, port).await?;
        stream.set_nodelay(true)?;
        let stream = match tls {
            None => Transport::Tcp(stream),
            Some(connector) => {
                let mut tls = Box::new(connector.connect(stream, host)?);
                poll_fn(|cx| tls.poll_handshake(cx)).await?;
                Transport::Tls(tls)
            }
        };
        Ok(Self { stream, read: 0, failed: None, failure: SocketFailure::default() })
    }
}

impl StoreSocket {
    /// Notes why the socket has failed.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| drop(self.failure.set(error.to_string())))
    }

    fn read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match &mut self.stream {
            Transport::Tcp(stream) => ready!(Pin::new(stream).poll_read(cx, into))?,
            Transport::Tls(stream) => {
                let room = into.remaining();
                let mut plain = Vec::with_capacity(room);
                ready!(stream.poll_read(cx, &mut plain, room))?;
                into.put_slice(&plain);
            }
        }
        self.read = self.read.saturating_add(into.filled().len() - before);
        if self.read > MAX_ANSWER {
            return Poll::Ready(Err(io::Error::other("the answer is too long")));
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, read, failed, .. } = self;
        *read = 0;
        match stream {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => {
                if failed.is_none() {
                    match ready!(stream.poll_write(cx, bytes)) {
                        Err(error) => *failed = Some(error),
                        written => return Poll::Ready(written),
                    }
                }
                // A server looks at the client's certificate after the handshake. It has said what is wrong before it
                // closed the connection.
                let said = ready!(stream.poll_read(cx, &mut Vec::new(), 1)).err();
                let error = said.filter(|said| said.kind() == io::ErrorKind::InvalidData).or_else(|| failed.take());
                Poll::Ready(Err(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())))
            }
        }
    }
}

impl AsyncRead for StoreSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = ready!(self.read(cx, into));
        Poll::Ready(self.note(result))
    }
}

impl AsyncWrite for StoreSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(self.write(cx, bytes));
        Poll::Ready(self.note(result))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Written bytes are in the kernel already.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => stream.poll_shutdown(cx),
        }
    }
}
