//! Connections to instances: which are reused, and what happens when a kept one ends.

use std::time::Duration;

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK};
use crate::support::peer::Peer;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const PUT: &str = "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const POST: &str = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

/// A plan whose connections stay fresh for longer than any test takes, without retries.
fn without_retries(instance: &Instance) -> Plan {
    Plan::to([instance]).with_route(json!({"retries": 0})).with_service(json!({"idle_timeout": 1000.0}))
}

/// Counts the connections that three consecutive requests need, given these responses.
fn connections_for(answers: impl IntoIterator<Item = Answer>, body: &str) -> usize {
    let instance = Instance::answering(answers);
    let gateway = Gateway::start(&without_retries(&instance));
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send(GET);
        let answer = client.read_answer();
        assert_eq!((answer.status(), answer.single("connection"), &*answer.text()), (200, None, body));
    }
    assert_eq!(instance.requests().len(), 3);
    instance.connections()
}

#[test]
fn a_connection_is_reused_if_the_response_ended_as_framed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        assert_eq!(connections_for([Answer::bytes(answer)], "hello"), 1, "{answer:?}");
    }
}

#[test]
fn a_connection_is_not_reused_if_the_instance_says_so_or_the_response_ended_abnormally() {
    for (what, answer) in [
        ("close", Answer::bytes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")),
        ("close of many", Answer::bytes("HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 5\r\n\r\nhello")),
        ("1.0", Answer::bytes("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")),
        ("until the end", Answer::last("HTTP/1.1 200 OK\r\n\r\nhello")),
        ("surplus", Answer::bytes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n")),
        ("closed behind it", Answer::last("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")),
    ] {
        assert_eq!(connections_for([answer], "hello"), 3, "{what}");
    }
}

#[test]
fn a_body_where_none_is_allowed_is_not_taken_for_a_response() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
    ] {
        let instance = Instance::answering([Answer::bytes(answer), Answer::bytes(OK)]);
        let gateway = Gateway::start(&without_retries(&instance));
        let mut client = gateway.connect();
        client.send(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n{GET}"));
        assert_eq!(client.read_head().start, answer.split("\r\n").next().unwrap());
        assert_eq!(client.read_answer().text(), "ok");
        assert_eq!(instance.connections(), 2);
    }
}

#[test]
fn bytes_on_an_idle_connection_are_not_taken_for_a_response() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&without_retries(&instance));
    let mut client = gateway.connect();
    client.send(GET);
    let mut first = instance.accept();
    first.read_request();
    first.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
    first.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    client.send(GET);
    let mut second = instance.accept();
    second.read_request();
    second.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
    assert!(first.is_closed());
}

#[test]
fn a_kept_connection_that_has_ended_is_replaced_silently_even_for_a_post() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&without_retries(&instance));
    let mut client = gateway.connect();
    let ends: [fn(Peer); 2] = [Peer::close, Peer::reset];
    for end in ends {
        client.send(POST);
        let mut peer = instance.accept();
        assert_eq!(peer.read_request().text(), "hello");
        peer.send(OK);
        assert_eq!(client.read_answer().text(), "ok");
        end(peer);
    }
    client.send(POST);
    let mut last = instance.accept();
    last.read_request();
    last.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
    assert_eq!((instance.connections(), gateway.stats().totals.retries), (3, 0));
}

/// An instance that answered one request and then received `request` over the kept connection. Returns the instance,
/// its gateway and both peers.
fn with_kept_connection(request: &str) -> (Instance, Gateway, Peer, Peer) {
    let instance = Instance::manual();
    let gateway = Gateway::start(&without_retries(&instance));
    let mut client = gateway.connect();
    client.send(GET);
    let mut kept = instance.accept();
    kept.read_request();
    kept.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
    client.send(request);
    assert!(request.starts_with(kept.read_request().method()));
    (instance, gateway, client, kept)
}

#[test]
fn a_kept_connection_that_dies_under_a_request_that_may_be_repeated_is_replaced_once() {
    let (instance, _gateway, mut client, kept) = with_kept_connection(PUT);
    kept.reset();
    let mut second = instance.accept();
    assert_eq!(second.read_request().text(), "hello");
    // The end of a new connection is an error.
    second.reset();
    assert_eq!(client.read_answer().refusal(), "502 bad_gateway");
    assert_eq!(instance.connections(), 2);
}

#[test]
fn a_kept_connection_that_dies_under_a_request_that_may_not_be_repeated_is_an_error() {
    for end in [Peer::close as fn(Peer), Peer::reset] {
        let (instance, gateway, mut client, kept) = with_kept_connection(POST);
        end(kept);
        assert_eq!(client.read_answer().refusal(), "502 bad_gateway");
        assert_eq!((instance.connections(), gateway.stats().totals.retries), (1, 0));
    }
}

#[test]
fn a_kept_connection_on_which_an_answer_has_begun_is_not_replaced() {
    let (instance, _gateway, mut client, mut kept) = with_kept_connection(PUT);
    kept.send("HTTP/1.1 2");
    kept.close();
    assert_eq!(client.read_answer().refusal(), "502 bad_gateway");
    assert_eq!(instance.connections(), 1);
}

#[test]
fn a_kept_connection_that_is_not_fresh_is_not_used_for_requests_that_cannot_be_resent() {
    // Kept for 400 s, and fresh enough for a POST for a quarter of that.
    for (idle, request, connections) in [(0, POST, 1), (200, POST, 2), (200, GET, 1), (500, GET, 2)] {
        let instance = Instance::ok();
        let route = json!({"match": {"path": {"kind": "exact", "value": "/x"}}, "retries": 0});
        let plan = Plan::to([&instance]).with_route(route).with_service(json!({"idle_timeout": 400.0}));
        let gateway = Gateway::alone(&plan.with_limits(json!({"keep_alive": 1000.0})));
        let mut client = gateway.connect();
        client.send(request);
        assert_eq!(client.read_answer().text(), "ok");
        // A response of the gateway itself follows that exchange, so its connection is in the pool now.
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.read_answer().refusal(), "404 no_route");
        gateway.advance(Duration::from_secs(idle));
        client.send(request);
        assert_eq!(client.read_answer().text(), "ok");
        assert_eq!(instance.connections(), connections, "{request:?} after {idle} s");
    }
}

#[test]
fn as_many_connections_are_kept_as_the_service_says() {
    for (most, connections) in [(0, 3), (1, 1)] {
        let instance = Instance::ok();
        let plan = without_retries(&instance).with_service(json!({"max_idle": most}));
        let gateway = Gateway::start(&plan);
        let mut client = gateway.connect();
        for _ in 0..3 {
            client.send(GET);
            assert_eq!(client.read_answer().text(), "ok");
        }
        assert_eq!(instance.connections(), connections, "{most}");
    }
}

#[test]
fn an_answer_that_is_not_http_is_502_and_its_connection_is_closed() {
    for answer in [
        "SSH-2.0-OpenSSH_9.0\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 600 No\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ] {
        let instance = Instance::manual();
        let gateway = Gateway::start(&without_retries(&instance));
        let mut client = gateway.connect();
        client.send(GET);
        let mut peer = instance.accept();
        peer.read_request();
        peer.send(answer);
        assert_eq!(client.read_answer().refusal(), "502 bad_gateway", "{answer:?}");
        assert!(peer.is_closed());
        // The client's own connection stays open.
        client.send(GET);
        peer = instance.accept();
        peer.read_request();
        peer.send(OK);
        assert_eq!(client.read_answer().text(), "ok");
    }
}
