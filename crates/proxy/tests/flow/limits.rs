//! How much there may be of anything, and what those get for whom there is no room.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Instance, OK};
use crate::support::peer::Peer;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn with_limit(plan: Plan, limit: &Value) -> Plan {
    let mut whole = json!({
        "name": "default", "limit": 2, "per": 60.0, "algorithm": "token_bucket", "key": ["ip"], "burst": null,
        "cost": 1, "scope": "route", "headers": true,
    });
    whole.as_object_mut().unwrap().extend(limit.as_object().unwrap().clone());
    plan.with_route(json!({"policies": {"rate_limit": {"limits": [whole], "concurrency": null}}}))
}

/// A gateway whose service takes one exchange at a time, and has room for two that wait.
fn narrow(instance: &Instance) -> Plan {
    Plan::to([instance]).with_service(json!({"max_in_flight": 1, "queue": {"size": 2, "timeout": 3600.0}}))
}

/// A client whose request is not answered yet.
fn asking(gateway: &Gateway, path: &str) -> Peer {
    let mut client = gateway.connect();
    client.send(get(path));
    client
}

fn waiting(gateway: &Gateway) -> u32 {
    gateway.stats().services[0].waiting
}

/// A span in seconds, of which some moments may have passed.
fn assert_soon(span: u32, said: &str) {
    assert!((span - 100..=span).contains(&said.parse().unwrap()), "{said} instead of {span}");
}

#[test]
fn who_asks_too_often_gets_429_and_learns_when_to_come_again() {
    let instance = Instance::ok();
    let gateway = Gateway::alone(&with_limit(Plan::to([&instance]), &json!({"per": 3600.0})));
    let mut client = gateway.connect();
    let mut ask = || {
        client.send(GET);
        client.read_answer()
    };
    // One comes back every half hour.
    for (status, remaining, reset) in [(200, 1, 1800), (200, 0, 3600), (429, 0, 3600)] {
        let answer = ask();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.one("ratelimit-policy"), Some("\"default\";q=2;w=3600"));
        let (said, t) = answer.one("ratelimit").unwrap().split_once(";t=").unwrap();
        assert_eq!(said, format!("\"default\";r={remaining}"));
        assert_soon(reset, t);
        if status == 429 {
            assert_eq!(answer.refusal(), "429 rate_limited");
            assert_soon(1800, answer.one("retry-after").unwrap());
        }
    }
    gateway.advance(Duration::from_secs(1800));
    assert_eq!([ask().status(), ask().status()], [200, 429]);
    assert_eq!(instance.requests().len(), 3);
}

#[test]
fn clients_are_counted_by_what_the_key_says() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&with_limit(
        Plan::to([&instance]),
        &json!({"limit": 1, "per": 3600.0, "key": ["header:x-tenant"]}),
    ));
    let ask = |tenant: &str| gateway.ask(format!("GET /x HTTP/1.1\r\nHost: a\r\nX-Tenant: {tenant}\r\n\r\n")).status();
    assert_eq!(["one", "two", "one", "two", "three"].map(ask), [200, 200, 429, 429, 200]);
}

#[test]
fn those_who_wait_for_a_service_get_their_turn_in_the_order_in_which_they_came() {
    let instance = Instance::held();
    let gateway = Gateway::start(&narrow(&instance));
    let mut first = asking(&gateway, "/first");
    let mut server = instance.accept();
    assert_eq!(server.read_request().target(), "/first");
    let mut second = asking(&gateway, "/second");
    wait_until(|| waiting(&gateway) == 1);
    let mut third = asking(&gateway, "/third");
    wait_until(|| waiting(&gateway) == 2);
    let refused = gateway.ask(get("/fourth"));
    assert_eq!((&*refused.refusal(), refused.one("retry-after")), ("503 overloaded", Some("1")));
    for (client, next) in [(&mut first, "/second"), (&mut second, "/third")] {
        server.send(OK);
        assert_eq!(client.read_answer().text(), "ok");
        assert_eq!(server.read_request().target(), next);
    }
    server.send(OK);
    assert_eq!(third.read_answer().text(), "ok");
    wait_until(|| gateway.stats().services[0].entered == 0);
}

#[test]
fn the_place_of_a_client_that_has_gone_is_given_to_who_waits() {
    let instance = Instance::held();
    let gateway = Gateway::start(&narrow(&instance));
    let first = asking(&gateway, "/first");
    let mut server = instance.accept();
    server.read_request();
    let second = asking(&gateway, "/second");
    wait_until(|| waiting(&gateway) == 1);
    let mut third = asking(&gateway, "/third");
    wait_until(|| waiting(&gateway) == 2);
    // One leaves the queue, and then the one that is served.
    second.reset();
    wait_until(|| waiting(&gateway) == 1);
    first.close();
    assert!(server.at_end());
    let mut server = instance.accept();
    assert_eq!(server.read_request().target(), "/third");
    server.send(OK);
    assert_eq!(third.read_answer().text(), "ok");
    assert_eq!(gateway.logged(3).iter().map(|line| line["status"].clone()).collect::<Vec<_>>(), [499, 499, 200]);
}

#[test]
fn who_waits_for_a_service_does_not_wait_for_ever() {
    let instance = Instance::held();
    let gateway = Gateway::alone(&narrow(&instance).with_service(json!({"queue": {"timeout": 5.0}})));
    let mut first = asking(&gateway, "/first");
    let mut server = instance.accept();
    server.read_request();
    let mut second = asking(&gateway, "/second");
    wait_until(|| waiting(&gateway) == 1);
    gateway.advance_until(Duration::from_secs(2), || second.is_ready());
    assert_eq!(second.read_answer().refusal(), "503 overloaded");
    server.send(OK);
    assert_eq!(first.read_answer().text(), "ok");
}

#[test]
fn beyond_the_requests_that_may_be_in_flight_in_all_others_get_503_at_once() {
    let instance = Instance::held();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_requests": 2})));
    let mut clients = [asking(&gateway, "/first"), asking(&gateway, "/second")];
    let mut servers = [instance.accept(), instance.accept()];
    for server in &mut servers {
        server.read_request();
    }
    let mut third = gateway.connect();
    third.send(GET);
    let refused = third.read_answer();
    assert_eq!((&*refused.refusal(), refused.one("retry-after")), ("503 overloaded", Some("1")));
    for server in &mut servers {
        server.send(OK);
    }
    for client in &mut clients {
        assert_eq!(client.read_answer().text(), "ok");
    }
    gateway.counted();
    // The connection goes on, and there is room now.
    third.send(GET);
    let [one, two] = &mut servers;
    wait_until(|| one.is_ready() || two.is_ready());
    let server = if one.is_ready() { one } else { two };
    server.read_request();
    server.send(OK);
    assert_eq!(third.read_answer().text(), "ok");
}

#[test]
fn a_connection_that_is_idle_makes_room_for_a_new_one() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_connections": 1})));
    let mut idle = gateway.connect();
    idle.send(GET);
    assert_eq!(idle.read_answer().text(), "ok");
    assert_eq!(gateway.ask(GET).text(), "ok");
    assert!(idle.at_end());
    assert_eq!(gateway.stats().totals.connections_refused, 0);
}

#[test]
fn where_no_connection_is_idle_a_new_one_is_closed() {
    let instance = Instance::held();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_connections": 1})));
    // 32 more are taken on while others may still leave.
    let mut clients: Vec<_> = (0..33).map(|_| asking(&gateway, "/x")).collect();
    let mut servers: Vec<_> = clients.iter().map(|_| instance.accept()).collect();
    assert!(gateway.connect().at_end());
    let totals = gateway.stats().totals;
    assert_eq!((totals.connections, totals.connections_accepted, totals.connections_refused), (33, 33, 1));
    for server in &mut servers {
        server.read_request();
        server.send(OK);
    }
    for client in &mut clients {
        assert_eq!(client.read_answer().text(), "ok");
    }
}

#[test]
fn a_body_that_says_that_it_is_too_large_gets_413_and_no_instance_sees_it() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_body": 10})));
    let post = |length: usize| {
        gateway.ask(format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length)))
    };
    assert_eq!(post(10).text(), "ok");
    let refused = post(11);
    assert_eq!(refused.refusal(), "413 body_too_large, close");
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(body["detail"], "the request body is larger than the 10 bytes allowed");
    assert_eq!(instance.request().text(), "x".repeat(10));
}

#[test]
fn a_body_without_a_length_is_counted_on_its_way() {
    let instance = Instance::held();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_body": 10})));
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsixsix\r\n");
    let mut server = instance.accept();
    assert_eq!(server.read_head().one("transfer-encoding"), Some("chunked"));
    assert_eq!(server.read(11), b"6\r\nsixsix\r\n");
    client.send("5\r\nfives\r\n0\r\n\r\n");
    assert_eq!(client.read_answer().refusal(), "413 body_too_large, close");
    assert!(client.at_end());
    assert!(server.at_end(), "the instance must not take it for whole");
}

#[test]
fn a_head_that_is_too_large_or_has_too_many_fields_gets_431_and_a_target_414() {
    let instance = Instance::ok();
    let limits = json!({"max_head": 1024, "max_fields": 4, "max_target": 100});
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(limits));
    let field = |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "x".repeat(length));
    let head = field(0).len();
    for (request, expected) in [
        (field(1024 - head), "200"),
        (field(1025 - head), "431 head_too_large, close"),
        (field(4000), "431 head_too_large, close"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n".to_owned(), "200"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n".to_owned(), "431 head_too_large, close"),
        (get(&format!("/{}", "x".repeat(99))), "200"),
        (get(&format!("/{}", "x".repeat(100))), "414 target_too_long, close"),
    ] {
        let answer = gateway.ask(&request);
        let found = if answer.status() == 200 { "200".to_owned() } else { answer.refusal() };
        assert_eq!(found, expected, "{request}");
    }
    assert_eq!(instance.requests().len(), 3);
}
