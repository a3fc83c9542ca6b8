//! Client connections: keep-alive, pipelining, and exchanges whose client disconnects.

use pylae_proxy::Drain;
use serde_json::json;

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK, UnresponsiveAddress};
use crate::support::peer::Peer;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_connection_serves_many_requests_over_one_to_the_instance() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    for _ in 0..50 {
        client.send(GET);
        let answer = client.read_answer();
        assert_eq!((&*answer.start, answer.single("connection"), &*answer.text()), ("HTTP/1.1 200 OK", None, "ok"));
    }
    assert_eq!((instance.requests().len(), instance.connections()), (50, 1));
    // Counted once the response was sent, which the client may see first.
    wait_until(|| gateway.stats().totals.by_class == [0, 50, 0, 0, 0]);
    assert_eq!(gateway.stats().totals.connections_accepted, 1);
}

#[test]
fn a_client_that_asks_for_close_gets_it_and_pipelined_requests_are_not_served() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{GET}"));
    let answer = client.read_answer();
    assert_eq!((answer.single("connection"), &*answer.text()), (Some("close"), "ok"));
    assert!(client.is_closed());
    assert_eq!(instance.request().single("connection"), None);
}

#[test]
fn http_1_0_connections_are_kept_only_if_the_client_asks_for_it() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.read_answer();
        assert_eq!((&*answer.start, answer.single("connection")), ("HTTP/1.1 200 OK", Some("keep-alive")));
    }
    client.send("GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_answer().single("connection"), Some("close"));
    assert!(client.is_closed());
    // The instance is sent HTTP/1.1 with a Host nevertheless.
    for request in instance.requests() {
        assert_eq!((&*request.start, request.single("host")), ("GET /x HTTP/1.1", Some(&*instance.authority())));
    }
}

#[test]
fn requests_that_are_sent_ahead_are_answered_in_their_order() {
    let instance = Instance::answering((0..40).map(|n| {
        let body = format!("answer {n}");
        Answer::bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }));
    let route = json!({"match": {"path": {"kind": "prefix", "value": "/x"}}});
    let gateway = Gateway::start(&Plan::to([&instance]).with_route(route));
    let mut client = gateway.connect();
    let requests = (0..20).map(|n| {
        let body = "b".repeat(n * 97);
        format!(
            "GET /x/{n} HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /none HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /x/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
        )
    });
    client.send(requests.collect::<Vec<_>>().concat());
    for n in 0..20 {
        assert_eq!(client.read_answer().text(), format!("answer {}", 2 * n));
        assert_eq!(client.read_answer().refusal(), "404 no_route");
        assert_eq!(client.read_answer().text(), format!("answer {}", 2 * n + 1));
    }
    for (n, request) in instance.requests().iter().enumerate() {
        assert_eq!((request.target(), request.body.len()), (&*format!("/x/{}", n / 2), n % 2 * (n / 2) * 97));
    }
}

#[test]
fn bytes_that_come_one_by_one_make_the_same_requests() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
    for byte in format!("{head}{body}{GET}").into_bytes() {
        client.send([byte]);
    }
    assert_eq!((client.read_answer().text(), client.read_answer().text()), ("ok".to_owned(), "ok".to_owned()));
    let seen: Vec<_> = instance.requests().iter().map(|request| (request.start.clone(), request.text())).collect();
    let expected = [("POST /x HTTP/1.1", "hello world"), ("GET /x HTTP/1.1", "")];
    assert_eq!(seen, expected.map(|(start, body)| (start.to_owned(), body.to_owned())));
}

#[test]
fn a_client_that_disconnects_while_its_response_is_awaited_ends_the_attempt() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]));
    // A half-close counts as a disconnect.
    let leave: [fn(&mut Option<Peer>); 3] = [
        |client| client.take().unwrap().close(),
        |client| client.take().unwrap().reset(),
        |client| client.as_mut().unwrap().end(),
    ];
    for (count, leave) in leave.into_iter().enumerate() {
        let mut client = Some(gateway.connect());
        client.as_mut().unwrap().send(GET);
        let mut peer = instance.accept();
        peer.read_request();
        leave(&mut client);
        assert!(peer.is_closed());
        wait_until(|| gateway.stats().totals.abandoned == count as u64 + 1);
    }
    assert_eq!(gateway.stats().totals.retries, 0);
}

#[test]
fn a_client_that_disconnects_during_its_body_never_makes_it_look_complete() {
    for (rest, begun) in [
        ("Content-Length: 10\r\n\r\nhello", "hello"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "5\r\nhello\r\n"),
    ] {
        let instance = Instance::manual();
        let gateway = Gateway::start(&Plan::to([&instance]));
        let mut client = gateway.connect();
        client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\n{rest}"));
        let mut peer = instance.accept();
        peer.read_head();
        assert_eq!(peer.read(begun.len()), begun.as_bytes());
        client.close();
        assert!(peer.is_closed());
    }
}

#[test]
fn a_client_that_disconnects_during_its_response_ends_it_at_the_instance() {
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let instance = Instance::manual();
        let gateway = Gateway::start(&Plan::to([&instance]));
        let mut client = gateway.connect();
        client.send(GET);
        let mut peer = instance.accept();
        peer.read_request();
        peer.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
        assert_eq!(client.read_head().status(), 200);
        client.close();
        assert!(peer.is_closed());
        wait_until(|| gateway.stats().totals.incomplete == 1);
    }
}

#[test]
fn a_client_that_disconnects_while_the_gateway_connects_ends_the_attempt() {
    let deaf = UnresponsiveAddress::listen();
    let gateway = Gateway::start(&Plan::to_urls([deaf.url()]));
    let mut client = gateway.connect();
    client.send(GET);
    wait_until(|| gateway.stats().totals.in_flight == 1);
    client.close();
    wait_until(|| gateway.stats().totals.abandoned == 1);
    assert_eq!(gateway.stats().totals.in_flight, 0);
}

#[test]
fn exchanges_beyond_those_that_may_be_in_flight_are_refused_and_their_connections_go_on() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_requests": 1})));
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    first.send(GET);
    let mut peer = instance.accept();
    peer.read_request();
    second.send(GET);
    let answer = second.read_answer();
    assert_eq!((&*answer.refusal(), answer.single("retry-after")), ("503 overloaded", Some("1")));
    peer.send(OK);
    assert_eq!(first.read_answer().text(), "ok");
    wait_until(|| gateway.stats().totals.in_flight == 0);
    second.send(GET);
    peer.read_request();
    peer.send(OK);
    assert_eq!(second.read_answer().text(), "ok");
    assert_eq!(instance.connections(), 1);
}

#[test]
fn a_gateway_that_stops_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let instance = Instance::manual();
    let route = json!({"match": {"path": {"kind": "exact", "value": "/x"}}});
    let gateway = Gateway::start(&Plan::to([&instance]).with_route(route));
    let (mut idle, mut busy) = (gateway.connect(), gateway.connect());
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.read_answer().refusal(), "404 no_route");
    busy.send(GET);
    let mut peer = instance.accept();
    peer.read_request();
    std::thread::scope(|scope| {
        let engine = &*gateway;
        scope.spawn(move || engine.stop(Drain::Within));
        assert!(idle.is_closed());
        peer.send(OK);
        let answer = busy.read_answer();
        assert_eq!((&*answer.text(), answer.single("connection")), ("ok", Some("close")));
        assert!(busy.is_closed());
        // Otherwise it is given time to read its response.
        busy.close();
    });
}
