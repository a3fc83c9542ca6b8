//! Streams to instances that speak HTTP/2, on connections shared by a worker's exchanges.

use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use http::uri::Scheme;
use pylae_core::service::AttemptOutcome;
use pylae_core::{Exchange, Shortage};
use tracing::debug;

use crate::client::Client;
use crate::io::h2_stream::permit::{StreamPermit, StreamPermits};
use crate::io::h2_stream::stream::H2Stream;
use crate::io::shortage;
use crate::io::socket::Socket;
use crate::io::tls::AlpnProtocol;
use crate::io::wire::{HELD_FRAMES, SEND_BUFFER, Wire};
use crate::pool::http2::{ConnectionState, ConnectionUse, SharedConnection, SharedConnections};
use crate::snapshot::{Service, Snapshot};
use crate::upstream::connect::{self, connecting_to};
use crate::upstream::failure::Failure;
use crate::worker::Worker;

/// Flow-control window of a stream: most bytes of a response that are buffered.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Flow-control window of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Largest response head that h2 accepts. `limits.max_head`, which is at most this, is checked later.
const MAX_HEAD: u32 = 1024 * 1024;
/// Most streams reset by the gateway for which late frames are still ignored.
const RESET_STREAMS: usize = 100;

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
            let socket =
                Socket::Stream(Box::new(H2Stream::outbound(connection, scheme(target.service, target.index), permit)));
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
            Ok(Ok((requests, connection))) => {
                // Dropped meanwhile: the connection is no longer needed.
                let Some(shared) = driven.shared.upgrade() else { return };
                shared.set(ConnectionState::Open(requests));
                drop(shared);
                // Every stream gets the error as well.
                let _ = connection.await;
            }
            Ok(Err(error)) => driven.lacked = shortage::behind(&error),
            Err(_) => {}
        }
        drop(driven);
    });
    shared
}

/// Opens an HTTP/2 connection. The returned `Connection` drives it and must be polled.
pub(super) async fn open(service: &Service, index: usize) -> io::Result<(SendRequest<Bytes>, Connection<Wire, Bytes>)> {
    let socket = connect::open(service, index).await?;
    if let Socket::Tls(tls) = &socket
        && tls.protocol() != AlpnProtocol::Http2
    {
        return Err(io::Error::other("the instance does not speak HTTP/2"));
    }
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(HELD_FRAMES)
        .max_header_list_size(MAX_HEAD)
        .max_concurrent_reset_streams(RESET_STREAMS)
        // Late frames for such a stream are not an error of the instance.
        .max_local_error_reset_streams(None);
    builder.handshake(Wire::of_instance(socket)).await.map_err(io::Error::other)
}

/// The `:scheme` of requests to an instance.
pub(super) fn scheme(service: &Service, index: usize) -> Scheme {
    let secure = service.plan.instances.get(index).is_some_and(|instance| instance.url.starts_with("https:"));
    if secure { Scheme::HTTPS } else { Scheme::HTTP }
}
