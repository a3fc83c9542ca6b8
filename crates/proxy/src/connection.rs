//! A client's connection: one exchange after the other.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::client::{After, Client};
use crate::flow::flow;
use crate::http2;
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
    let http2 = worker.snapshot().plan.listeners.iter().any(|listener| listener.http2);
    let mut first = true;
    while readable(&worker, &mut client, first).await {
        // Memory is held only while bytes are in flight.
        let mut exchange = worker.buffers.exchange();
        if first && http2 && http2::announced(&mut client, &mut exchange.buffer).await {
            let ahead = exchange.buffer.clone();
            worker.buffers.give_back_exchange(exchange);
            // Boxed: the tasks of other connections are not to carry it.
            return Box::pin(http2::serve(worker, client, ahead)).await;
        }
        first = false;
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
