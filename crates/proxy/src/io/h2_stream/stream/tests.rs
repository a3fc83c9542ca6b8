use std::task::Waker;

use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::io::h2_stream::permit::StreamPermits;

/// A stream to an instance, on a connection that is no longer driven.
fn abandoned() -> H2Stream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (requests, _) = h2::client::handshake(socket).await.unwrap();
        H2Stream::outbound(requests, Scheme::HTTP, StreamPermits::new().acquire())
    })
}

#[test]
fn a_stream_that_failed_before_it_began_says_so() {
    let mut stream = abandoned();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(stream.poll_read(cx, &mut Vec::new(), 100).is_pending(), "nothing was asked yet");
    assert!(matches!(stream.poll_write(cx, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), Poll::Ready(Err(_))));
    assert!(stream.is_unprocessed());
    assert!(matches!(stream.poll_read(cx, &mut Vec::new(), 100), Poll::Ready(Err(_))));
}

#[test]
fn a_request_that_cannot_be_written_is_not_the_instances_fault() {
    let mut stream = abandoned();
    let cx = &mut Context::from_waker(Waker::noop());
    let request = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(70_000));
    let Poll::Ready(Err(error)) = stream.poll_write(cx, request.as_bytes()) else { panic!("it was written") };
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(stream.is_unprocessed());
}
