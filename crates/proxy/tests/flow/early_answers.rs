//! Responses before the request is complete, of instances and of the gateway itself.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::instance::{Instance, OK, RefusingAddress};
use crate::support::plan::Plan;

const POST: &str = "POST /x HTTP/1.1\r\nHost: a\r\n";
const SECOND: &str = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";

/// A plan whose only route has another path.
fn without_matching_route(instance: &Instance) -> Plan {
    Plan::to([instance]).with_route(json!({"match": {"path": {"kind": "exact", "value": "/a"}}}))
}

#[test]
fn an_instance_that_answers_before_the_body_is_complete_ends_both_connections() {
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let instance = Instance::manual();
        let gateway = Gateway::start(&Plan::to([&instance]));
        let mut client = gateway.connect();
        client.send(format!("{POST}{framing}\r\n\r\n"));
        let mut peer = instance.accept();
        assert_eq!(peer.read_head().single("expect"), None);
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        let answer = client.read_answer();
        assert_eq!((answer.status(), &*answer.text(), answer.single("connection")), (403, "no", Some("close")));
        assert!(client.is_closed());
        assert!(peer.is_closed());
        // The end of the request is unknown, so the connection is not reused.
        client = gateway.connect();
        client.send(SECOND);
        assert_eq!(instance.accept().read_request().target(), "/second");
    }
}

#[test]
fn both_bodies_flow_at_once() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n"));
    let mut peer = instance.accept();
    assert_eq!(peer.read_head().single("transfer-encoding"), Some("chunked"));
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let head = client.read_head();
    assert_eq!((head.status(), head.single("connection")), (200, Some("close")));
    for piece in ["5\r\nfirst\r\n", "6\r\nsecond\r\n", "0\r\n\r\n"] {
        client.send(piece);
        assert_eq!(peer.read(piece.len()), piece.as_bytes());
        peer.send(piece);
        assert_eq!(client.read(piece.len()), piece.as_bytes());
    }
    assert!(client.is_closed());
}

#[test]
fn an_instance_that_refuses_a_large_body_and_closes_still_gets_its_response_through() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    client.send(format!("{POST}Content-Length: 3000000\r\n\r\n"));
    let mut peer = instance.accept();
    peer.read_head();
    peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    peer.close();
    // Everything is sent before anything is read, as simple clients do.
    client.try_send(vec![b'x'; 300_000]);
    let answer = client.read_answer();
    assert_eq!((answer.status(), &*answer.text(), answer.single("connection")), (413, "no", Some("close")));
}

#[test]
fn a_short_refused_body_is_discarded_and_not_taken_for_a_request() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&without_matching_route(&instance));
    let mut client = gateway.connect();
    let body = "GET /a HTTP/1.1\r\nHost: forged\r\n\r\n";
    client.send(format!("{POST}Content-Length: {}\r\n\r\n", body.len()));
    assert_eq!(client.read_answer().refusal(), "404 no_route");
    client.send(body);
    client.send("GET /a HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(client.read_answer().text(), "ok");
    assert_eq!(instance.request().single("host"), Some("b"));
}

#[test]
fn a_refused_body_that_is_long_or_of_unknown_length_ends_the_connection() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&without_matching_route(&instance));
    for rest in ["Content-Length: 5000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let mut client = gateway.connect();
        client.send(format!("{POST}{rest}"));
        assert_eq!(client.read_answer().refusal(), "404 no_route, close");
        assert!(client.is_closed());
    }
    // A complete body is no reason to close.
    let mut client = gateway.connect();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{SECOND}"));
    assert_eq!(client.read_answer().refusal(), "404 no_route");
    assert_eq!(client.read_answer().refusal(), "404 no_route");
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_client_reads_a_refusal_although_it_sends_everything_first() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&without_matching_route(&instance));
    let mut client = gateway.connect();
    client.send(format!("{POST}Content-Length: 700000\r\n\r\n"));
    client.send(vec![b'x'; 700_000]);
    assert_eq!(client.read_answer().refusal(), "404 no_route, close");
    assert!(client.is_closed());
}

#[test]
fn a_body_declared_too_large_does_not_reach_an_instance() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_body": 10})));
    assert_eq!(gateway.fetch(format!("{POST}Content-Length: 10\r\n\r\n0123456789")).text(), "ok");
    let answer = gateway.fetch(format!("{POST}Content-Length: 11\r\n\r\n0123456789a"));
    assert_eq!((answer.status(), instance.requests().len()), (413, 1));
    assert!(answer.text().contains("larger than the 10 bytes allowed"));
}

#[test]
fn a_body_that_turns_out_to_be_too_large_breaks_off_at_the_instance() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_body": 10})));
    let mut client = gateway.connect();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
    let mut peer = instance.accept();
    peer.read_head();
    assert_eq!(peer.read(10), b"5\r\nhello\r\n");
    client.send("6\r\n world\r\n0\r\n\r\n");
    assert_eq!(client.read_answer().refusal(), "413 body_too_large, close");
    assert!(client.is_closed());
    assert!(peer.is_closed());
}

#[test]
fn a_client_that_expects_100_continue_gets_it_once_an_instance_is_connected() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    client.send(format!("{POST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
    assert_eq!(client.read_raw_head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    let mut peer = instance.accept();
    let request = peer.read_request();
    assert_eq!((request.single("expect"), &*request.text()), (None, "hello"));
    // An instance's own 100 is not forwarded.
    peer.send("HTTP/1.1 100 Continue\r\n\r\n");
    peer.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
}

#[test]
fn no_100_continue_is_sent_if_the_body_is_there_or_empty_or_to_http_1_0() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    for rest in ["Content-Length: 5\r\n\r\nhello", "Content-Length: 0\r\n\r\n", "\r\n"] {
        assert_eq!(gateway.fetch(format!("{POST}Expect: 100-continue\r\n{rest}")).status(), 200, "{rest:?}");
    }
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    client.send("hello");
    assert_eq!(client.read_answer().status(), 200);
}

#[test]
fn a_final_response_replaces_100_continue() {
    let instance = Instance::ok();
    let refusing = RefusingAddress::bind();
    let method = json!({"match": {"methods": ["GET"]}});
    for (plan, refusal) in [
        (without_matching_route(&instance), "404 no_route, close"),
        (Plan::to([&instance]).with_route(method), "405 method_not_allowed, close"),
        (Plan::to([&instance]).with_limits(json!({"max_body": 4})), "413 body_too_large, close"),
        (Plan::to_urls([refusing.url()]), "502 connect_failed, close"),
    ] {
        let gateway = Gateway::start(&plan);
        let mut client = gateway.connect();
        client.send(format!("{POST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
        assert_eq!(client.read_answer().refusal(), refusal);
        // It is unknown whether the body will arrive.
        assert!(client.is_closed());
    }
    assert_eq!(instance.connections(), 0);
    let answer =
        Gateway::start(&Plan::to([&instance])).fetch(format!("{POST}Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello"));
    assert_eq!(answer.refusal(), "417 expectation_failed, close");
}
