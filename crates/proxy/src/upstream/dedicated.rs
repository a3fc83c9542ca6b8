//! Dedicated connections, for requests outside exchanges: health checks and mirrored requests.

use std::io;

use pylae_core::plan::Protocol;

use crate::io::h2_stream::permit::StreamPermits;
use crate::io::h2_stream::stream::H2Stream;
use crate::io::socket::Socket;
use crate::snapshot::Service;
use crate::upstream::{connect, http2};

/// Opens a dedicated connection, or one stream on a dedicated HTTP/2 connection.
pub(crate) async fn open_dedicated(service: &Service, index: usize) -> io::Result<Socket> {
    match service.plan.protocol {
        Protocol::Http1 => connect::open(service, index).await,
        Protocol::Http2 => open_stream(service, index).await,
    }
}

/// Opens one stream on an HTTP/2 connection of its own.
async fn open_stream(service: &Service, index: usize) -> io::Result<Socket> {
    let (requests, connection) = http2::open(service, index).await?;
    let scheme = http2::scheme(service, index);
    tokio::task::spawn_local(async move {
        // The stream gets the error as well.
        let _ = connection.await;
    });
    let permit = StreamPermits::new().acquire();
    Ok(Socket::Stream(Box::new(H2Stream::outbound(requests, scheme, permit))))
}
