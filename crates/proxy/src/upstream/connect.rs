//! Connects to an instance.

use std::future::poll_fn;
use std::io::{self, ErrorKind};

use pylae_core::service::AttemptOutcome;
use pylae_core::{Exchange, Shortage};
use tracing::debug;

use crate::client::Client;
use crate::io::clock;
use crate::io::connect::connect_any;
use crate::io::shortage;
use crate::io::socket::Socket;
use crate::snapshot::Service;
use crate::upstream::failure::Failure;
use crate::worker::Worker;

/// Opens a connection to an instance before the deadline that is set on `client`. Fails if the client disconnects.
pub(crate) async fn connect(
    worker: &Worker,
    service: &Service,
    index: usize,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Socket, Failure> {
    // Boxed: connecting is rare, and otherwise every client's task would carry this future's size.
    let mut connecting = Box::pin(open_or_make_room(worker, service, index));
    let opened = client.wait(exchange, |cx| connecting.as_mut().poll(cx)).await.map_err(Failure::Halt)?;
    match opened {
        Some(Ok(socket)) => {
            debug!(id = %exchange.request.id.escape_ascii(), "over a new connection");
            return Ok(socket);
        }
        Some(Err(error)) if is_tls_error(&error) => {
            debug!(id = %exchange.request.id.escape_ascii(), %error, "no connection: TLS failed");
            service.refusals.report(worker.log(), clock::coarse(), "instance_handshake_failed", || {
                format!("TLS with {} of service {}: {error}", service.plan.instances[index].url, service.name)
            });
        }
        Some(Err(error)) => {
            debug!(id = %exchange.request.id.escape_ascii(), %error, "no connection");
            if let Some(what) = shortage::behind(&error) {
                worker.report_shortage(what, || connecting_to(service, index));
                return Err(Failure::shortage(what));
            }
        }
        None => debug!(id = %exchange.request.id.escape_ascii(), "no connection in time"),
    }
    Err(Failure::instance(AttemptOutcome::ConnectFailed, false, false))
}

/// Opens a connection to an instance. Without descriptors, the worker's idle connections to instances make room first.
async fn open_or_make_room(worker: &Worker, service: &Service, index: usize) -> io::Result<Socket> {
    let opened = open(service, index).await;
    let lacked = opened.as_ref().err().and_then(shortage::behind);
    if lacked == Some(Shortage::Descriptors) && worker.close_idle_upstream(usize::MAX) > 0 {
        return open(service, index).await;
    }
    opened
}

/// What was tried, for the log.
pub(crate) fn connecting_to(service: &Service, index: usize) -> String {
    format!("connecting to {} of service {}", service.plan.instances[index].url, service.name)
}

/// Returns true for TLS errors. They are logged because health and breaker do not report a reason.
fn is_tls_error(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

/// Opens a connection to the instance of `service` at `index`, TLS handshake included.
pub(crate) async fn open(service: &Service, index: usize) -> io::Result<Socket> {
    let instances = &mut service.state.instances();
    let instance = instances.nth(index).ok_or(ErrorKind::NotFound)?;
    let stream = connect_any(instance.host(), instance.port()).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = service.tls.as_ref().filter(|_| instance.is_secure()) else { return Ok(stream.into()) };
    let mut tls = Box::new(tls.connect(stream, instance.host())?);
    poll_fn(|cx| tls.poll_handshake(cx)).await?;
    Ok(Socket::Tls(tls))
}
