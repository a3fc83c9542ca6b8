use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use tokio::net::TcpListener;

use super::*;

/// Runs a test with a connection that the runtime watches, and its far end.
fn with_pair(test: impl AsyncFnOnce(Socket, std::net::TcpStream)) {
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (far, near) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let far = far.unwrap().into_std().unwrap();
        far.set_nonblocking(false).unwrap();
        test(near.unwrap().0.into(), far).await;
    });
}

async fn write(socket: &mut Socket, bytes: &[u8]) {
    assert_eq!(poll_fn(|cx| socket.poll_write(cx, bytes)).await.unwrap(), bytes.len());
}

#[test]
fn the_end_is_sent_with_what_is_last() {
    with_pair(async |mut socket, mut far| {
        write(&mut socket, b"head").await;
        let mut seen = [0; 20];
        assert_eq!(far.read(&mut seen).unwrap(), 4);
        socket.end_connection();
        write(&mut socket, b"body").await;
        far.set_nonblocking(true).unwrap();
        assert_eq!(far.read(&mut seen).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(socket);
        far.set_nonblocking(false).unwrap();
        assert_eq!(far.read(&mut seen).unwrap(), 4);
        assert_eq!(far.read(&mut seen).unwrap(), 0);
    });
}

#[test]
fn the_kernel_is_asked_for_input_before_the_end() {
    with_pair(async |mut socket, mut far| {
        let cx = &mut Context::from_waker(Waker::noop());
        socket.end_connection();
        write(&mut socket, b"body").await;
        assert!(!socket.has_input(cx));
        // The runtime does not know of it: it has not run since.
        far.write_all(b"more").unwrap();
        let begun = Instant::now();
        while !socket.has_input(cx) {
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    });
}
