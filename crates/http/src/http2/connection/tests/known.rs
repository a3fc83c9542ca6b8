//! Field lines that are known without parsing are those that the parser finds.

use proptest::prelude::*;

use super::*;
use crate::http2::frame;
use crate::{HeadLimits, KnownLines, RequestHead};

const LIMITS: Http2Grants =
    Http2Grants { max_streams: 100, stream_window: 100_000, connection_window: 100_000, max_head: 2000 };

type Line = (&'static str, String);

fn server() -> Http2Connection {
    let mut connection = Http2Connection::server(LIMITS);
    let mut bytes = PREFACE.to_vec();
    frame::settings(&mut bytes, &[]);
    connection.receive(&bytes, |_| true);
    connection
}

/// Sends a request, and returns its text and what is known of it. None if it is malformed.
fn sent(connection: &mut Http2Connection, id: u32, lines: &[Line], ends: bool) -> Option<(Vec<u8>, RequestHead)> {
    let (mut bytes, mut encoder) = (Vec::new(), HpackEncoder::new());
    frame::block(&mut bytes, id, ends, 16_384, |out| {
        for (name, value) in lines {
            encoder.encode(out, name.as_bytes(), value.as_bytes(), true);
        }
    });
    connection.receive(&bytes, |_| true);
    let Some(Http2Event::Opened(key)) = connection.next_event() else { panic!("{:?}", connection.failure()) };
    let (mut text, mut head) = (Vec::new(), RequestHead::default());
    let read = connection.read(key, &mut text, usize::MAX);
    connection.describe(key, &mut head);
    let refused = connection.refusal(key).is_some();
    connection.release(key);
    while connection.next_event().is_some() {}
    if refused { None } else { Some((text, head)).filter(|_| matches!(read, Received::Bytes(_))) }
}

/// Parses with what is known, and without.
fn compare(text: &[u8], mut known: RequestHead, limits: &HeadLimits) {
    let mut parsed = RequestHead::default();
    let outcome = parsed.parse(text, limits);
    let same = known.parse(text, limits);
    assert_eq!(same, outcome, "{}", text.escape_ascii());
    if outcome != Ok(true) {
        return;
    }
    let facts = |head: &RequestHead| (head.method, head.method_span, head.target, head.version, head.len);
    assert_eq!(facts(&known), facts(&parsed));
    assert!(known.fields.iter().eq(&parsed.fields), "{:?} {:?}", known.fields, parsed.fields);
    assert_eq!(format!("{:?}", known.fields), format!("{:?}", parsed.fields), "what is seen, and where they end");
}

const NAMES: [&str; 9] =
    ["accept", "cookie", "te", "host", "x_request_id", "content-length", "x-any", "priority", "user-agent"];

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let value = prop_oneof![
        Just("a".to_owned()),
        Just("trailers".to_owned()),
        Just("7".to_owned()),
        "[ -~]{0,40}",
        "[a\t \u{e4}]{0,5}",
    ];
    let pseudo = |name: &'static str, values: &'static [&'static str]| {
        prop::sample::select(values).prop_map(move |value| (name, value.to_owned()))
    };
    let first = (
        pseudo(":method", &["GET", "POST", "OPTIONS", "CONNECT", "M-SEARCH", "G T"]),
        pseudo(":scheme", &["https", "http"]),
        pseudo(":path", &["/", "/a?b=c", "*", "/a b", "/\u{e4}", "/a#b"]),
        prop::option::of(pseudo(":authority", &["a", "example.com:80", ""])),
        prop::option::of(pseudo(":protocol", &["websocket", "other"])),
    );
    let others = prop::collection::vec((prop::sample::select(&NAMES[..]), value), 0..24);
    (first, prop::bool::weighted(0.1), others).prop_map(
        |((method, scheme, path, authority, protocol), connects, others)| {
            let protocol = protocol.filter(|_| connects);
            let first = [Some(method), Some(scheme), Some(path), authority, protocol];
            first.into_iter().flatten().chain(others).collect()
        },
    )
}

const HEAD: HeadLimits = HeadLimits { head: 2000, target: 100, fields: 100 };

proptest! {
    #[test]
    fn known_lines_are_those_that_a_parser_finds(requests in prop::collection::vec((lines(), any::<bool>()), 1..4)) {
        let mut connection = server();
        for (index, (lines, ends)) in requests.iter().enumerate() {
            if let Some((text, known)) = sent(&mut connection, 2 * index as u32 + 1, lines, *ends) {
                compare(&text, known, &HEAD);
            }
        }
    }
}

fn plain(more: usize, value: &str) -> Vec<Line> {
    let first = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")];
    let first = first.map(|(name, value)| (name, value.to_owned()));
    first.into_iter().chain((0..more).map(|_| ("x", value.to_owned()))).collect()
}

#[test]
fn limits_hold_for_known_lines() {
    for more in [0, 1, 6, 7, 8, 9, 126, 127, 128, 129, 200] {
        let (text, known) = sent(&mut server(), 1, &plain(more, "y"), true).unwrap();
        let (few, _) = sent(&mut server(), 1, &plain(more, "y"), true).unwrap();
        compare(&text, known.clone(), &HEAD);
        compare(&few, known.clone(), &HeadLimits { fields: 8, ..HEAD });
        compare(&text, known.clone(), &HeadLimits { head: 60, ..HEAD });
        compare(&text, known, &HeadLimits { head: 20, ..HEAD });
    }
    let (text, known) = sent(&mut server(), 1, &plain(3, &"y".repeat(900)), true).unwrap();
    compare(&text, known, &HEAD);
}

#[test]
fn nothing_is_known_of_a_head_that_another_slot_had() {
    let mut connection = server();
    let (_, mut known) = sent(&mut connection, 1, &plain(3, "y"), true).unwrap();
    known.clear();
    assert_eq!(known.parse(b"GET / HTTP/1.1\r\na: b\r\n\r\n", &HEAD), Ok(true));
    assert_eq!(known.fields.len(), 1);
    let mut none = KnownLines::default();
    known.clear();
    known.adopt(&mut none);
    assert_eq!(known.parse(b"GET / HTTP/1.1\r\na: b\r\n\r\n", &HEAD), Ok(true));
}
