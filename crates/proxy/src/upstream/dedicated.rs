//! Dedicated connections, for requests outside exchanges: health checks and mirrored requests.

use std::io;
use std::rc::Rc;

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
    let connection = http2::open(service, index).await?;
    let shared = Rc::clone(connection.shared());
    let permit = StreamPermits::new().acquire();
    let stream = H2Stream::outbound(Rc::clone(&shared), http2::is_secure(service, index), permit);
    shared.close();
    tokio::task::spawn_local(connection.run());
    Ok(Socket::Stream(Box::new(stream)))
}
