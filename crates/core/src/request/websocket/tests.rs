use pylae_http::HeadLimits;
use pylae_http::body::framing;

use super::*;

const LIMITS: HeadLimits = HeadLimits { head: 4096, target: 1024, fields: 50 };
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An exchange with this request.
fn asked(request: &str) -> Exchange {
    let mut exchange = Exchange::new(4096);
    exchange.request.buffer.extend_from_slice(request.replace('\n', "\r\n").as_bytes());
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &LIMITS), Ok(true));
    exchange.request.framing = framing::request(&exchange.request.head, &exchange.request.buffer).unwrap();
    exchange.request.options.read(&exchange.request.head.fields, &exchange.request.buffer).unwrap();
    exchange
}

fn handshake(more: &str) -> Exchange {
    asked(&format!(
        "GET / HTTP/1.1\nHost: a\nConnection: keep-alive, Upgrade\nUpgrade: WebSocket\nSec-WebSocket-Version: 13\n\
         Sec-WebSocket-Key: {KEY}\n{more}\n"
    ))
}

/// Returns whether messages may be compressed, or None if the response is not accepted.
fn answered(exchange: &mut Exchange, answer: &str) -> Option<bool> {
    exchange.response.buffer.clear();
    exchange.response.head.clear();
    exchange.response.buffer.extend_from_slice(answer.replace('\n', "\r\n").as_bytes());
    assert_eq!(exchange.response.head.parse(&exchange.response.buffer, &LIMITS), Ok(true));
    exchange.response.options.read(&exchange.response.head.fields, &exchange.response.buffer).unwrap();
    accepts(exchange).then(|| is_compressed(exchange))
}

fn granted(more: &str) -> String {
    format!("HTTP/1.1 101 OK\nUpgrade: websocket\nConnection: upgrade\nSec-WebSocket-Accept: {ACCEPT}\n{more}\n")
}

#[test]
fn the_example_of_the_rfc() {
    assert_eq!(accept_key(KEY.as_bytes()), ACCEPT);
}

#[test]
fn a_handshake_is_marked() {
    let mut exchange = handshake("");
    assert_eq!(admit(&mut exchange), Ok(()));
    assert!(exchange.request.upgrades);
    exchange.reset();
    assert!(!exchange.request.upgrades);
}

#[test]
fn what_does_not_ask_is_an_ordinary_request() {
    let key = format!("Sec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}\n\n");
    for head in [
        "GET / HTTP/1.1\nHost: a\nUpgrade: websocket\n",
        "GET / HTTP/1.1\nHost: a\nConnection: upgrade\n",
        "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: h2c\n",
        "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: h2c, websocket\n",
        "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\nUpgrade: websocket\n",
        "GET / HTTP/1.0\nHost: a\nConnection: upgrade\nUpgrade: websocket\n",
        "POST / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\n",
    ] {
        let mut exchange = asked(&format!("{head}{key}"));
        assert_eq!(admit(&mut exchange), Ok(()));
        assert!(!exchange.request.upgrades, "{head}");
    }
}

#[test]
fn a_handshake_that_asks_wrongly_is_refused() {
    let base = "GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n";
    let version = "Sec-WebSocket-Version: 13\n";
    let key = format!("Sec-WebSocket-Key: {KEY}\n");
    for (fields, status) in [
        (key.clone(), 426),
        (format!("{key}Sec-WebSocket-Version: 8\n"), 426),
        (format!("{key}{version}{version}"), 426),
        (version.to_owned(), 400),
        (format!("{version}{key}{key}"), 400),
        (format!("{version}Sec-WebSocket-Key: AAAA\n"), 400),
        (format!("{version}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===\n"), 400),
        (format!("{version}Sec-WebSocket-Key: dGhl-HNhbXBsZSBub25jZQ==\n"), 400),
        (format!("{version}{key}Content-Length: 3\n"), 400),
        (format!("{version}{key}Transfer-Encoding: chunked\n"), 400),
    ] {
        let refused = admit(&mut asked(&format!("{base}{fields}\n"))).unwrap_err();
        assert_eq!(refused.status(), status, "{fields}");
    }
}

#[test]
fn only_permessage_deflate_is_offered() {
    let offer = |fields: &str| {
        let mut exchange = handshake(fields);
        admit(&mut exchange).unwrap();
        let edits = &exchange.request.edits;
        let removed = edits.removes(Name::SecWebsocketExtensions, b"");
        edits
            .get(b"Sec-WebSocket-Extensions")
            .map(|value| String::from_utf8(value.to_vec()).unwrap())
            .or_else(|| removed.then(String::new))
    };
    let lines = |values: &[&str]| {
        values.iter().flat_map(|value| ["Sec-WebSocket-Extensions: ", *value, "\n"]).collect::<String>()
    };
    assert_eq!(offer(""), None);
    assert_eq!(offer(&lines(&["Permessage-Deflate ; client_max_window_bits, permessage-deflate"])), None);
    assert_eq!(offer(&lines(&["x-other"])).as_deref(), Some(""));
    assert_eq!(
        offer(&lines(&["x-other; a=1, permessage-deflate; b", "permessage-deflate, x"])).as_deref(),
        Some("permessage-deflate; b, permessage-deflate")
    );
}

#[test]
fn a_proper_answer_is_accepted() {
    let mut exchange = handshake("Sec-WebSocket-Protocol: a, b\nSec-WebSocket-Extensions: permessage-deflate\n");
    admit(&mut exchange).unwrap();
    assert_eq!(answered(&mut exchange, &granted("")), Some(false));
    assert_eq!(
        answered(
            &mut exchange,
            &granted("Sec-WebSocket-Protocol: b\nSec-WebSocket-Extensions: permessage-deflate; x\n")
        ),
        Some(true)
    );
}

#[test]
fn an_answer_that_was_not_asked_for_is_not_accepted() {
    let mut exchange = handshake("Sec-WebSocket-Protocol: a\n");
    admit(&mut exchange).unwrap();
    let wrong = [
        granted("Sec-WebSocket-Protocol: b\n"),
        granted("Sec-WebSocket-Protocol: A\n"),
        granted("Sec-WebSocket-Protocol: a\nSec-WebSocket-Protocol: a\n"),
        granted("Sec-WebSocket-Extensions: permessage-deflate\n"),
        granted("Sec-WebSocket-Extensions: x\n"),
        granted(&format!("Sec-WebSocket-Accept: {ACCEPT}\n")),
        granted("Upgrade: websocket\n"),
        granted("").replace("s3p", "S3p"),
        granted("").replace("Upgrade: websocket", "Upgrade: h2c"),
        granted("").replace("Connection: upgrade\n", ""),
        granted("").replace("Upgrade: websocket\n", ""),
    ];
    for answer in wrong {
        assert_eq!(answered(&mut exchange, &answer), None, "{answer}");
    }
    exchange.request.upgrades = false;
    assert_eq!(answered(&mut exchange, &granted("")), None);
}
