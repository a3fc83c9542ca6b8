//! A connection that nobody shares, for what is asked once in a while: health checks, copies of requests.

use std::io;

use pylae_core::plan::Protocol;

use crate::io::h2_stream::permit::StreamPermits;
use crate::io::h2_stream::stream::H2Stream;
use crate::io::socket::Socket;
use crate::snapshot::Service;
use crate::upstream::{connect, http2};

/// Opens a connection, or a stream on one, that is not shared with anyone.
pub(crate) async fn open_dedicated(service: &Service, index: usize) -> io::Result<Socket> {
    match service.plan.protocol {
        Protocol::Http1 => connect::open(service, index).await,
        Protocol::Http2 => open_stream(service, index).await,
    }
}

/// A stream on a connection of its own, for what is asked once in a while.
async fn open_stream(service: &Service, index: usize) -> io::Result<Socket> {
    let (requests, connection) = http2::open(service, index).await?;
    let scheme = http2::scheme(service, index);
    tokio::task::spawn_local(async move {
        // The stream hears of an error itself.
        let _ = connection.await;
    });
    let permit = StreamPermits::new().acquire();
    Ok(Socket::Stream(Box::new(H2Stream::outbound(requests, scheme, permit))))
}
