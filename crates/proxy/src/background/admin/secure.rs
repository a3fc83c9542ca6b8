//! Connections that speak TLS: the handshake, probes inside it, and the relay of all others to Python.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use pylae_http::RequestHead;
use rustix::net::RecvFlags;
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::connections::{AdminConnections, finish};
use super::handover::{AdminConnection, ConnectionEnds};
use super::probe::{self, HEAD, Probe, Sighting, inspect};
use super::relay::{AdminRelay, LINGER, close};
use crate::io::clock;
use crate::io::tls::{Acceptor, Tls};

/// Most connections that are relayed. Python keeps fewer; the others wait for it, or for the end.
const MOST_RELAYED: usize = 2048;
/// Bytes that are read at once from a request whose head is not complete.
const PIECE: usize = 4096;

/// The beginning of a request inside TLS.
struct Beginning {
    tls: Box<Tls>,
    ends: ConnectionEnds,
    /// What has come so far.
    seen: Vec<u8>,
}

impl AdminConnections {
    /// Serves a connection up to the point where Python takes it, and returns what is left to relay then.
    pub(super) async fn serve_secure(
        self: Rc<Self>,
        socket: AsyncFd<Socket>,
        acceptor: Arc<Acceptor>,
    ) -> Option<AdminRelay> {
        let named = |address: io::Result<socket2::SockAddr>| address.ok().and_then(|address| address.as_socket());
        let ends = ConnectionEnds {
            client: named(socket.get_ref().peer_addr())?,
            server: named(socket.get_ref().local_addr())?,
        };
        if timeout(acceptor.handshake_timeout, speaks_plainly(&socket)).await.ok()?.ok()? {
            finish(socket, &probe::needs_tls()).await;
            return None;
        }
        let stream = TcpStream::from_std(std::net::TcpStream::from(socket.into_inner())).ok()?;
        let mut tls = self.shake_hands(stream, &acceptor, ends.client).await?;
        let mut seen = Vec::new();
        let looked = timeout(self.head_time, self.look_inside(&mut tls, &mut seen, ends.server)).await;
        // It has ended, or its head did not come in time.
        let probe = looked.ok()?.ok()?;
        let beginning = Beginning { tls, ends, seen };
        match probe {
            Some(probe) => answer(beginning.tls, &probe.answer(&self.shared.liveness)).await,
            None if self.is_stuck().await => self.refuse_secure(beginning).await,
            None => return self.hand_over(beginning).await,
        }
        None
    }

    async fn shake_hands(&self, stream: TcpStream, acceptor: &Acceptor, client: SocketAddr) -> Option<Box<Tls>> {
        let mut tls = Box::new(Tls::accept(stream, &acceptor.config, Vec::new()).ok()?);
        let log = &self.shared.log;
        match timeout(acceptor.handshake_timeout, poll_fn(|cx| tls.poll_handshake(cx))).await {
            Ok(Ok(())) => return Some(tls),
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => {
                let what = || format!("a TLS handshake with {} at the admin address failed: {error}", client.ip());
                self.failed_handshakes.report(log, clock::now(), "admin_handshake_failed", what);
                // The connection is closed whatever the result.
                let _ = timeout(LINGER, poll_fn(|cx| tls.poll_linger(cx))).await;
            }
            // A client that closes without a message, as port probes do, is not worth a line.
            Ok(Err(_)) => {}
            Err(_) => {
                let what = || format!("a TLS handshake with {} at the admin address took too long", client.ip());
                self.failed_handshakes.report(log, clock::now(), "admin_handshake_failed", what);
            }
        }
        None
    }

    /// Reads until it is clear what a connection wants: None is whatever is no probe.
    async fn look_inside(&self, tls: &mut Tls, seen: &mut Vec<u8>, own: SocketAddr) -> io::Result<Option<Probe>> {
        let mut head = RequestHead::default();
        while seen.len() < HEAD {
            let room = PIECE.min(HEAD - seen.len());
            if poll_fn(|cx| tls.poll_read(cx, seen, room)).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            match inspect(&mut head, seen, &self.shared.hosts.lock(), Some(own.ip())) {
                Sighting::Probe(probe) => return Ok(Some(probe)),
                Sighting::Other => return Ok(None),
                Sighting::More => {}
            }
        }
        Ok(None)
    }

    /// Offers Python one end of a pair of sockets, and returns what relays to the other.
    async fn hand_over(self: Rc<Self>, beginning: Beginning) -> Option<AdminRelay> {
        let pair = if self.relayed.get() < MOST_RELAYED { pair().ok() } else { None };
        let Some((own, given)) = pair else {
            self.refuse_secure(beginning).await;
            return None;
        };
        let Beginning { tls, ends, seen } = beginning;
        if self.shared.handover.offer(AdminConnection { descriptor: given, ends: Some(ends) }).is_err() {
            self.refuse_secure(Beginning { tls, ends, seen }).await;
            return None;
        }
        Some(AdminRelay::new(tls, own, seen, &self.relayed))
    }

    async fn refuse_secure(&self, beginning: Beginning) {
        let Beginning { tls, ends, seen } = beginning;
        self.report_refusal();
        let health = self.health(&seen, Some(ends.server.ip()));
        answer(tls, &health.unwrap_or_else(probe::stuck)).await;
    }
}

/// True if the first byte of a connection is that of a request without TLS. Takes nothing from it.
async fn speaks_plainly(socket: &AsyncFd<Socket>) -> io::Result<bool> {
    loop {
        let mut guard = socket.readable().await?;
        let mut first = [0];
        match rustix::net::recv(socket, &mut first, RecvFlags::PEEK) {
            Ok((0, _)) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(first[0].is_ascii_alphabetic()),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => guard.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
}

fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (own, given) = std::os::unix::net::UnixStream::pair()?;
    own.set_nonblocking(true)?;
    given.set_nonblocking(true)?;
    Ok((UnixStream::from_std(own)?, given.into()))
}

/// Writes the last answer of a connection, and closes it once the client has read that.
async fn answer(mut tls: Box<Tls>, answer: &str) {
    let written = async {
        let mut rest = answer.as_bytes();
        while !rest.is_empty() {
            let count = poll_fn(|cx| tls.poll_write(cx, rest)).await?;
            rest = &rest[count..];
        }
        close(&mut tls).await
    };
    // Close connections that their clients leave open. The result does not matter: nothing follows.
    let _ = timeout(LINGER, written).await;
}
