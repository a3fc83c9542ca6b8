//! A client's connection: one exchange after the other.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::client::{After, Client};
use crate::flow::flow;
use crate::receive::readable;
use crate::socket::Socket;
use crate::worker::{Open, Worker};

/// Serves a connection until one side has enough of it.
pub(crate) async fn serve(worker: Rc<Worker>, _open: Open, stream: TcpStream, peer: SocketAddr) {
    // Only fails when the connection is gone already.
    let Ok(socket) = Socket::new(stream) else { return };
    let mut client = Client {
        socket,
        peer,
        peer_text: peer.ip().to_canonical().to_string().into(),
        secure: false,
        deadline: Rc::new(worker.wheel.deadline()),
        body: crate::body::Body::default(),
        scratch: Vec::new(),
    };
    let mut first = true;
    while readable(&worker, &mut client, first).await {
        first = false;
        // Memory is held only while bytes are in flight.
        let mut exchange = worker.buffers.exchange();
        let after = loop {
            let after = flow(&worker, &mut client, &mut exchange).await;
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
            Some(After::Close) => return client.linger(&worker).await,
            Some(After::Abort) | None => return,
        }
    }
}
