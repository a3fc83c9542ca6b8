//! What a peer may send and what not, frame by frame.

use super::*;
use crate::http2::frame::{FrameHeader, FrameKind, HEADER_LEN, flag};

pub(super) const LIMITS: Http2Grants =
    Http2Grants { max_streams: 3, stream_window: 100_000, connection_window: 100_000, max_head: 1000 };
const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
const END: u8 = flag::END_STREAM | flag::END_HEADERS;

/// A peer that sends frames as they are.
struct RawPeer {
    connection: Http2Connection,
    encoder: HpackEncoder,
}

impl RawPeer {
    /// A client.
    fn client() -> Self {
        let mut peer = Self { connection: Http2Connection::server(LIMITS), encoder: HpackEncoder::new() };
        peer.connection.receive(PREFACE, |_| true);
        peer.introduce()
    }

    /// An instance, of which nothing was asked.
    fn instance() -> Self {
        Self { connection: Http2Connection::client(LIMITS), encoder: HpackEncoder::new() }.introduce()
    }

    fn introduce(mut self) -> Self {
        self.send(FrameKind::Settings, 0, 0, &[]);
        self.send(FrameKind::Settings, flag::ACK, 0, &[]);
        self.connection.wrote(self.connection.output().len());
        self
    }

    fn send(&mut self, kind: FrameKind, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        FrameHeader { length: payload.len() as u32, kind, flags, stream }.write(&mut bytes);
        bytes.extend_from_slice(payload);
        self.connection.receive(&bytes, |_| true);
    }

    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            self.encoder.encode(&mut block, name.as_bytes(), value.as_bytes(), false);
        }
        block
    }

    fn head(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        let block = self.block(fields);
        self.send(FrameKind::Headers, flags, stream, &block);
    }

    /// The frames that the connection has sent since the last call, with their payloads.
    fn said(&mut self) -> Vec<(FrameKind, u32, Vec<u8>)> {
        let (mut said, mut rest) = (Vec::new(), self.connection.output());
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = FrameHeader::read(header);
            let (payload, next) = after.split_at(header.length as usize);
            said.push((header.kind, header.stream, payload.to_vec()));
            rest = next;
        }
        self.connection.wrote(self.connection.output().len());
        said
    }

    /// The code of the last reset, or that of the end of the connection, of which stream 0 is told.
    fn answered(&mut self) -> Option<(u32, Http2Code)> {
        let code = |payload: &[u8]| Http2Code(u32::from_be_bytes(*payload.first_chunk().unwrap()));
        self.said().iter().rev().find_map(|(kind, stream, payload)| match kind {
            FrameKind::RstStream => Some((*stream, code(payload))),
            FrameKind::GoAway => Some((0, code(&payload[4..]))),
            _ => None,
        })
    }

    fn opened(&mut self) -> StreamKey {
        loop {
            match self.connection.next_event() {
                Some(Http2Event::Opened(key)) => return key,
                Some(_) => {}
                None => panic!("no stream was opened"),
            }
        }
    }

    /// Asks an instance for something.
    fn ask(&mut self) -> StreamKey {
        let asked = self.connection.open(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"http", true).unwrap().0;
        self.connection.wrote(self.connection.output().len());
        asked
    }

    fn text(&mut self, key: StreamKey) -> String {
        let mut text = Vec::new();
        self.connection.read(key, &mut text, 10_000);
        String::from_utf8(text).unwrap()
    }
}

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&GET[..], more].concat()
}

#[test]
fn a_request_is_text_with_one_cookie_and_one_host() {
    let mut peer = RawPeer::client();
    peer.head(1, flag::END_HEADERS, &with(&[("cookie", "a=1"), ("host", "A"), ("x-a", "1"), ("cookie", "b=2")]));
    let key = peer.opened();
    let expected = "GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\ntransfer-encoding: chunked\r\ncookie: a=1; b=2\r\n\r\n";
    assert_eq!((peer.text(key), peer.connection.refusal(key)), (expected.to_owned(), None));
    peer.head(3, END, &[(":method", "OPTIONS"), (":path", "*"), (":scheme", "HTTPS"), ("host", "b")]);
    let key = peer.opened();
    assert_eq!(peer.text(key), "OPTIONS * HTTP/1.1\r\nhost: b\r\n\r\n");
}

#[test]
fn a_fragment_is_left_for_the_parser_to_refuse() {
    let mut peer = RawPeer::client();
    peer.head(1, END, &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/a#b")]);
    let key = peer.opened();
    assert_eq!(peer.text(key), "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n");
}

#[test]
fn an_extended_connect_is_a_handshake_without_a_key() {
    let mut peer = RawPeer::client();
    let mut fields = with(&[("sec-websocket-key", "old"), ("sec-websocket-version", "13")]);
    (fields[0], fields[3]) = ((":method", "CONNECT"), (":path", "/chat?x"));
    fields.insert(1, (":protocol", "websocket"));
    peer.head(1, flag::END_HEADERS, &fields);
    let key = peer.opened();
    assert!(peer.connection.opens_websocket(key));
    let expected = "GET /chat?x HTTP/1.1\r\nhost: a\r\nsec-websocket-version: 13\r\nconnection: upgrade\r\n\
                    upgrade: websocket\r\n\r\n";
    assert_eq!(peer.text(key), expected);
    fields[1] = (":protocol", "connect-udp");
    peer.head(3, flag::END_HEADERS, &fields);
    let key = peer.opened();
    assert!(peer.text(key).starts_with("CONNECT a HTTP/1.1\r\n"));
    peer.head(5, flag::END_HEADERS, &[(":method", "CONNECT"), (":authority", "b:1")]);
    let key = peer.opened();
    assert!(peer.text(key).starts_with("CONNECT b:1 HTTP/1.1\r\nhost: b:1\r\n"));
}

#[test]
fn malformed_requests_are_refused_and_counted() {
    let three =
        |method, scheme, path| vec![(":method", method), (":scheme", scheme), (":path", path), (":authority", "a")];
    let wrong = [
        with(&[(":path", "/")]),
        with(&[(":status", "200")]),
        with(&[("x", "y"), (":protocol", "websocket")]),
        with(&[(":protocol", "websocket")]),
        with(&[(":unknown", "x")]),
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("te", "gzip")]),
        with(&[("host", "b")]),
        with(&[("host", "a"), ("host", "a")]),
        with(&[("content-length", "+5")]),
        with(&[("content-length", "0"), ("content-length", "0")]),
        with(&[("content-length", "5")]),
        with(&[("X-Upper", "1")]),
        with(&[("x y", "1")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\0b")]),
        with(&[("x", " a")]),
        with(&[("", "a")]),
        GET[1..].to_vec(),
        vec![GET[0], GET[1], GET[2]],
        vec![GET[0], GET[2], GET[3]],
        vec![GET[0], GET[1], GET[3]],
        three("GET", "ftp", "/"),
        three("GET", "http", ""),
        three("GET", "http", "http://b/"),
        three("GET", "http", "/ HTTP/1.1"),
        three("GET", "http", "*"),
        three("G T", "http", "/"),
        three("CONNECT", "http", "/"),
        vec![(":method", "CONNECT")],
    ];
    let mut peer = RawPeer::client();
    for (number, fields) in (1..).step_by(2).zip(&wrong) {
        peer.head(number, END, fields);
        let key = peer.opened();
        assert!(peer.connection.refusal(key).is_some(), "{fields:?}");
        assert_eq!(peer.connection.take_faults(), 1, "{fields:?}");
        peer.connection.reset(key, Http2Code::PROTOCOL_ERROR);
        assert_eq!(peer.answered(), Some((number, Http2Code::PROTOCOL_ERROR)));
        peer.connection.release(key);
    }
    assert_eq!(peer.connection.failure(), None);
}

#[test]
fn trailers_have_no_pseudo_fields_and_an_end() {
    for (flags, fields) in
        [(END, &[(":path", "/")][..]), (END, &[(":status", "200")]), (flag::END_HEADERS, &[("x", "y")])]
    {
        let mut peer = RawPeer::client();
        peer.head(1, flag::END_HEADERS, &GET);
        let key = peer.opened();
        peer.head(1, flags, fields);
        assert_eq!(peer.answered(), Some((1, Http2Code::PROTOCOL_ERROR)), "{fields:?}");
        assert!(peer.connection.reset_of(key).is_some());
    }
    let mut peer = RawPeer::client();
    peer.head(1, flag::END_HEADERS, &GET);
    let key = peer.opened();
    peer.head(1, END, &[("x-sum", "7")]);
    let mut trailers = Vec::new();
    peer.connection.take_trailers(key, &mut trailers);
    assert_eq!(trailers, b"x-sum: 7\r\n\r\n");
}

#[test]
fn malformed_answers_end_their_stream_and_nothing_else() {
    let wrong: [&[(&str, &str)]; 9] = [
        &[],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "101")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "200"), (":path", "/")],
        &[(":method", "GET"), (":status", "200")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "103")],
    ];
    let mut peer = RawPeer::instance();
    for fields in wrong {
        let key = peer.ask();
        peer.head(key.id, END, fields);
        assert_eq!(peer.answered(), Some((key.id, Http2Code::PROTOCOL_ERROR)), "{fields:?}");
        let mut text = Vec::new();
        assert!(matches!(peer.connection.read(key, &mut text, 100), Received::Reset(_)), "{fields:?}");
        peer.connection.release(key);
    }
    let key = peer.ask();
    peer.head(key.id, flag::END_HEADERS, &[(":status", "100")]);
    peer.head(key.id, flag::END_HEADERS, &[(":status", "204")]);
    assert_eq!(peer.text(key), "HTTP/1.1 100 \r\n\r\nHTTP/1.1 204 \r\n\r\n");
    peer.send(FrameKind::Data, 0, key.id, b"x");
    assert_eq!(peer.answered(), Some((key.id, Http2Code::PROTOCOL_ERROR)));
    assert_eq!(peer.connection.failure(), None);
}

#[test]
fn interim_answers_that_nobody_reads_are_bounded() {
    let mut peer = RawPeer::instance();
    let key = peer.ask();
    for _ in 0..100 {
        peer.head(key.id, flag::END_HEADERS, &[(":status", "103"), ("link", &"x".repeat(500))]);
    }
    assert_eq!(peer.answered(), Some((key.id, Http2Code::ENHANCE_YOUR_CALM)));
    assert_eq!(peer.connection.failure(), None);
}

#[test]
fn a_body_is_as_long_as_its_head_says() {
    for (length, ends, ok) in [(4, true, false), (5, true, true), (6, false, false)] {
        let mut peer = RawPeer::client();
        peer.head(1, flag::END_HEADERS, &with(&[("content-length", "5")]));
        let key = peer.opened();
        peer.send(FrameKind::Data, if ends { flag::END_STREAM } else { 0 }, 1, &b"xxxxxx"[..length]);
        assert_eq!(peer.answered(), (!ok).then_some((1, Http2Code::PROTOCOL_ERROR)), "{length}");
        assert_eq!(peer.connection.reset_of(key).is_none(), ok);
    }
    // A response to HEAD says how long it would be.
    let mut peer = RawPeer::instance();
    let key = peer.connection.open(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"http", true).unwrap().0;
    peer.head(key.id, END, &[(":status", "200"), ("content-length", "5")]);
    assert_eq!(peer.connection.reset_of(key), None);
}

#[test]
fn wrong_frames_end_the_connection() {
    use FrameKind::{
        Continuation, Data, GoAway, Headers, Ping, Priority, PushPromise, RstStream, Settings, WindowUpdate,
    };
    let protocol = Http2Code::PROTOCOL_ERROR;
    let size = Http2Code::FRAME_SIZE_ERROR;
    let flow = Http2Code::FLOW_CONTROL_ERROR;
    let too_long = vec![0; 20_000];
    let large = [&[0x7F, 0xFF, 0xFF, 0xFF][..], &[0, 0, 0, 1], &[0, 4, 0x80, 0, 0, 0], &too_long];
    let wrong = [
        (Data, 0, 1, large[1], protocol),
        (Data, 0, 0, large[1], protocol),
        (Headers, END, 2, &[0x82][..], protocol),
        (Headers, END, 0, &[0x82], protocol),
        (Headers, END, 1, &[0xFF, 0xFF, 0xFF, 0xFF], Http2Code::COMPRESSION_ERROR),
        (Headers, END | flag::PADDED, 1, &[9, 0x82], protocol),
        (Priority, 0, 1, large[1], size),
        (RstStream, 0, 1, large[1], protocol),
        (RstStream, 0, 0, large[1], protocol),
        (Settings, 0, 1, &[], protocol),
        (Settings, 0, 0, large[1], size),
        (Settings, flag::ACK, 0, &large[2][..6], size),
        (Settings, 0, 0, &large[2][..6], flow),
        (Settings, 0, 0, &[0, 2, 0, 0, 0, 2], protocol),
        (Settings, 0, 0, &[0, 5, 0, 0, 0, 1], protocol),
        (PushPromise, END, 1, large[1], protocol),
        (Ping, 0, 0, large[1], size),
        (Ping, 0, 1, &[0; 8], protocol),
        (GoAway, 0, 1, &[0; 8], protocol),
        (WindowUpdate, 0, 0, &[0; 4], protocol),
        (WindowUpdate, 0, 0, large[0], flow),
        (WindowUpdate, 0, 1, large[1], protocol),
        (WindowUpdate, 0, 0, &[0; 3], size),
        (Continuation, flag::END_HEADERS, 1, &[], protocol),
        (FrameKind::Unknown(99), 0, 0, large[3], size),
    ];
    for (kind, flags, stream, payload, code) in wrong {
        let mut peer = RawPeer::client();
        peer.send(kind, flags, stream, payload);
        assert_eq!(peer.answered(), Some((0, code)), "{kind:?} {flags} {stream} {payload:?}");
        assert!(peer.connection.is_over() && !peer.connection.may_receive());
    }
}

#[test]
fn a_connection_begins_with_the_preface_and_settings() {
    let mut connection = Http2Connection::server(LIMITS);
    connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", |_| true);
    assert_eq!(connection.failure().map(|error| error.code), Some(Http2Code::PROTOCOL_ERROR));
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[0; 8]].concat();
    for first in [&ping[..], &[0, 0, 0, 4, 1, 0, 0, 0, 0], &[0, 0, 0, 99, 1, 0, 0, 0, 0]] {
        let mut connection = Http2Connection::server(LIMITS);
        connection.receive(PREFACE, |_| true);
        connection.receive(first, |_| true);
        assert_eq!(connection.failure().map(|error| error.code), Some(Http2Code::PROTOCOL_ERROR));
        let mut connection = Http2Connection::client(LIMITS);
        connection.receive(first, |_| true);
        assert_eq!(connection.failure().map(|error| error.code), Some(Http2Code::PROTOCOL_ERROR));
    }
}

#[test]
fn an_instance_pushes_nothing() {
    let mut peer = RawPeer::instance();
    peer.ask();
    peer.send(FrameKind::PushPromise, flag::END_HEADERS, 1, &[0, 0, 0, 2, 0x82]);
    assert_eq!(peer.answered(), Some((0, Http2Code::PROTOCOL_ERROR)));
    let mut peer = RawPeer::instance();
    peer.send(FrameKind::Settings, 0, 0, &[0, 2, 0, 0, 0, 1]);
    assert_eq!(peer.answered(), Some((0, Http2Code::PROTOCOL_ERROR)));
    for even in [2, 3] {
        let mut peer = RawPeer::instance();
        peer.ask();
        peer.head(even, END, &[(":status", "200")]);
        assert_eq!(peer.answered(), Some((0, Http2Code::PROTOCOL_ERROR)));
    }
}

#[test]
fn nothing_comes_between_the_pieces_of_a_field_section() {
    for (kind, stream) in [(FrameKind::Ping, 0), (FrameKind::Unknown(99), 1), (FrameKind::Continuation, 3)] {
        let mut peer = RawPeer::client();
        let block = peer.block(&GET);
        peer.send(FrameKind::Headers, flag::END_STREAM, 1, &block[..2]);
        assert!(peer.connection.is_within_head());
        peer.send(kind, flag::END_HEADERS, stream, &[0; 8]);
        assert_eq!(peer.answered(), Some((0, Http2Code::PROTOCOL_ERROR)));
    }
    let mut peer = RawPeer::client();
    let block = peer.block(&GET);
    peer.send(FrameKind::Headers, flag::END_STREAM, 1, &block[..2]);
    peer.send(FrameKind::Continuation, 0, 1, &block[2..3]);
    peer.send(FrameKind::Continuation, flag::END_HEADERS, 1, &block[3..]);
    let key = peer.opened();
    assert_eq!(peer.text(key), "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    // One that does not end.
    peer.send(FrameKind::Headers, flag::END_STREAM, 3, &[]);
    while peer.connection.may_receive() {
        peer.send(FrameKind::Continuation, 0, 3, &[0; 100]);
    }
    assert_eq!(peer.answered(), Some((0, Http2Code::ENHANCE_YOUR_CALM)));
}

#[test]
fn lists_of_fields_are_bounded_and_large_heads_left_for_the_parser() {
    let mut peer = RawPeer::client();
    let value = "x".repeat(900);
    peer.head(1, END, &[&GET[..], &[("x", &value), ("y", &value), ("z", &value)]].concat());
    let key = peer.opened();
    let text = peer.text(key);
    assert!(text.len() > LIMITS.max_head && !text.contains("\r\n\r\n"), "{}", text.len());
    let block = peer.block(&GET);
    // One field of the table again and again.
    let mut bomb = [&block[..], b"\x40\x01x\x7f\x80\x02", &[b'y'; 383]].concat();
    bomb.resize(bomb.len() + 100, 0xBE);
    peer.send(FrameKind::Headers, END, 3, &bomb);
    assert_eq!(peer.answered(), Some((0, Http2Code::ENHANCE_YOUR_CALM)));
}

#[test]
fn frames_behind_the_end_of_a_stream_are_mistakes() {
    let mut peer = RawPeer::client();
    peer.head(1, flag::END_HEADERS, &GET);
    let key = peer.opened();
    peer.connection.reset(key, Http2Code::INTERNAL_ERROR);
    peer.said();
    // It may not have known of the reset.
    peer.send(FrameKind::Data, 0, 1, b"x");
    peer.head(1, END, &[("x", "y")]);
    peer.send(FrameKind::WindowUpdate, 0, 1, &[0, 0, 0, 1]);
    assert_eq!((peer.answered(), peer.connection.take_faults()), (None, 0));
    peer.head(3, END, &GET);
    peer.head(3, END, &[("x", "y")]);
    assert_eq!(peer.answered(), Some((3, Http2Code::STREAM_CLOSED)));
    peer.head(5, END, &GET);
    let key = loop {
        let key = peer.opened();
        if key.id == 5 {
            break key;
        }
    };
    assert_eq!(peer.connection.respond(key, b"HTTP/1.1 200 OK\r\n\r\n", true, false), StreamSent::Bytes(19));
    peer.said();
    peer.send(FrameKind::Data, 0, 5, b"x");
    assert_eq!(peer.answered(), Some((5, Http2Code::STREAM_CLOSED)));
    peer.head(5, END, &[("x", "y")]);
    assert_eq!(peer.answered(), Some((0, Http2Code::STREAM_CLOSED)));
}

#[test]
fn wrong_frames_of_a_stream_end_the_stream() {
    let wrong = [
        (FrameKind::WindowUpdate, vec![0; 4], Http2Code::PROTOCOL_ERROR),
        (FrameKind::WindowUpdate, vec![0x7F, 0xFF, 0xFF, 0xFF], Http2Code::FLOW_CONTROL_ERROR),
        (FrameKind::Priority, vec![0; 4], Http2Code::FRAME_SIZE_ERROR),
        (FrameKind::Priority, vec![0, 0, 0, 1, 0], Http2Code::PROTOCOL_ERROR),
    ];
    for (kind, payload, code) in wrong {
        let mut peer = RawPeer::client();
        peer.head(1, flag::END_HEADERS, &GET);
        peer.send(kind, 0, 1, &payload);
        assert_eq!((peer.answered(), peer.connection.take_faults()), (Some((1, code)), 1), "{kind:?}");
        assert_eq!(peer.connection.failure(), None);
    }
}

#[test]
fn wrong_frames_of_a_stream_that_has_closed_are_answered() {
    let mut peer = RawPeer::client();
    peer.head(1, END, &GET);
    let key = peer.opened();
    assert_eq!(peer.connection.respond(key, b"HTTP/1.1 204 No Content\r\n\r\n", true, false), StreamSent::Bytes(27));
    peer.said();
    for payload in [vec![0; 4], vec![0, 0, 0, 1, 0]] {
        let code = if payload.len() == 5 { Http2Code::PROTOCOL_ERROR } else { Http2Code::FRAME_SIZE_ERROR };
        peer.send(FrameKind::Priority, 0, 1, &payload);
        assert_eq!((peer.answered(), peer.connection.take_faults()), (Some((1, code)), 1));
    }
    assert_eq!(peer.connection.failure(), None);
}

#[test]
fn more_streams_than_granted_are_refused() {
    let mut peer = RawPeer::client();
    for stream in [1, 3, 5, 7] {
        peer.head(stream, END, &GET);
    }
    assert_eq!((peer.answered(), peer.connection.take_faults()), (Some((7, Http2Code::REFUSED_STREAM)), 1));
    assert_eq!(peer.connection.open_streams(), 3);
    // Those that the client resets make room, but not for ever more: their owners have not given them back.
    for stream in (9..).step_by(2).take(20) {
        peer.send(FrameKind::RstStream, 0, stream - 8, &[0, 0, 0, 8]);
        peer.head(stream, END, &GET);
    }
    assert!(peer.said().iter().any(|(kind, ..)| *kind == FrameKind::RstStream));
}

#[test]
fn windows_are_kept() {
    let mut peer = RawPeer::client();
    peer.head(1, flag::END_HEADERS, &GET);
    let key = peer.opened();
    let mut sent = 0;
    while peer.connection.reset_of(key).is_none() && peer.connection.failure().is_none() {
        peer.send(FrameKind::Data, 0, 1, &[0; 10_000]);
        sent += 10_000;
    }
    assert_eq!((sent, peer.answered()), (110_000, Some((0, Http2Code::FLOW_CONTROL_ERROR))));
    // Padding counts, and is read at once.
    let mut peer = RawPeer::client();
    peer.head(1, flag::END_HEADERS, &GET);
    for _ in 0..1000 {
        peer.send(FrameKind::Data, flag::PADDED, 1, &[[255].as_slice(), &[0; 255]].concat());
    }
    assert_eq!(peer.connection.failure(), None);
    let updates = peer.said();
    assert!(updates.iter().all(|(kind, ..)| *kind == FrameKind::WindowUpdate) && updates.len() >= 8, "{updates:?}");
}

#[test]
fn the_first_settings_hold_once_they_are_acknowledged() {
    let limits = Http2Grants { stream_window: 10, ..LIMITS };
    let mut peer = RawPeer { connection: Http2Connection::server(limits), encoder: HpackEncoder::new() };
    peer.connection.receive(PREFACE, |_| true);
    peer.send(FrameKind::Settings, 0, 0, &[]);
    peer.head(1, flag::END_HEADERS, &GET);
    peer.send(FrameKind::Data, 0, 1, &[0; 1000]);
    assert_eq!(peer.connection.failure(), None);
    peer.send(FrameKind::Settings, flag::ACK, 0, &[]);
    peer.send(FrameKind::Data, 0, 1, &[0; 1]);
    // More of the window was used than there is now.
    assert_eq!(peer.answered(), Some((1, Http2Code::FLOW_CONTROL_ERROR)));
}

#[test]
fn settings_change_the_windows_of_open_streams() {
    let mut peer = RawPeer::client();
    peer.send(FrameKind::Settings, 0, 0, &[0, 4, 0, 0, 0, 3]);
    peer.head(1, END, &GET);
    let key = peer.opened();
    peer.connection.respond(key, b"HTTP/1.1 200 OK\r\n\r\n", false, false);
    assert_eq!(peer.connection.send_data(key, b"hello", true), StreamSent::Bytes(3));
    assert_eq!(peer.connection.send_data(key, b"lo", true), StreamSent::Blocked);
    peer.send(FrameKind::Settings, 0, 0, &[0, 4, 0, 0, 0, 2]);
    assert_eq!(peer.connection.next_event(), None);
    peer.send(FrameKind::WindowUpdate, 0, 1, &[0, 0, 0, 2]);
    assert_eq!(peer.connection.next_event(), Some(Http2Event::Changed(key)));
    assert_eq!(peer.connection.send_data(key, b"lo", true), StreamSent::Bytes(1));
    peer.send(FrameKind::Settings, 0, 0, &[0, 4, 0, 0, 0, 9]);
    assert_eq!(peer.connection.send_data(key, b"o", true), StreamSent::Bytes(1));
    peer.connection.release(key);
    assert_eq!(peer.connection.open_streams(), 0);
}

#[test]
fn who_waits_for_the_peer_is_told_apart_from_who_waits_for_the_output() {
    let mut peer = RawPeer::client();
    peer.send(FrameKind::Settings, 0, 0, &[0, 4, 0, 2, 0, 0]);
    peer.head(1, END, &GET);
    let key = peer.opened();
    peer.connection.respond(key, b"HTTP/1.1 200 OK\r\n\r\n", false, false);
    let StreamSent::Bytes(first) = peer.connection.send_data(key, &vec![0; 100_000], false) else { panic!("refused") };
    assert_eq!(peer.connection.send_data(key, b"more", false), StreamSent::Queued);
    peer.connection.wrote(peer.connection.output().len());
    peer.connection.share_out();
    let StreamSent::Bytes(second) = peer.connection.send_data(key, &vec![0; 100_000], false) else { panic!("refused") };
    assert_eq!(first + second, 65_535);
    peer.connection.wrote(peer.connection.output().len());
    peer.connection.share_out();
    // The window of the connection, that is; the stream's is larger.
    assert_eq!(peer.connection.send_data(key, b"more", false), StreamSent::Blocked);
}

#[test]
fn a_server_announces_its_end_and_takes_what_was_on_its_way() {
    let mut peer = RawPeer::client();
    peer.head(1, END, &GET);
    peer.connection.shut_down();
    let said = peer.said();
    assert!(
        matches!(&said[..], [(FrameKind::GoAway, 0, last), (FrameKind::Ping, 0, _)] if last[..4] == [0x7F, 0xFF, 0xFF, 0xFF])
    );
    peer.head(3, END, &GET);
    peer.send(FrameKind::Ping, flag::ACK, 0, &said[1].2);
    assert!(matches!(&peer.said()[..], [(FrameKind::GoAway, 0, last)] if last[..4] == [0, 0, 0, 3]));
    peer.head(5, flag::END_HEADERS, &GET);
    peer.send(FrameKind::Data, flag::END_STREAM, 5, b"x");
    assert_eq!((peer.connection.failure(), peer.connection.open_streams()), (None, 2));
    for _ in 0..2 {
        assert!(!peer.connection.is_over());
        let key = peer.opened();
        peer.connection.respond(key, b"HTTP/1.1 200 OK\r\n\r\n", true, false);
        peer.connection.release(key);
    }
    assert!(peer.connection.is_over());
}

#[test]
fn a_goaway_says_which_requests_were_not_looked_at() {
    let mut peer = RawPeer::instance();
    let (first, second) = (peer.ask(), peer.ask());
    peer.send(FrameKind::GoAway, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(peer.connection.reset_of(first), None);
    assert_eq!(peer.connection.reset_of(second), Some(StreamReset { code: None, unprocessed: true }));
    assert!(!peer.connection.is_usable() && !peer.connection.is_over());
    peer.head(1, END, &[(":status", "200")]);
    assert_eq!(peer.text(first), "HTTP/1.1 200 \r\n\r\n");
    assert!(peer.connection.is_over());
    let mut peer = RawPeer::instance();
    let asked = peer.ask();
    peer.send(FrameKind::RstStream, 0, 1, &[0, 0, 0, 7]);
    let refused = StreamReset { code: Some(Http2Code::REFUSED_STREAM), unprocessed: true };
    assert_eq!(peer.connection.reset_of(asked), Some(refused));
    // What comes late of a stream that nobody wants means nothing.
    let asked = peer.ask();
    peer.connection.release(asked);
    peer.said();
    peer.head(asked.id, flag::END_HEADERS, &[(":status", "200")]);
    peer.send(FrameKind::Data, flag::END_STREAM, asked.id, b"late");
    assert_eq!((peer.answered(), peer.connection.failure()), (None, None));
}

#[test]
fn a_request_that_the_instance_would_not_take_is_not_sent() {
    let mut peer = RawPeer::instance();
    peer.send(FrameKind::Settings, 0, 0, &[0, 6, 0, 0, 0, 250]);
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100));
    assert_eq!(peer.connection.open(long.as_bytes(), b"http", true), Err(HeadUnfit));
    assert_eq!(peer.ask().id, 1);
    for text in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET\r\nHost: a\r\n\r\n", b""] {
        assert_eq!(peer.connection.open(text, b"http", true), Err(HeadUnfit));
    }
    let odd = b"GET /a?q={x}\"y HTTP/1.1\r\nHost: a\r\nTE: gzip\r\n\r\n";
    assert!(peer.connection.open(odd, b"http", true).is_ok());
    peer.send(FrameKind::Settings, 0, 0, &[0, 3, 0, 0, 0, 2]);
    assert!(!peer.connection.may_open());
}

#[test]
fn a_reset_and_a_release_say_so_once() {
    let mut peer = RawPeer::client();
    peer.head(1, flag::END_HEADERS, &GET);
    let key = peer.opened();
    assert_eq!(peer.connection.respond(key, b"HTTP/1.1 413 No\r\n\r\n", true, false), StreamSent::Bytes(19));
    peer.said();
    peer.connection.release(key);
    // The answer is complete, so the client need not send the rest.
    assert_eq!(peer.answered(), Some((1, Http2Code::NO_ERROR)));
    peer.head(3, flag::END_HEADERS, &GET);
    let key = peer.opened();
    peer.connection.reset(key, Http2Code::INTERNAL_ERROR);
    assert_eq!(peer.answered(), Some((3, Http2Code::INTERNAL_ERROR)));
    peer.connection.release(key);
    assert_eq!(peer.answered(), None);
    assert_eq!(peer.connection.send_data(key, b"x", false), StreamSent::Broken);
    peer.connection.rest();
    peer.head(5, END, &GET);
    assert_eq!(peer.opened().id, 5);
}

#[test]
fn who_takes_no_answers_is_asked_for_no_more() {
    let mut peer = RawPeer::client();
    let mut pings = 0;
    while peer.connection.may_receive() {
        peer.send(FrameKind::Ping, 0, 0, &[0; 8]);
        pings += 1;
    }
    assert_eq!(peer.connection.output().len(), pings * 17);
    assert!(peer.connection.output().len() < 2 * MAX_OUTPUT + 17);
    peer.connection.wrote(MAX_OUTPUT);
    assert!(peer.connection.may_receive());
}
