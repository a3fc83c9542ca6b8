use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use pylae_http::http2::connection::{Http2Connection, Http2Event, Http2Grants};

use super::*;
use crate::io::h2_stream::driver::Http2Driver;
use crate::io::h2_stream::permit::StreamPermits;
use crate::io::socket::Socket;

const LIMITS: Http2Grants =
    Http2Grants { max_streams: 10, stream_window: 100_000, connection_window: 100_000, max_head: 10_000 };
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A stream to an instance, the connection's driver, and the instance.
fn outbound() -> (H2Stream, Http2Driver, Http2Connection) {
    let shared = SharedHttp2::new(Http2Connection::client(LIMITS));
    let stream = H2Stream::outbound(Rc::clone(&shared), false, StreamPermits::new().acquire());
    (stream, Http2Driver::new(shared), Http2Connection::server(LIMITS))
}

/// Moves what both sides say, in place of a socket.
fn join(shared: &SharedHttp2, instance: &mut Http2Connection) {
    shared.with(|connection| {
        while !connection.output().is_empty() || !instance.output().is_empty() {
            let (ours, theirs) = (connection.output().to_vec(), instance.output().to_vec());
            connection.wrote(ours.len());
            instance.wrote(theirs.len());
            instance.receive(&ours, |_| true);
            connection.receive(&theirs, |_| true);
        }
    });
}

fn opened(instance: &mut Http2Connection) -> StreamKey {
    loop {
        match instance.next_event() {
            Some(Http2Event::Opened(key)) => return key,
            Some(_) => {}
            None => panic!("no stream was opened"),
        }
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_stream_that_failed_before_it_began_says_so() {
    let (mut stream, driver, _) = outbound();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(stream.poll_read(cx, &mut Vec::new(), 100).is_pending(), "nothing was asked yet");
    drop(driver);
    assert!(matches!(stream.poll_write(cx, GET), Poll::Ready(Err(_))));
    assert!(stream.is_unprocessed());
    assert!(matches!(stream.poll_read(cx, &mut Vec::new(), 100), Poll::Ready(Err(_))));
}

#[test]
fn a_request_that_cannot_be_written_is_not_the_instances_fault() {
    let (mut stream, driver, mut instance) = outbound();
    join(driver.shared(), &mut instance);
    let cx = &mut Context::from_waker(Waker::noop());
    let request = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(70_000));
    let Poll::Ready(Err(error)) = stream.poll_write(cx, request.as_bytes()) else { panic!("it was written") };
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(stream.is_unprocessed());
}

#[test]
fn the_end_of_the_connection_wakes_whoever_waits_and_is_no_end_of_an_answer() {
    let (mut stream, driver, mut instance) = outbound();
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let cx = &mut Context::from_waker(&waker);
    stream.end(&[]);
    assert!(matches!(stream.poll_write(cx, GET), Poll::Ready(Ok(n)) if n == GET.len()));
    stream.finish().unwrap();
    join(driver.shared(), &mut instance);
    let asked = opened(&mut instance);
    instance.respond(asked, b"HTTP/1.1 200 OK\r\n\r\n", false, false);
    instance.send_data(asked, b"half", false);
    join(driver.shared(), &mut instance);
    let mut text = Vec::new();
    assert!(matches!(stream.poll_read(cx, &mut text, 100), Poll::Ready(Ok(_))));
    assert_eq!(text, b"HTTP/1.1 200 \r\n\r\nhalf");
    assert!(stream.poll_read(cx, &mut text, 100).is_pending() && stream.poll_disconnect(cx).is_pending());
    drop(driver);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(matches!(stream.poll_read(cx, &mut text, 100), Poll::Ready(Err(_))));
    assert!(stream.poll_disconnect(cx).is_ready() && !stream.is_unprocessed());
}

#[test]
fn who_waits_for_room_is_woken_once_there_is_some() {
    let (mut stream, mut driver, mut instance) = outbound();
    join(driver.shared(), &mut instance);
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let cx = &mut Context::from_waker(&waker);
    let many: Vec<_> = (0..10)
        .map(|_| {
            let mut other = H2Stream::outbound(Rc::clone(driver.shared()), true, StreamPermits::new().acquire());
            assert!(other.poll_write(cx, GET).is_ready());
            other
        })
        .collect();
    assert!(stream.poll_write(cx, GET).is_pending(), "the instance lets no more in");
    drop(many);
    // A socket that takes everything and says nothing.
    assert!(driver.poll(cx, &mut Socket::Null, None).is_pending());
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(stream.poll_write(cx, GET).is_ready());
}

#[test]
fn a_connection_that_nobody_needs_ends_with_its_last_stream() {
    let (stream, mut driver, _) = outbound();
    let cx = &mut Context::from_waker(Waker::noop());
    driver.shared().close();
    assert!(driver.poll(cx, &mut Socket::Null, None).is_pending());
    drop(stream);
    assert!(driver.poll(cx, &mut Socket::Null, None).is_ready());
}
