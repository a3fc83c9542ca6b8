//! Two connections that are joined, in pieces of any size.

use super::*;

const LIMITS: Http2Grants =
    Http2Grants { max_streams: 100, stream_window: 100_000, connection_window: 200_000, max_head: 32_000 };

/// A client and a server.
pub(super) struct Joined {
    pub(super) client: Http2Connection,
    pub(super) server: Http2Connection,
}

impl Joined {
    pub(super) fn new() -> Self {
        Self { client: Http2Connection::client(LIMITS), server: Http2Connection::server(LIMITS) }
    }

    /// Moves at most `max` bytes from each side to the other. Returns false if there were none.
    pub(super) fn step(&mut self, max: usize) -> bool {
        let up = move_bytes(&mut self.client, &mut self.server, max);
        let down = move_bytes(&mut self.server, &mut self.client, max);
        up || down
    }

    pub(super) fn settle(&mut self, max: usize) {
        while self.step(max) {}
    }
}

fn move_bytes(from: &mut Http2Connection, to: &mut Http2Connection, max: usize) -> bool {
    let n = from.output().len().min(max);
    let bytes = from.output()[..n].to_vec();
    from.wrote(n);
    to.receive(&bytes, |_| true);
    assert_eq!(to.failure(), None);
    n > 0
}

pub(super) fn events(connection: &mut Http2Connection) -> Vec<Http2Event> {
    std::iter::from_fn(|| connection.next_event()).collect()
}

pub(super) fn read(connection: &mut Http2Connection, key: StreamKey) -> (String, Received) {
    let mut text = Vec::new();
    loop {
        match connection.read(key, &mut text, 1000) {
            Received::Bytes(_) => {}
            last => return (String::from_utf8(text).unwrap(), last),
        }
    }
}

#[test]
fn a_request_is_answered_however_the_bytes_are_cut() {
    for max in [1, 2, 7, 9, 10, 24, 100, 100_000] {
        let mut both = Joined::new();
        both.settle(max);
        let head = b"POST /a?b HTTP/1.1\r\nHost: shop.test\r\nX-One: 1\r\nConnection: close\r\nCookie: a=1\r\n\r\n";
        let (asked, len) = both.client.open(head, b"https", false).unwrap();
        assert_eq!(len, head.len());
        assert_eq!(both.client.send_data(asked, b"hello", true), StreamSent::Bytes(5));
        both.settle(max);
        let opened = events(&mut both.server);
        let Http2Event::Opened(stream) = opened[0] else { panic!("{opened:?}") };
        let expected = "POST /a?b HTTP/1.1\r\nhost: shop.test\r\nx-one: 1\r\nte: trailers\r\n\
                        transfer-encoding: chunked\r\ncookie: a=1\r\n\r\nhello";
        assert_eq!(read(&mut both.server, stream), (expected.to_owned(), Received::End));
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
        assert_eq!(both.server.respond(stream, early, false, false), StreamSent::Bytes(early.len()));
        let answer = b"HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(both.server.respond(stream, answer, false, false), StreamSent::Bytes(answer.len()));
        assert_eq!(both.server.send_data(stream, b"there", false), StreamSent::Bytes(5));
        assert!(both.server.send_trailers(stream, b"Grpc-Status: 0\r\n"));
        both.settle(max);
        assert!(events(&mut both.client).contains(&Http2Event::Changed(asked)));
        let expected = "HTTP/1.1 103 \r\nlink: a\r\n\r\nHTTP/1.1 200 \r\nserver: x\r\n\r\nthere";
        assert_eq!(read(&mut both.client, asked), (expected.to_owned(), Received::End));
        let mut trailers = Vec::new();
        both.client.take_trailers(asked, &mut trailers);
        assert_eq!(trailers, b"grpc-status: 0\r\n\r\n");
        both.client.release(asked);
        both.server.release(stream);
        both.settle(max);
        assert_eq!((both.client.open_streams(), both.server.open_streams()), (0, 0));
    }
}

#[test]
fn large_bodies_share_the_window_of_the_connection() {
    let mut both = Joined::new();
    both.settle(100_000);
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let asked: Vec<_> = (0..5).map(|_| both.client.open(head, b"http", true).unwrap().0).collect();
    both.settle(100_000);
    let opened: Vec<_> = events(&mut both.server)
        .into_iter()
        .filter_map(|event| if let Http2Event::Opened(key) = event { Some(key) } else { None })
        .collect();
    for &key in &opened {
        both.server.respond(key, b"HTTP/1.1 200 OK\r\n\r\n", false, false);
    }
    let body = vec![b'x'; 1_000_000];
    let (mut sent, mut got, mut before) = (vec![0; 5], vec![0; 5], vec![0; 5]);
    for turn in 0.. {
        for (stream, &key) in opened.iter().enumerate() {
            while sent[stream] < body.len()
                && let StreamSent::Bytes(n) = both.server.send_data(key, &body[sent[stream]..], true)
            {
                sent[stream] += n;
            }
        }
        both.step(50_000);
        both.server.share_out();
        let mut into = Vec::new();
        for (stream, &key) in asked.iter().enumerate() {
            while let Received::Bytes(n) = both.client.read(key, &mut into, 10_000) {
                got[stream] += n;
            }
        }
        events(&mut both.server);
        if got.iter().all(|&got| got >= body.len()) {
            break;
        }
        if turn % 50 == 0 {
            let starved = sent.iter().zip(&before).any(|(sent, before)| sent == before && *sent < body.len());
            assert!(turn == 0 || !starved, "in turn {turn}: {sent:?}, {before:?} before");
            before.clone_from(&sent);
        }
    }
}
