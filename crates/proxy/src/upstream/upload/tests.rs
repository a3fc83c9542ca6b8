use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use pylae_core::Exchange;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::{AddressText, ClientInfo};
use crate::io::deadline::Wheel;

/// An upload of a body in chunks, of which only the head was sent, with the far ends of both connections.
struct Begun {
    upload: Upload,
    client: Client,
    exchange: Exchange,
    instance: Socket,
    sender: TcpStream,
    _receiver: TcpStream,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (outer, inner) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (outer.unwrap(), inner.unwrap().0)
}

async fn begin(once: bool) -> Begun {
    let ((sender, inner), (receiver, outer)) = (pair().await, pair().await);
    let peer = inner.peer_addr().unwrap();
    let info = ClientInfo { peer, peer_text: AddressText::of(peer.ip()), secure: false, certificate: None };
    let mut client = Client::new(inner.into(), info, Rc::new(Wheel::new(clock::coarse()).deadline()));
    // Less than one read of what is sent below.
    let mut exchange = Exchange::new(6000);
    exchange.request.framing = Framing::Chunked;
    exchange.request.max_body = u64::MAX;
    client.body.start(&exchange, &client.socket);
    let pace = Pace::new(1, Duration::from_secs(1));
    let head = |out: &mut Vec<u8>| out.extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
    let upload = Upload::new(&Buffers::default(), &client, &exchange, Framing::Chunked, pace, head).sent_once(once);
    let mut begun = Begun { upload, client, exchange, instance: outer.into(), sender, _receiver: receiver };
    assert!(begun.poll().await.is_pending());
    assert!(begun.upload.waits_for_client());
    begun
}

impl Begun {
    async fn poll(&mut self) -> Poll<Result<(), UploadError>> {
        let Self { upload, client, exchange, instance, .. } = self;
        poll_fn(|cx| Poll::Ready(upload.poll(cx, client, exchange, instance))).await
    }

    /// Has the client send a chunk, and waits until it is there.
    async fn send(&mut self, size: usize) {
        let chunk = [format!("{size:x}\r\n").as_bytes(), &vec![7; size], b"\r\n"].concat();
        let mut left = &chunk[..];
        while !left.is_empty() {
            self.sender.writable().await.unwrap();
            left = &left[self.sender.try_write(left).unwrap_or(0)..];
        }
        poll_fn(|cx| self.client.socket.poll_readable(cx)).await.unwrap();
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(test);
}

#[test]
fn what_has_come_is_sent_in_one_write() {
    run(async {
        let mut begun = begin(false).await;
        for _ in 0..3 {
            begun.send(5000).await;
        }
        let before = begun.upload.flushes;
        assert!(begun.poll().await.is_pending());
        assert_eq!(begun.upload.flushes, before + 1);
        assert!(begun.upload.waits_for_client());
    });
}

#[test]
fn a_client_is_not_waited_for_while_its_instance_takes_nothing() {
    run(async {
        let mut begun = begin(false).await;
        let bytes = vec![7; 1 << 16];
        while poll_fn(|cx| Poll::Ready(begun.instance.poll_write(cx, &bytes).is_ready())).await {}
        begun.send(10).await;
        assert!(begun.poll().await.is_pending());
        // The client has sent no more, but it is not its turn.
        assert!(!begun.upload.waits_for_client());
    });
}

#[test]
fn a_body_is_kept_only_if_it_may_be_sent_again() {
    for (once, kept) in [(false, 5000), (true, 0)] {
        run(async move {
            let mut begun = begin(once).await;
            begun.send(5000).await;
            assert!(begun.poll().await.is_pending());
            let body = &begun.client.body;
            assert_eq!((body.received(), body.buffered().len(), body.is_replayable()), (5000, kept, !once));
        });
    }
}
