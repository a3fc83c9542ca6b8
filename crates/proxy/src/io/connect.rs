//! Opens TCP connections to hosts.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

use crate::io::dns;
use crate::io::shortage;

/// Tries the addresses of `host` in turn. An error of the gateway's own goes first: the instance may be well then.
pub(crate) async fn connect_any(host: &str, port: u16) -> io::Result<TcpStream> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return connect_to(SocketAddr::new(address, port)).await;
    }
    let mut failed: Option<io::Error> = None;
    for &address in &*dns::addresses(host).await? {
        match connect_to(SocketAddr::new(address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) if failed.as_ref().and_then(shortage::behind).is_none() => failed = Some(error),
            Err(_) => {}
        }
    }
    Err(failed.unwrap_or_else(|| ErrorKind::NotFound.into()))
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await.map_err(|error| shortage::of_connect(error, address))
}
