use std::future::poll_fn;

use pylae_http::websocket::{FrameLimits, Sender, close};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::io::buffers::SMALL;

const LIMITS: FrameLimits = FrameLimits { frame: 100_000, message: 100_000 };

/// Both ends of a connection.
async fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (outer, inner) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (outer.unwrap(), inner.unwrap().0.into())
}

/// A direction between two connections, and their other ends.
struct Setup {
    source: TcpStream,
    from: Socket,
    to: Socket,
    target: TcpStream,
    direction: Direction,
    buffers: Buffers,
}

impl Setup {
    async fn new(early: &[u8]) -> Self {
        let ((source, from), (target, to)) = (pair().await, pair().await);
        let buffers = Buffers::default();
        let (direction, violation) =
            Direction::new(WebSocketFrames::new(Sender::Server, LIMITS, false), Pace::default(), early, &buffers);
        assert_eq!(violation, None);
        Self { source, from, to, target, direction, buffers }
    }

    /// Relays until `count` bytes have reached the target.
    async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut got = vec![0; count];
        let Self { from, to, direction, buffers, target, .. } = self;
        let relayed = poll_fn(|cx| direction.poll(cx, from, to, buffers));
        tokio::select! {
            biased;
            read = target.read_exact(&mut got) => { read.unwrap(); }
            _ = relayed => panic!("the direction ended"),
        }
        got
    }

    /// Relays until the direction ends.
    async fn end(&mut self) -> DirectionEnd {
        let Self { from, to, direction, buffers, .. } = self;
        poll_fn(|cx| direction.poll(cx, from, to, buffers)).await
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(test);
}

#[test]
fn bytes_read_early_come_first_and_no_memory_is_held_afterwards() {
    run(async {
        let mut setup = Setup::new(b"\x81\x05hel").await;
        setup.source.write_all(b"lo\x81\x01a").await.unwrap();
        assert_eq!(setup.read(10).await, b"\x81\x05hello\x81\x01a");
        let Setup { from, to, direction, buffers, .. } = &mut setup;
        poll_fn(|cx| Poll::Ready(direction.poll(cx, from, to, buffers).is_pending())).await;
        assert_eq!(setup.direction.buffer.capacity(), 0);
        assert_eq!((setup.direction.received(), setup.direction.sent()), (10, 10));
    });
}

#[test]
fn half_a_header_waits_for_the_other_half() {
    run(async {
        let mut setup = Setup::new(b"\x82\x7e\x00").await;
        let Setup { from, to, direction, buffers, .. } = &mut setup;
        poll_fn(|cx| Poll::Ready(direction.poll(cx, from, to, buffers).is_pending())).await;
        assert_eq!((setup.direction.sent(), &setup.direction.buffer[..]), (0, &b"\x82\x7e\x00"[..]));
        setup.source.write_all(&[&[200][..], &[1; 200]].concat()).await.unwrap();
        assert_eq!(setup.read(204).await[..4], *b"\x82\x7e\x00\xc8");
    });
}

#[test]
fn a_close_frame_of_the_gateway_follows_the_current_frame_and_the_sources_is_still_seen() {
    run(async {
        let mut setup = Setup::new(b"\x81\x05hel").await;
        let mut frame = Vec::new();
        close(&mut frame, 1001, "", None);
        setup.direction.close(frame.clone());
        assert!(!setup.direction.has_sent_close());
        // The rest of the frame, half a header, then the source's Close frame.
        setup.source.write_all(b"lo\x81").await.unwrap();
        assert_eq!(setup.read(11).await, [b"\x81\x05hello", &frame[..]].concat());
        assert!(setup.direction.has_sent_close() && !setup.direction.has_received_close());
        setup.source.write_all(b"\x01a\x88\x02\x03\xe8beyond").await.unwrap();
        setup.source.shutdown().await.unwrap();
        assert!(matches!(setup.end().await, DirectionEnd::Source));
        assert!(setup.direction.has_received_close());
        assert_eq!(setup.direction.sent(), 11);
    });
}

#[test]
fn a_source_that_violated_the_protocol_is_not_relayed_any_more() {
    run(async {
        let mut setup = Setup::new(b"").await;
        setup.source.write_all(b"\x81\x01a\x83\x00").await.unwrap();
        let DirectionEnd::Broken(found) = setup.end().await else { panic!("it is broken") };
        assert_eq!(found.code, 1002);
        setup.direction.close(b"\x88\x00".to_vec());
        assert_eq!(setup.read(5).await, b"\x81\x01a\x88\x00");
        // Bytes that look like a Close frame may be anything.
        setup.source.write_all(b"\x88\x00").await.unwrap();
        setup.source.shutdown().await.unwrap();
        assert!(matches!(setup.end().await, DirectionEnd::Source));
        assert!(!setup.direction.has_received_close());
    });
}

#[test]
fn a_target_that_reads_nothing_stops_reading_from_the_source() {
    run(async {
        let mut setup = Setup::new(b"").await;
        let mut whole = vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0x86, 0xA0];
        whole.resize(10 + 100_000, 7);
        let patience = Duration::from_secs(9);
        assert_eq!(setup.direction.due(&setup.to, patience), None);
        let Setup { source, from, to, direction, buffers, .. } = &mut setup;
        let sending = async {
            loop {
                source.write_all(&whole).await.unwrap();
            }
        };
        let stalled = poll_fn(|cx| {
            assert!(direction.poll(cx, from, to, buffers).is_pending());
            if direction.due(to, patience).is_some() { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = stalled => {}
            () = sending => {}
        }
        assert!(setup.direction.buffer.len() <= SMALL);
        // It reads some, so the timeout restarts.
        let mut bin = vec![0; 8 << 20];
        let before = setup.direction.sent();
        setup.target.readable().await.unwrap();
        while setup.direction.sent() == before {
            let _ = setup.target.try_read(&mut bin);
            let Setup { from, to, direction, buffers, .. } = &mut setup;
            poll_fn(|cx| Poll::Ready(direction.poll(cx, from, to, buffers).is_pending())).await;
            tokio::task::yield_now().await;
        }
    });
}
