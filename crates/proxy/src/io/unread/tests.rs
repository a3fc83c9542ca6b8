use std::future::poll_fn;
use std::io::Read;
use std::task::Poll;

use tokio::net::{TcpListener, TcpSocket};

use super::*;

/// A non-blocking client with a small receive buffer, and the gateway's end, filled until the kernel accepts no more.
async fn full() -> (std::net::TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(4096).unwrap();
    let (client, accepted) = tokio::join!(client.connect(listener.local_addr().unwrap()), listener.accept());
    let mut socket = Socket::from(accepted.unwrap().0);
    let bytes = vec![7; BULK];
    while poll_fn(|cx| Poll::Ready(socket.poll_write(cx, &bytes).is_ready())).await {}
    (client.unwrap().into_std().unwrap(), socket)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(test);
}

#[test]
fn what_a_client_reads_is_acknowledged() {
    run(async {
        let (mut client, socket) = full().await;
        let (before, mut bin) = (socket.unacknowledged(), vec![0; 100_000]);
        assert!(before > 500_000, "the kernel has taken {before} bytes");
        let mut read = 0;
        while socket.unacknowledged() > before - 300_000 {
            read += client.read(&mut bin).unwrap_or_default() as u64;
        }
        // The rest lies in the client's kernel.
        assert!(read + 20_000 > 300_000, "{read} bytes were read");
        assert!(!socket.is_gone());
    });
}

#[test]
fn nothing_is_left_for_a_client_that_is_gone() {
    run(async {
        let (client, socket) = full().await;
        // It has not read all, so its kernel resets.
        drop(client);
        assert!(socket.unacknowledged() > MAX_LEFT);
        while !socket.is_gone() {
            tokio::task::yield_now().await;
        }
    });
}
