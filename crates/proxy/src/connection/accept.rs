//! Turns an accepted connection into a client: reads the PROXY protocol header and performs the TLS handshake, where
//! the listener asks for them, each within a deadline.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ipnet::IpNet;
use pylae_core::connection::certificate::Certificate;
use pylae_core::connection::proxy_protocol::{self, Parsed};
use tracing::debug;

use crate::client::{AddressText, Client, ClientInfo, DRAIN_TIME};
use crate::io::clock;
use crate::io::deadline::Deadline;
use crate::io::fresh::FreshStream;
use crate::io::socket::Socket;
use crate::io::tls::{Acceptor, AlpnProtocol, Tls};
use crate::snapshot::Listener;
use crate::worker::Worker;

/// Target of what is logged of handshakes.
const HANDSHAKE: &str = "pylae_proxy::connection::tls";

/// Room for the first message of a TLS client.
const FIRST_MESSAGE: usize = 4096;

/// Makes a client of a connection. Returns it with the protocol that it speaks, or None if that failed.
pub(crate) async fn accept(
    worker: &Worker,
    listener: &Listener,
    stream: FreshStream,
    peer: SocketAddr,
    deadline: &Rc<Deadline>,
) -> Option<(Client, AlpnProtocol)> {
    let (socket, peer) = match &listener.plan.proxy_protocol {
        None => (Socket::Fresh(stream), peer),
        Some(trusted) => Box::pin(read_proxy_header(worker, trusted, deadline, stream, peer)).await?,
    };
    let (socket, protocol, certificate) = match &listener.tls {
        None => (socket, AlpnProtocol::Http1, None),
        Some(acceptor) => {
            let tls = Box::pin(handshake(worker, acceptor, deadline, socket, peer)).await?;
            let (protocol, certificate) = (tls.protocol(), tls.peer_certificate());
            let certificate = certificate.and_then(|der| Certificate::parse(der)).map(Arc::new);
            (Socket::Tls(tls), protocol, certificate)
        }
    };
    let info = ClientInfo { peer, peer_text: AddressText::of(peer.ip()), secure: listener.tls.is_some(), certificate };
    Some((Client::new(socket, info, Rc::clone(deadline)), protocol))
}

/// Reads the PROXY protocol header within `head_timeout`. Returns the connection and the client's address.
async fn read_proxy_header(
    worker: &Worker,
    trusted: &[IpNet],
    deadline: &Deadline,
    stream: FreshStream,
    peer: SocketAddr,
) -> Option<(Socket, SocketAddr)> {
    let from = peer.ip().to_canonical();
    if !trusted.iter().any(|net| net.contains(&from)) {
        report_refusal(worker, || format!("a connection from {from}, which is not a trusted proxy, was refused"));
        return None;
    }
    deadline.set(clock::coarse().saturating_add(worker.snapshot().plan.limits.head_timeout.0));
    let (mut socket, mut header) = (Socket::Fresh(stream), Vec::new());
    let mut read = |cx: &mut Context<'_>| -> Poll<Option<Option<SocketAddr>>> {
        loop {
            match proxy_protocol::parse(&header) {
                Ok(Parsed::Done(client)) => return Poll::Ready(Some(client)),
                Ok(Parsed::More(more)) => {
                    header.reserve(more);
                    match ready!(socket.poll_read(cx, &mut header, more)) {
                        Ok(n) if n > 0 => {}
                        _ => return Poll::Ready(None),
                    }
                }
                Err(why) => {
                    report_refusal(worker, || format!("a connection from {from} was refused: {why}"));
                    return Poll::Ready(None);
                }
            }
        }
    };
    let client = deadline
        .within(|cx| match read(cx) {
            Poll::Pending if worker.should_close_idle(deadline) => Poll::Ready(None),
            polled => polled,
        })
        .await??;
    debug!(%peer, ?client, "header of the PROXY protocol read");
    Some((socket, client.unwrap_or(peer)))
}

/// Performs the TLS handshake within `handshake_timeout` in total. Gives up if the gateway stops or needs room.
async fn handshake(
    worker: &Worker,
    acceptor: &Acceptor,
    deadline: &Deadline,
    mut socket: Socket,
    peer: SocketAddr,
) -> Option<Box<Tls>> {
    // Most clients have sent their first message already. If there is none, the handshake finds out why.
    let mut received = Vec::with_capacity(FIRST_MESSAGE);
    let _ = poll_fn(|cx| Poll::Ready(socket.poll_read(cx, &mut received, FIRST_MESSAGE))).await;
    let mut tls = Box::new(Tls::accept(socket.into_tcp().ok()?, &acceptor.config, received).ok()?);
    deadline.set(clock::coarse().saturating_add(acceptor.handshake_timeout));
    let result = deadline
        .within(|cx| match tls.poll_handshake(cx) {
            Poll::Pending if worker.should_close_idle(deadline) => Poll::Ready(Err(ErrorKind::Interrupted.into())),
            polled => polled,
        })
        .await;
    match result {
        Some(Ok(())) => {
            worker.stats.handshakes.add(1);
            return Some(tls);
        }
        Some(Err(error)) if error.kind() == ErrorKind::InvalidData => {
            debug!(target: HANDSHAKE, %peer, %error, "TLS handshake failed");
            report_refusal(worker, || format!("a TLS handshake with {} failed: {error}", peer.ip()));
            deadline.set(clock::coarse().saturating_add(DRAIN_TIME));
            // The connection is closed whatever the result.
            let _ = deadline.within(|cx| tls.poll_linger(cx)).await;
        }
        // A client that closes without a message, as port probes do, is counted but not logged.
        Some(Err(error)) => debug!(target: HANDSHAKE, %peer, %error, "TLS handshake failed"),
        None => {
            debug!(target: HANDSHAKE, %peer, "TLS handshake took too long");
            report_refusal(worker, || format!("a TLS handshake with {} took too long", peer.ip()));
        }
    }
    worker.stats.handshakes_failed.add(1);
    None
}

fn report_refusal(worker: &Worker, what: impl FnOnce() -> String) {
    worker.refusals.report(worker.log(), clock::coarse(), "connection_refused", what);
}
