//! Timeouts, with a clock that the tests advance.

use std::time::Duration;

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK, RefusingAddress, UnresponsiveAddress};
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_instance_that_does_not_answer_in_time_loses_the_attempt_and_the_client_gets_504() {
    let instance = Instance::manual();
    let gateway = Gateway::alone(&Plan::to([&instance]).with_route(json!({"timeout": 3.0, "retries": 0})));
    let mut client = gateway.connect();
    client.send(GET);
    let mut first = instance.accept();
    first.read_request();
    gateway.advance_until(SECOND, || client.is_ready());
    assert_eq!(client.read_answer().refusal(), "504 gateway_timeout");
    assert!(first.is_closed());
    // The client's connection stays open.
    client.send(GET);
    let mut second = instance.accept();
    second.read_request();
    second.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
}

#[test]
fn an_attempt_that_took_too_long_is_followed_by_another_if_the_request_may_be_repeated() {
    let instance = Instance::answering([Answer::Silence, Answer::bytes(OK)]);
    let gateway = Gateway::alone(&Plan::to([&instance]).with_route(json!({"timeout": 3.0, "retries": 1})));
    let mut client = gateway.connect();
    client.send(GET);
    gateway.advance_until(SECOND, || client.is_ready());
    assert_eq!(client.read_answer().text(), "ok");
    assert_eq!((gateway.stats().totals.retries, instance.connections()), (1, 2));
}

#[test]
fn all_attempts_share_the_deadline_of_the_route() {
    let instance = Instance::answering([Answer::Silence]);
    let settings = json!({"timeout": 1000.0, "deadline": 5.0, "retries": 5});
    let gateway = Gateway::alone(&Plan::to([&instance]).with_route(settings));
    let mut client = gateway.connect();
    client.send(GET);
    gateway.advance_until(SECOND, || client.is_ready());
    assert_eq!(client.read_answer().refusal(), "504 gateway_timeout");
    assert_eq!((gateway.stats().totals.retries, instance.connections()), (0, 1));
}

#[test]
fn half_a_head_and_interim_answers_do_not_move_the_deadline() {
    let instance = Instance::manual();
    let gateway = Gateway::alone(&Plan::to([&instance]).with_route(json!({"timeout": 3.0, "retries": 0})));
    let mut client = gateway.connect();
    client.send(GET);
    let mut peer = instance.accept();
    peer.read_request();
    peer.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nX: ");
    assert_eq!(client.read_answer().status(), 102);
    gateway.advance_until(SECOND / 2, || {
        // Fails once the gateway has closed the connection.
        peer.try_send("y");
        client.is_ready()
    });
    assert_eq!(client.read_answer().refusal(), "504 gateway_timeout");
}

#[test]
fn a_connection_that_is_refused_is_502_at_once() {
    let refusing = RefusingAddress::bind();
    let gateway = Gateway::start(&Plan::to_urls([refusing.url()]).with_service(json!({"connect_timeout": 1000.0})));
    assert_eq!(gateway.fetch(GET).refusal(), "502 connect_failed");
}

#[test]
fn a_connection_that_is_not_made_in_time_is_502() {
    let deaf = UnresponsiveAddress::listen();
    let plan = Plan::to_urls([deaf.url()]).with_service(json!({"connect_timeout": 3.0}));
    let gateway = Gateway::alone(&plan.with_route(json!({"retries": 0})));
    let mut client = gateway.connect();
    client.send(GET);
    gateway.advance_until(SECOND, || client.is_ready());
    assert_eq!(client.read_answer().refusal(), "502 connect_failed");
}

#[test]
fn an_instance_that_does_not_read_the_body_is_504_and_the_rest_of_it_closes_the_connection() {
    let instance = Instance::manual();
    let plan = Plan::to([&instance]).with_limits(json!({"max_body": 1_000_000_000}));
    let gateway = Gateway::alone(&plan.with_route(json!({"idle_timeout": 5.0, "retries": 0})));
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 500000000\r\n\r\n");
    let _peer = instance.accept();
    // Both connections fill up, so that the gateway can only wait.
    gateway.advance_until(SECOND, || {
        client.send_available();
        client.is_ready()
    });
    assert_eq!(client.read_answer().refusal(), "504 gateway_timeout, close");
}

#[test]
fn a_head_that_does_not_come_in_time_is_408_and_bytes_of_it_do_not_move_the_deadline() {
    let instance = Instance::ok();
    let gateway = Gateway::alone(&Plan::to([&instance]).with_limits(json!({"head_timeout": 3.0})));
    let mut client = gateway.connect();
    client.send("GET /x HTTP/1.1\r\nHost: a\r\nX: ");
    gateway.advance_until(SECOND / 2, || {
        // Fails once the gateway has closed the connection.
        client.try_send("y");
        client.is_ready()
    });
    let answer = client.read_answer();
    assert_eq!((&*answer.start, &*answer.refusal()), ("HTTP/1.1 408 Request Timeout", "408 head_timeout, close"));
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_client_that_sends_nothing_is_closed_without_a_response() {
    let instance = Instance::ok();
    let gateway = Gateway::alone(&Plan::to([&instance]).with_limits(json!({"head_timeout": 3.0})));
    let mut client = gateway.connect();
    gateway.advance_until(SECOND, || client.is_ready());
    assert_eq!(client.read_all(), b"");
}

#[test]
fn an_idle_client_is_closed_after_keep_alive_even_if_head_timeout_is_longer() {
    let instance = Instance::ok();
    let gateway =
        Gateway::alone(&Plan::to([&instance]).with_limits(json!({"head_timeout": 1000.0, "keep_alive": 3.0})));
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.read_answer().text(), "ok");
    gateway.advance_until(SECOND, || client.is_ready());
    assert_eq!(client.read_all(), b"");
}

#[test]
fn a_body_that_comes_too_slowly_is_408_and_its_instance_never_sees_an_end() {
    for (framing, begun) in [("Content-Length: 100", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n")] {
        let instance = Instance::manual();
        let limits = json!({"body_grace": 3.0, "min_rate": 1000});
        let gateway = Gateway::alone(&Plan::to([&instance]).with_limits(limits));
        let mut client = gateway.connect();
        client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{begun}"));
        let mut peer = instance.accept();
        peer.read_head();
        gateway.advance_until(SECOND, || client.is_ready());
        assert_eq!(client.read_answer().refusal(), "408 body_timeout, close");
        assert!(client.is_closed());
        assert_eq!(peer.read(begun.len()), begun.as_bytes());
        assert!(peer.is_closed());
    }
}

#[test]
fn a_response_whose_body_stalls_is_broken_off() {
    let instance = Instance::manual();
    let gateway = Gateway::alone(&Plan::to([&instance]).with_route(json!({"idle_timeout": 3.0})));
    let mut client = gateway.connect();
    client.send(GET);
    let mut peer = instance.accept();
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    assert_eq!(client.read_head().single("content-length"), Some("10"));
    assert_eq!(client.read(5), b"hello");
    gateway.advance_until(SECOND, || client.is_ready());
    assert!(client.is_closed());
    assert!(peer.is_closed());
    assert_eq!(gateway.stats().totals.incomplete, 1);
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let instance = Instance::manual();
    let gateway =
        Gateway::alone(&Plan::to([&instance]).with_limits(json!({"body_grace": 3.0, "min_rate": 1_000_000_000})));
    let mut client = gateway.connect();
    client.send(GET);
    let mut peer = instance.accept();
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n");
    gateway.advance_until(SECOND, || {
        peer.send_available();
        gateway.stats().totals.incomplete == 1
    });
    assert!(peer.is_closed());
}

#[test]
fn a_kept_connection_to_an_instance_is_closed_when_it_was_idle_for_too_long() {
    let instance = Instance::manual();
    let gateway = Gateway::alone(&Plan::to([&instance]).with_service(json!({"idle_timeout": 30.0})));
    let mut client = gateway.connect();
    client.send(GET);
    let mut peer = instance.accept();
    peer.read_request();
    peer.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
    gateway.advance_until(10 * SECOND, || peer.is_ready());
    assert_eq!(peer.read_all(), b"");
}
