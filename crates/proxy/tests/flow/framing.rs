//! Message framing on both sides, and truncated messages, which must not look complete.

use serde_json::json;

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK};
use crate::support::message::Message;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

/// Bytes that differ by position.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n * 7 % 251) as u8).collect()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    for piece in body.chunks(10_007) {
        framed.extend(format!("{:X}\r\n", piece.len()).into_bytes());
        framed.extend(piece);
        framed.extend(b"\r\n");
    }
    framed.extend(b"0\r\n\r\n");
    framed
}

/// The fields that frame the body.
fn framing(message: &Message) -> (Option<&str>, Option<&str>) {
    (message.single("content-length"), message.single("transfer-encoding"))
}

#[test]
fn bodies_of_requests_reach_the_instance_as_they_are_framed() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    for size in [0, 1, 8191, 8192, 8193, 65_535, 65_536, 65_537, 1_000_000] {
        let (body, length) = (pattern(size), size.to_string());
        for (field, framed, expected) in [
            (format!("Content-Length: {size}"), body.clone(), (Some(&*length), None)),
            ("Transfer-Encoding: Chunked".to_owned(), chunked(&body), (None, Some("chunked"))),
        ] {
            client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
            client.send(framed);
            assert_eq!(client.read_answer().text(), "ok");
            let request = instance.requests().pop().unwrap();
            assert_eq!(framing(&request), expected, "{size}");
            assert!(request.body == body, "{size}: {} bytes", request.body.len());
        }
    }
    assert_eq!(instance.connections(), 1);
}

#[test]
fn bodies_of_answers_reach_the_client_as_they_are_framed_or_in_chunks() {
    for size in [0, 1, 8191, 8192, 8193, 65_535, 65_536, 1_000_000] {
        let (body, length) = (pattern(size), size.to_string());
        let head = |field: String| format!("HTTP/1.1 200 OK\r\n{field}\r\n").into_bytes();
        for (answer, expected) in [
            (
                Answer::bytes([head(format!("Content-Length: {size}\r\n")), body.clone()].concat()),
                (Some(&*length), None),
            ),
            (
                Answer::bytes([head("Transfer-Encoding: chunked\r\n".to_owned()), chunked(&body)].concat()),
                (None, Some("chunked")),
            ),
            (Answer::last([head(String::new()), body.clone()].concat()), (None, Some("chunked"))),
        ] {
            let instance = Instance::answering([answer]);
            let gateway = Gateway::start(&Plan::to([&instance]));
            let mut client = gateway.connect();
            for _ in 0..2 {
                client.send(GET);
                let answer = client.read_answer();
                assert_eq!(framing(&answer), expected, "{size}");
                assert!(answer.body == body, "{size}: {} bytes", answer.body.len());
            }
        }
    }
}

#[test]
fn http_1_0_gets_no_chunks_but_the_end_of_the_connection() {
    let instance = Instance::answering([Answer::bytes(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    )]);
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    client.send("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.read_answer();
    assert_eq!(
        (framing(&answer), answer.single("connection"), &*answer.text()),
        ((None, None), Some("close"), "hello")
    );
}

#[test]
fn trailers_pass_both_ways_except_for_forbidden_fields() {
    let instance = Instance::answering([Answer::bytes(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
         X-Sum: 1\r\nContent-Type: a\r\nX-Sum: 2\r\n\r\n",
    )]);
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Count: 1\r\n\
             Authorization: forged\r\nX-User-ID: forged\r\nHost: forged\r\nContent-Length: 9\r\n\r\n",
        );
        let answer = client.read_answer();
        let sums = ["1", "2"].map(|sum| ("x-sum".to_owned(), sum.to_owned()));
        assert_eq!((&*answer.text(), &*answer.trailers), ("ok", &sums[..]));
    }
    for request in instance.requests() {
        assert_eq!((&*request.text(), request.trailers), ("hi", vec![("x-count".to_owned(), "1".to_owned())]));
    }
    assert_eq!(instance.connections(), 1);
}

#[test]
fn requests_whose_end_could_be_read_in_two_ways_are_refused_with_all_that_stands_behind_them() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: ",
        "Content-Length: 18446744073709551617",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: \u{b}chunked",
        "Connection: content-length\r\nContent-Length: 5",
    ] {
        let mut client = gateway.connect();
        client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n{GET}"));
        assert_eq!(client.read_answer().refusal(), "400 malformed_request, close", "{fields:?}");
        assert!(client.is_closed());
    }
    let answer = gateway.fetch("POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(answer.refusal(), "400 malformed_request, close");
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_broken_chunk_ends_the_exchange_and_the_instance_never_sees_an_end() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\n\r\n",
    ] {
        let instance = Instance::ok();
        let gateway = Gateway::start(&Plan::to([&instance]));
        let mut client = gateway.connect();
        client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{GET}"));
        assert_eq!(client.read_answer().refusal(), "400 malformed_request, close", "{body:?}");
        assert!(client.is_closed());
        assert_eq!(instance.requests(), []);
    }
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{GET}{GET}", GET.len()));
    assert_eq!((client.read_answer().text(), client.read_answer().text()), ("ok".to_owned(), "ok".to_owned()));
    let bodies: Vec<_> = instance.requests().iter().map(Message::text).collect();
    assert_eq!(bodies, [GET, ""]);
}

#[test]
fn answers_to_head_have_the_length_that_they_stand_for_and_no_body() {
    for (field, length) in [("Content-Length: 5\r\n", Some("5")), ("Transfer-Encoding: chunked\r\n", None), ("", None)]
    {
        let answer = format!("HTTP/1.1 200 OK\r\n{field}\r\n");
        let instance = Instance::answering([Answer::bytes(answer), Answer::bytes(OK)]);
        let gateway = Gateway::start(&Plan::to([&instance]));
        let mut client = gateway.connect();
        client.send(format!("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n{GET}"));
        let head = client.read_head();
        assert_eq!((head.status(), framing(&head)), (200, (length, None)));
        assert_eq!(client.read_answer().text(), "ok");
        let methods: Vec<_> = instance.requests().iter().map(|request| request.method().to_owned()).collect();
        assert_eq!((methods, instance.connections()), (vec!["HEAD".to_owned(), "GET".to_owned()], 1));
    }
}

#[test]
fn an_error_for_head_states_its_length_and_has_no_body() {
    let instance = Instance::ok();
    let route = json!({"match": {"path": {"kind": "exact", "value": "/a"}}});
    let gateway = Gateway::start(&Plan::to([&instance]).with_route(route));
    let mut client = gateway.connect();
    for method in ["HEAD", "GET"] {
        client.send(format!("{method} /b HTTP/1.1\r\nHost: a\r\nX-Request-ID: one\r\n\r\n"));
    }
    let (head, answer) = (client.read_head(), client.read_answer());
    assert_eq!((head.status(), answer.status()), (404, 404));
    assert_eq!(framing(&head), framing(&answer));
    assert_eq!(answer.body.len().to_string(), answer.single("content-length").unwrap());
}

#[test]
fn answers_that_have_no_body_need_no_framing() {
    for (status, length) in [("204 No Content", None), ("304 Not Modified", None), ("304 Not Modified", Some("5"))] {
        let stated = length.map_or_else(String::new, |length| format!("Content-Length: {length}\r\n"));
        let answer = format!("HTTP/1.1 {status}\r\nETag: a\r\n{stated}\r\n");
        let instance = Instance::answering([Answer::bytes(answer), Answer::bytes(OK)]);
        let gateway = Gateway::start(&Plan::to([&instance]));
        let mut client = gateway.connect();
        client.send(format!("{GET}{GET}"));
        let answer = client.read_answer();
        assert_eq!(answer.start, format!("HTTP/1.1 {status}"));
        assert_eq!((answer.single("etag"), framing(&answer)), (Some("a"), (length, None)));
        assert_eq!(client.read_answer().text(), "ok");
        assert_eq!(instance.connections(), 1);
    }
}

#[test]
fn a_response_truncated_in_its_head_is_502() {
    for half in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"] {
        let instance = Instance::answering([Answer::last(half)]);
        let gateway = Gateway::start(&Plan::to([&instance]).with_route(json!({"retries": 0})));
        let mut client = gateway.connect();
        client.send(GET);
        assert_eq!(client.read_answer().refusal(), "502 bad_gateway", "{half:?}");
        assert_eq!(instance.connections(), 1);
    }
}

#[test]
fn a_response_truncated_in_its_body_never_looks_complete() {
    for (framed, came, all) in [
        ("Content-Length: 10\r\n\r\nhello", "hello", true),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "5\r\nhello\r\n", true),
        // Data that arrived together with the error may be lost.
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", "5\r\nhello\r\n", false),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX : y\r\n\r\n", "5\r\nhello\r\n", false),
    ] {
        let instance = Instance::answering([Answer::last(format!("HTTP/1.1 200 OK\r\n{framed}"))]);
        let gateway = Gateway::start(&Plan::to([&instance]));
        let mut client = gateway.connect();
        client.send(GET);
        assert_eq!(client.read_head().single("connection"), None);
        let passed = client.read_all();
        assert!(came.as_bytes().starts_with(&passed) && (!all || passed.len() == came.len()), "{framed:?}: {passed:?}");
        assert_eq!(instance.requests().len(), 1, "there is no second attempt behind an answer that has begun");
        wait_until(|| gateway.stats().totals.incomplete == 1);
    }
}

#[test]
fn a_truncated_response_without_framing_resets_the_connection() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    client.send("GET /x HTTP/1.0\r\n\r\n");
    let mut peer = instance.accept();
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    assert_eq!(client.read_head().status(), 200);
    assert_eq!(client.read(5), b"hello");
    peer.close();
    assert!(client.is_reset());
}
