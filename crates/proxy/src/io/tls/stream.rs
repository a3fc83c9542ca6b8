//! An encrypted stream, polled. It holds memory only while bytes are on their way: what is read and written passes two
//! buffers of the thread, and only what is left over, half a record or what the kernel did not take, is kept beside it.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::AlpnProtocol;
use super::records::{Processed, RECORD_OVERHEAD, Side, WriteAction};

/// Most plaintext of one record (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;
/// Most plaintext that is encrypted at once.
const MAX_PLAINTEXT: usize = 4 * RECORD;
/// Most that is read at once.
const MAX_READ: usize = 4 * (RECORD + RECORD_OVERHEAD);
/// Most ciphertext held of which no record can be made: a handshake message, which may be 64 KB, in small pieces.
const MAX_HELD: usize = 128 * 1024;

thread_local! {
    static BUFFERS: RefCell<TlsBuffers> = RefCell::new(TlsBuffers {
        incoming: vec![0; MAX_READ].into(),
        outgoing: vec![0; MAX_PLAINTEXT + 8 * RECORD_OVERHEAD].into(),
    });
}

/// The buffers that all connections of a thread pass their bytes through.
struct TlsBuffers {
    incoming: Box<[u8]>,
    outgoing: Box<[u8]>,
}

/// An encrypted stream.
pub(crate) struct Tls {
    stream: TcpStream,
    side: Side,
    /// Ciphertext that is not a whole record yet.
    incoming: Vec<u8>,
    /// Plaintext that nobody had room for, and how much of it was taken since.
    plain: Vec<u8>,
    plain_read: usize,
    /// Ciphertext that the kernel has not taken, and how much of it it has taken since.
    outgoing: Vec<u8>,
    flushed: usize,
    /// Bytes of the caller's that are encrypted and that it has not been told are written.
    unreported: usize,
    end: Option<PeerEnd>,
    closing: bool,
}

/// How what the peer says ended.
enum PeerEnd {
    /// It said so (`close_notify`).
    Closed,
    /// Without a word: what it said may not be all (RFC 8446 section 6.1).
    Truncated,
    /// By what TLS forbids.
    Failed(rustls::Error),
}

impl Tls {
    /// The gateway's end of a client's connection.
    pub(crate) fn accept(stream: TcpStream, config: &Arc<ServerConfig>, received: Vec<u8>) -> io::Result<Self> {
        let side = UnbufferedServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(Self::new(stream, Side::Server(side), received))
    }

    /// The gateway's end of a connection to an instance.
    pub(crate) fn connect(
        stream: TcpStream,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let side = UnbufferedClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Self::new(stream, Side::Client(side), Vec::new()))
    }

    fn new(stream: TcpStream, side: Side, incoming: Vec<u8>) -> Self {
        Self {
            stream,
            side,
            incoming,
            plain: Vec::new(),
            plain_read: 0,
            outgoing: Vec::new(),
            flushed: 0,
            unreported: 0,
            end: None,
            closing: false,
        }
    }

    /// Ready once both ends have agreed.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was read before it was known to be TLS, and what a client has to say first. An error is noted.
        let _ = self.process_held(WriteAction::None);
        loop {
            if let Some(end) = self.end.take() {
                // The peer is told why, if it still listens.
                let _ = self.poll_flush(cx);
                let error = end.error();
                self.end = Some(end);
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_flush(cx))?;
            if !self.side.common().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx, &mut Vec::new(), 0))?;
        }
    }

    /// Ready once a peer with which there is no handshake has gone too. It was told why, and would not hear of it if the connection
    /// were closed while there are bytes of it to read: the kernel resets such connections.
    pub(crate) fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        BUFFERS.with_borrow_mut(|buffers| {
            loop {
                let mut read = ReadBuf::new(&mut buffers.incoming);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    /// What was agreed to be spoken.
    pub(crate) fn protocol(&self) -> AlpnProtocol {
        AlpnProtocol::of(self.side.common().alpn_protocol())
    }

    /// The certificate that the peer has proved to have the key of.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.side.common().peer_certificates()?.first()
    }

    /// Ready once there may be something to read.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.plain_read < self.plain.len() || self.end.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_read_ready(cx)
    }

    /// Appends at most `room` bytes to `buffer`. 0 is the end that the peer announced; an end that it did not announce is
    /// an error.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let start = buffer.len();
        loop {
            let held = &self.plain[self.plain_read..];
            if !held.is_empty() {
                let n = held.len().min(room);
                buffer.extend_from_slice(&held[..n]);
                self.plain_read += n;
                if self.plain_read == self.plain.len() {
                    (self.plain, self.plain_read) = (Vec::new(), 0);
                }
                return Poll::Ready(Ok(n));
            }
            match &self.end {
                None => {}
                Some(PeerEnd::Closed) => return Poll::Ready(Ok(0)),
                Some(end) => return Poll::Ready(Err(end.error())),
            }
            ready!(self.poll_receive(cx, buffer, room))?;
            if buffer.len() > start {
                return Poll::Ready(Ok(buffer.len() - start));
            }
        }
    }

    /// Writes some of `bytes`. They count as written once the kernel has what was made of them, so whoever is told to wait
    /// must come again with the same bytes in front.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.flushed < self.outgoing.len() {
            let before = self.outgoing.len() - self.flushed;
            match self.poll_flush(cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    return self.report_written(before - (self.outgoing.len() - self.flushed));
                }
            }
        }
        if self.unreported > 0 {
            return Poll::Ready(Ok(std::mem::take(&mut self.unreported)));
        }
        let bytes = &bytes[..bytes.len().min(MAX_PLAINTEXT)];
        BUFFERS.with_borrow_mut(|buffers| {
            let ciphertext = self.process_held(WriteAction::Encrypt(bytes, &mut buffers.outgoing))?;
            let ciphertext = &buffers.outgoing[..ciphertext];
            let sent = if self.outgoing.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, ciphertext)? {
                    Poll::Ready(n) => n,
                    Poll::Pending => 0,
                }
            } else {
                0
            };
            if sent == ciphertext.len() {
                return Poll::Ready(Ok(bytes.len()));
            }
            self.outgoing.extend_from_slice(&ciphertext[sent..]);
            self.unreported = bytes.len();
            match self.poll_flush(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(std::mem::take(&mut self.unreported))),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => self.report_written(sent),
            }
        })
    }

    /// Tells the caller that as much is written as `flushed` bytes of ciphertext are worth; the last byte only with the rest.
    fn report_written(&mut self, flushed: usize) -> Poll<io::Result<usize>> {
        let reported = flushed.min(self.unreported.saturating_sub(1));
        if reported == 0 {
            return Poll::Pending;
        }
        self.unreported -= reported;
        Poll::Ready(Ok(reported))
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            // Where it cannot be said any more there is nobody to hear it.
            let _ = self.process_held(WriteAction::CloseNotify);
        }
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// The connection underneath.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Makes closing a reset.
    pub(crate) fn close_by_reset(&self) {
        // Fails only when the connection is gone already.
        let _ = self.stream.set_zero_linger();
    }

    /// Sends what waits to be sent.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.flushed < self.outgoing.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outgoing[self.flushed..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.flushed += n,
            }
        }
        if self.flushed > 0 {
            (self.outgoing, self.flushed) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and takes what that completes: up to `room` bytes into `buffer`, the rest is held.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>, room: usize) -> Poll<io::Result<()>> {
        // What is read and has no room stays in memory: not more of it than one record.
        let max = room.clamp(RECORD, MAX_PLAINTEXT) + RECORD_OVERHEAD;
        let room = buffer.len() + room;
        if self.incoming.is_empty() {
            return BUFFERS.with_borrow_mut(|buffers| {
                let mut read = ReadBuf::new(&mut buffers.incoming[..max.min(MAX_READ)]);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
                let bytes = read.filled_mut();
                if bytes.is_empty() {
                    self.end = Some(PeerEnd::Truncated);
                    return Poll::Ready(Ok(()));
                }
                let consumed = self.decrypt(bytes, buffer, room);
                self.incoming.extend_from_slice(&bytes[consumed..]);
                self.try_flush(cx)
            });
        }
        if self.incoming.len() >= MAX_HELD {
            self.end = Some(PeerEnd::Failed(rustls::Error::General("a message is too long".to_owned())));
            return Poll::Ready(Ok(()));
        }
        self.incoming.reserve(max);
        let mut window = (&mut self.incoming).limit(max);
        if ready!(pin!(self.stream.read_buf(&mut window)).poll(cx))? == 0 {
            self.end = Some(PeerEnd::Truncated);
            return Poll::Ready(Ok(()));
        }
        let mut bytes = std::mem::take(&mut self.incoming);
        let consumed = self.decrypt(&mut bytes, buffer, room);
        if consumed < bytes.len() {
            bytes.drain(..consumed);
            self.incoming = bytes;
        }
        self.try_flush(cx)
    }

    /// Sends what TLS itself has to say, as far as the kernel takes it; the rest goes with what comes next.
    fn try_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_flush(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(flushed) => Poll::Ready(flushed),
        }
    }

    /// Takes ciphertext: plaintext goes to `buffer` up to a length of `most`, and is held beyond it. How many bytes are done
    /// with.
    fn decrypt(&mut self, bytes: &mut [u8], buffer: &mut Vec<u8>, max: usize) -> usize {
        let Self { side, plain, outgoing, .. } = self;
        let processed = side.process(bytes, outgoing, WriteAction::None, |payload| {
            let room = if plain.is_empty() { payload.len().min(max.saturating_sub(buffer.len())) } else { 0 };
            buffer.extend_from_slice(&payload[..room]);
            plain.extend_from_slice(&payload[room..]);
        });
        let consumed = processed.consumed;
        self.record_end(processed);
        consumed
    }

    /// Takes what is held of the ciphertext and then does what is to be done. How many bytes were encrypted into.
    fn process_held(&mut self, action: WriteAction<'_>) -> io::Result<usize> {
        let Self { side, plain, outgoing, incoming, .. } = self;
        let processed = side.process(incoming, outgoing, action, |payload| plain.extend_from_slice(payload));
        if processed.consumed == incoming.len() {
            *incoming = Vec::new();
        } else {
            incoming.drain(..processed.consumed);
        }
        let (ciphertext, error) = (processed.encrypted, processed.error.clone());
        self.record_end(processed);
        error.map_or(Ok(ciphertext), |error| Err(failure(error)))
    }

    fn record_end(&mut self, processed: Processed) {
        if let Some(error) = processed.error {
            self.end = Some(PeerEnd::Failed(error));
        } else if processed.closed {
            self.end = Some(PeerEnd::Closed);
        }
    }
}

impl PeerEnd {
    fn error(&self) -> io::Error {
        match self {
            Self::Closed | Self::Truncated => io::ErrorKind::UnexpectedEof.into(),
            Self::Failed(error) => failure(error.clone()),
        }
    }
}

fn failure(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
