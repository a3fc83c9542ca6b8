//! A TLS stream with poll functions. Bytes pass through two buffers of the thread. The stream itself holds memory only
//! for leftovers: a partial record, or bytes that the kernel did not accept.

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

/// Most plaintext in one record (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;
/// Most plaintext encrypted at once.
const MAX_PLAINTEXT: usize = 4 * RECORD;
/// Most bytes read at once.
const MAX_READ: usize = 4 * (RECORD + RECORD_OVERHEAD);
/// Most ciphertext buffered without a complete message: a handshake message may be 64 KB, in small records.
const MAX_HELD: usize = 128 * 1024;

thread_local! {
    static BUFFERS: RefCell<TlsBuffers> = RefCell::new(TlsBuffers {
        incoming: vec![0; MAX_READ].into(),
        outgoing: vec![0; MAX_PLAINTEXT + 8 * RECORD_OVERHEAD].into(),
    });
}

/// The buffers that all connections of a thread use.
struct TlsBuffers {
    incoming: Box<[u8]>,
    outgoing: Box<[u8]>,
}

/// A TLS stream.
pub(crate) struct Tls {
    stream: TcpStream,
    side: Side,
    /// Ciphertext of an incomplete record.
    incoming: Vec<u8>,
    /// Plaintext that did not fit the caller's buffer, and how much of it was read since.
    plain: Vec<u8>,
    plain_read: usize,
    /// Ciphertext that the kernel did not accept, and how much of it was written since.
    outgoing: Vec<u8>,
    flushed: usize,
    /// Bytes of the caller that are encrypted but not reported as written yet.
    unreported: usize,
    end: Option<PeerEnd>,
    closing: bool,
}

/// How the peer's side of the stream ended.
enum PeerEnd {
    /// With `close_notify`.
    Closed,
    /// Without `close_notify`, so the data may be truncated (RFC 8446 section 6.1).
    Truncated,
    /// With a TLS error.
    Failed(rustls::Error),
}

impl Tls {
    /// The server end of a client's connection. `received` are bytes that were read already.
    pub(crate) fn accept(stream: TcpStream, config: &Arc<ServerConfig>, received: Vec<u8>) -> io::Result<Self> {
        let side = UnbufferedServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(Self::new(stream, Side::Server(side), received))
    }

    /// The client end of a connection to an instance.
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

    /// Ready once the handshake is complete.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Process bytes read earlier, or produce the client's first message. An error is recorded in `end`.
        let _ = self.process_held(WriteAction::None);
        loop {
            // A client may send all that it has to say, its end included, together with the last of its handshake.
            if self.side.common().is_handshaking()
                && let Some(end) = self.end.take()
            {
                // Send the alert, if the peer still reads.
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

    /// Lingering close after a failed handshake: sends the alert, shuts down and discards input until the peer closes.
    /// If input were left unread, the kernel would reset the connection and the peer could miss the alert.
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

    /// The negotiated protocol.
    pub(crate) fn protocol(&self) -> AlpnProtocol {
        AlpnProtocol::of(self.side.common().alpn_protocol())
    }

    /// The verified certificate of the peer.
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

    /// Appends at most `room` bytes to `buffer`. Ready with 0 after `close_notify`. An end without it is an error.
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

    /// Writes some of `bytes`. They count as written once the kernel has accepted their ciphertext, so after `Pending`
    /// the caller must retry with the same bytes first.
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

    /// Reports as many bytes as written as `flushed` bytes of ciphertext stand for. The last byte is reported only once
    /// all is flushed.
    fn report_written(&mut self, flushed: usize) -> Poll<io::Result<usize>> {
        let reported = flushed.min(self.unreported.saturating_sub(1));
        if reported == 0 {
            return Poll::Pending;
        }
        self.unreported -= reported;
        Poll::Ready(Ok(reported))
    }

    /// Sends `close_notify` and shuts down the sending side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            // Fails only if the stream has failed already.
            let _ = self.process_held(WriteAction::CloseNotify);
        }
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// The underlying connection.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes pending ciphertext.
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

    /// Reads once and decrypts complete records: up to `room` bytes go to `buffer`, the rest is kept.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>, room: usize) -> Poll<io::Result<()>> {
        // Bound the plaintext that may not fit `buffer` to one record.
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

    /// Writes TLS messages as far as the kernel accepts them. The rest is written later.
    fn try_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_flush(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            // Why the peer has closed the connection says more than that it does not read.
            Poll::Ready(_) if self.end.is_some() => Poll::Ready(Ok(())),
            Poll::Ready(flushed) => Poll::Ready(flushed),
        }
    }

    /// Decrypts records: plaintext goes to `buffer` up to a length of `max`, the rest is kept. Returns the number of
    /// bytes consumed.
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

    /// Processes the buffered ciphertext, then performs `action`. Returns the number of ciphertext bytes produced by
    /// it.
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
