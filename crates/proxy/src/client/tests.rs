use std::io::Write;
use std::net::{TcpListener, TcpStream};

use pylae_core::Halt;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;
use crate::io::deadline::Wheel;
use crate::io::fresh::FreshStream;
use crate::io::socket::Socket;
use crate::telemetry::panics::fixture::PATIENCE;

/// A client that was accepted and has not been read yet, and its far end.
fn visitor(wheel: &Rc<Wheel>) -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, peer) = FreshStream::accept(&listener).unwrap();
    let info = ClientInfo { peer, peer_text: AddressText::of(peer.ip()), secure: false, certificate: None };
    (Client::new(Socket::Fresh(stream), info, Rc::new(wheel.deadline())), far)
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Rc<Wheel>) -> F) {
    let wheel = Wheel::new(clock::coarse());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = LocalSet::new();
    tasks.spawn_local(Rc::clone(&wheel).run());
    tasks.block_on(&runtime, test(wheel));
}

#[test]
fn a_client_that_leaves_during_the_wait_is_noticed() {
    run(async |wheel| {
        let (mut client, far) = visitor(&wheel);
        let mut exchange = Exchange::new(1024);
        client.body.start(&exchange, &client.socket);
        let mut far = Some(far);
        let waited = client.wait(&mut exchange, |_| {
            // After the wait has begun.
            drop(far.take());
            Poll::<()>::Pending
        });
        assert!(matches!(timeout(PATIENCE, waited).await, Ok(Err(Halt::ClientGone))));
    });
}

#[test]
fn a_short_wait_leaves_a_fresh_connection_unwatched() {
    run(async |wheel| {
        let (mut client, mut far) = visitor(&wheel);
        let mut exchange = Exchange::new(1024);
        client.body.start(&exchange, &client.socket);
        far.write_all(b"next").unwrap();
        let mut polls = 0;
        let waited = client.wait(&mut exchange, |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls < 3 { Poll::Pending } else { Poll::Ready(polls) }
        });
        assert!(matches!(waited.await, Ok(Some(3))));
        assert!(client.socket.is_fresh() && exchange.request.buffer.is_empty());
    });
}

#[test]
fn what_has_come_behind_the_last_request_of_a_fresh_connection_is_seen() {
    run(async |wheel| {
        let (mut client, mut far) = visitor(&wheel);
        let mut exchange = Exchange::new(1024);
        far.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        poll_fn(|cx| client.socket.poll_read(cx, &mut exchange.request.buffer, usize::MAX)).await.unwrap();
        let limits = pylae_http::HeadLimits { head: 1024, target: 1024, fields: 10 };
        assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
        client.body.start(&exchange, &client.socket);
        assert!(client.has_said_all(&exchange).await);
        // Closed now, the connection would be reset, and what was written would be lost.
        far.write_all(b"\r\n").unwrap();
        assert!(!client.has_said_all(&exchange).await);
        assert!(client.socket.is_fresh());
    });
}
