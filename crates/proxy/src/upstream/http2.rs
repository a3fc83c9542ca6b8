//! Streams to instances that speak HTTP/2, on connections shared by a worker's exchanges.

use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use pylae_core::service::AttemptOutcome;
use pylae_core::{Exchange, Shortage};
use pylae_http::http2::connection::{Http2Connection, Http2Grants};
use tracing::debug;

use crate::client::Client;
use crate::io::h2_stream::driver::Http2Driver;
use crate::io::h2_stream::permit::{StreamPermit, StreamPermits};
use crate::io::h2_stream::shared::SharedHttp2;
use crate::io::h2_stream::stream::H2Stream;
use crate::io::shortage;
use crate::io::socket::Socket;
use crate::io::tls::AlpnProtocol;
use crate::pool::http2::{ConnectionState, ConnectionUse, SharedConnection, SharedConnections};
use crate::snapshot::{Service, Snapshot};
use crate::upstream::connect::{self, connecting_to};
use crate::upstream::failure::Failure;
use crate::worker::Worker;

/// What an instance may send.
const LIMITS: Http2Grants = Http2Grants {
    max_streams: 0,
    // Most bytes of a response that are buffered.
    stream_window: 256 * 1024,
    connection_window: 4 * 1024 * 1024,
    // `limits.max_head`, which is at most this, is checked later.
    max_head: 1024 * 1024,
};

/// The instance at `index` of `service`, which is in `snapshot`.
#[derive(Clone, Copy)]
pub(crate) struct StreamTarget<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) service: &'a Service,
    pub(crate) index: usize,
}

/// A stream that was opened but not used yet.
pub(crate) struct OpenedStream {
    pub(crate) socket: Socket,
    pub(crate) usage: ConnectionUse,
}

/// Opens a stream to `target` before the deadline that is set on `client`. Fails if the client disconnects.
///
/// `must_be_fresh`: the connection must not close during the request. So it is in use, or it was used recently and is
/// checked for its end.
pub(crate) async fn open_stream(
    worker: &Worker,
    target: StreamTarget<'_>,
    must_be_fresh: bool,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<OpenedStream, Failure> {
    let (shared, permit, usage) = loop {
        let (shared, permit) = acquire(&worker.shared_connections, target, must_be_fresh)
            .ok_or_else(|| Failure::instance(AttemptOutcome::ConnectFailed, false, false))?;
        let usage = shared.usage();
        if !must_be_fresh || usage != ConnectionUse::Idle {
            break (shared, permit, usage);
        }
        // Yield once, so that the task that drives the connection reads what the kernel has.
        tokio::task::yield_now().await;
        if shared.is_usable() {
            break (shared, permit, usage);
        }
    };
    let connected = client.wait(exchange, |cx| shared.poll_open(cx)).await.map_err(Failure::Halt)?;
    match connected {
        Some(Ok(connection)) => {
            debug!(id = %exchange.request.id.escape_ascii(), found = ?usage, "over a shared connection");
            let secure = is_secure(target.service, target.index);
            let socket = Socket::Stream(Box::new(H2Stream::outbound(connection, secure, permit)));
            Ok(OpenedStream { socket, usage })
        }
        Some(Err(Some(what))) => {
            worker.report_shortage(what, || connecting_to(target.service, target.index));
            Err(Failure::shortage(what))
        }
        Some(Err(None)) | None => Err(Failure::instance(AttemptOutcome::ConnectFailed, false, false)),
    }
}

/// Acquires a permit on a connection, and starts a new connection if necessary.
fn acquire(
    connections: &SharedConnections,
    target: StreamTarget<'_>,
    must_be_fresh: bool,
) -> Option<(Rc<SharedConnection>, StreamPermit)> {
    let StreamTarget { snapshot, service, index } = target;
    connections.acquire(service.pools[index], service.plan.max_streams, must_be_fresh, || {
        // The task that drives the connection outlives the exchange.
        snapshot.services.get(&*service.name).map(|service| connect(service, index))
    })
}

/// The connection of a task that drives it. Once it is dropped, after a panic as well, the connection is dead.
struct DrivenConnection {
    shared: Weak<SharedConnection>,
    permits: Rc<StreamPermits>,
    /// What the gateway itself lacked to connect.
    lacked: Option<Shortage>,
}

impl Drop for DrivenConnection {
    fn drop(&mut self) {
        self.permits.retire();
        if let Some(shared) = self.shared.upgrade() {
            shared.set(ConnectionState::Dead(self.lacked));
        }
    }
}

/// Connects in a task that then drives the connection until its end.
fn connect(service: &Arc<Service>, index: usize) -> Rc<SharedConnection> {
    let shared = SharedConnection::new(service.plan.idle_timeout.0);
    let (service, timeout) = (Arc::clone(service), service.plan.connect_timeout.0);
    let (weak, permits) = (Rc::downgrade(&shared), Rc::clone(&shared.permits));
    let mut driven = DrivenConnection { shared: weak, permits, lacked: None };
    tokio::task::spawn_local(async move {
        let opened = tokio::time::timeout(timeout, open(&service, index)).await;
        match opened {
            Ok(Ok(connection)) => {
                // Dropped meanwhile: the connection is no longer needed.
                let Some(shared) = driven.shared.upgrade() else { return };
                shared.set(ConnectionState::Open(Rc::clone(connection.shared())));
                drop(shared);
                connection.run().await;
            }
            Ok(Err(error)) => driven.lacked = shortage::behind(&error),
            Err(_) => {}
        }
        drop(driven);
    });
    shared
}

/// An HTTP/2 connection to an instance, and its socket.
pub(crate) struct InstanceConnection {
    driver: Http2Driver,
    socket: Socket,
}

impl InstanceConnection {
    /// Begins to speak HTTP/2 over a socket.
    pub(crate) fn over(socket: Socket) -> Self {
        let shared = SharedHttp2::new(Http2Connection::client(LIMITS));
        Self { driver: Http2Driver::new(shared), socket }
    }

    /// What its streams share.
    pub(crate) fn shared(&self) -> &Rc<SharedHttp2> {
        self.driver.shared()
    }

    /// Drives it until its end. Every stream gets the error as well.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.driver.poll(cx, &mut self.socket, None)).await;
        self.socket.close_notify();
    }
}

/// Opens an HTTP/2 connection, which must then be run.
pub(super) async fn open(service: &Service, index: usize) -> io::Result<InstanceConnection> {
    let socket = connect::open(service, index).await?;
    if let Socket::Tls(tls) = &socket
        && tls.protocol() != AlpnProtocol::Http2
    {
        return Err(io::Error::other("the instance does not speak HTTP/2"));
    }
    Ok(InstanceConnection::over(socket))
}

/// Returns true if the address of an instance is one of https.
pub(super) fn is_secure(service: &Service, index: usize) -> bool {
    service.plan.instances.get(index).is_some_and(|instance| instance.url.starts_with("https:"))
}
