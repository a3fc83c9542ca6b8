//! Connecting to an instance.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;

use pylae_core::plan::Protocol;
use pylae_core::service::{Instance, Outcome};
use pylae_core::{Exchange, Halt};
use tokio::net::TcpStream;

use crate::attempt::Failure;
use crate::client::Client;
use crate::http2::instances;
use crate::socket::Socket;

/// Opens a connection, up to the deadline that is set on `client`, and only as long as the client stays.
pub(crate) async fn connect(
    instance: &Instance,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Socket, Failure> {
    // Boxed: connections are rare, and every client's task would carry this future's size all the time.
    let mut connecting = Box::pin(open(instance.host(), instance.port()));
    let deadline = Rc::clone(&client.deadline);
    let opened = deadline
        .within(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(opened) => {
                Poll::Ready(opened.map_err(|_| Failure::instance(Outcome::ConnectFailed, false, false)))
            }
            Poll::Pending => client.poll_gone(cx, exchange).map(|()| Err(Failure::Halt(Halt::ClientGone))),
        })
        .await;
    opened.unwrap_or_else(|| Err(Failure::instance(Outcome::ConnectFailed, false, false)))
}

/// Opens a connection, or a stream on one, that is not shared with anyone.
pub(crate) async fn open_alone(protocol: Protocol, host: &str, port: u16) -> io::Result<Socket> {
    match protocol {
        Protocol::Http1 => open(host, port).await,
        Protocol::H2c => instances::open_alone(host, port).await,
    }
}

/// Tries the addresses of `host` in turn.
pub(crate) async fn open(host: &str, port: u16) -> io::Result<Socket> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = match bare.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect(SocketAddr::new(address, port)).await?,
        Err(_) => TcpStream::connect((host, port)).await?,
    };
    Socket::new(stream)
}
