//! A client's connection, from its beginning to its end.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::client::{After, Client};
use crate::flow::flow;
use crate::receive::readable;
use crate::snapshot::Listener;
use crate::tls::Protocol;
use crate::welcome::welcome;
use crate::worker::{Open, Worker};

/// Serves a connection until one side has enough of it.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    _open: Open,
    listener: Arc<Listener>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let Some((client, protocol)) = welcome(&worker, &listener, stream, peer).await else { return };
    drop(listener);
    match protocol {
        Protocol::Http1 => take_turns(&worker, client).await,
    }
}

/// HTTP/1: one exchange after the other.
async fn take_turns(worker: &Rc<Worker>, mut client: Client) {
    let mut first = true;
    while readable(worker, &mut client, first).await {
        first = false;
        // Memory is held only while bytes are in flight.
        let mut exchange = worker.buffers.exchange();
        let after = loop {
            let after = flow(worker, &mut client, &mut exchange).await;
            if after != Some(After::Keep) {
                break after;
            }
            // What the client sent ahead stays for the next turn.
            exchange.buffer.drain(..client.body.consumed());
            exchange.reset();
            if exchange.buffer.is_empty() {
                break after;
            }
        };
        worker.buffers.give_back_exchange(exchange);
        match after {
            Some(After::Keep) => {}
            Some(After::Close) => return client.linger(worker).await,
            Some(After::Abort) | None => return,
        }
    }
}
