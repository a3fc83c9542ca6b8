//! Limits, and the responses beyond them.

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
        "cost": 1, "settle": null, "per_route": true, "scope": null, "mode": "fast", "headers": true,
    });
    whole.as_object_mut().unwrap().extend(limit.as_object().unwrap().clone());
    plan.with_route(json!({"policies": {"rate_limit": {"limits": [whole], "concurrency": null}}}))
}

/// A plan whose service admits one exchange at a time and queues two.
fn one_at_a_time(instance: &Instance) -> Plan {
    Plan::to([instance]).with_service(json!({"max_in_flight": 1, "queue": {"size": 2, "timeout": 3600.0}}))
}

/// Sends a request and returns the client, without waiting for the response.
fn send_request(gateway: &Gateway, path: &str) -> Peer {
    let mut client = gateway.connect();
    client.send(get(path));
    client
}

fn waiting(gateway: &Gateway) -> u32 {
    gateway.stats().services[0].waiting
}

/// Checks a number of seconds, which may be a little lower.
fn assert_soon(span: u32, said: &str) {
    assert!((span - 100..=span).contains(&said.parse().unwrap()), "{said} instead of {span}");
}

#[test]
fn a_client_beyond_its_rate_gets_429_with_retry_after() {
    let instance = Instance::ok();
    let gateway = Gateway::alone(&with_limit(Plan::to([&instance]), &json!({"per": 3600.0})));
    let mut client = gateway.connect();
    let mut fetch = || {
        client.send(GET);
        client.read_answer()
    };
    // One token is refilled every half hour.
    for (status, remaining, reset) in [(200, 1, 1800), (200, 0, 3600), (429, 0, 3600)] {
        let answer = fetch();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.single("ratelimit-policy"), Some("\"default\";q=2;w=3600"));
        let (said, t) = answer.single("ratelimit").unwrap().split_once(";t=").unwrap();
        assert_eq!(said, format!("\"default\";r={remaining}"));
        assert_soon(reset, t);
        if status == 429 {
            assert_eq!(answer.refusal(), "429 rate_limited");
            assert_soon(1800, answer.single("retry-after").unwrap());
        }
    }
    gateway.advance(Duration::from_secs(1800));
    assert_eq!([fetch().status(), fetch().status()], [200, 429]);
    assert_eq!(instance.requests().len(), 3);
}

#[test]
fn clients_are_counted_by_what_the_key_says() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&with_limit(
        Plan::to([&instance]),
        &json!({"limit": 1, "per": 3600.0, "key": ["header:x-tenant"]}),
    ));
    let fetch =
        |tenant: &str| gateway.fetch(format!("GET /x HTTP/1.1\r\nHost: a\r\nX-Tenant: {tenant}\r\n\r\n")).status();
    assert_eq!(["one", "two", "one", "two", "three"].map(fetch), [200, 200, 429, 429, 200]);
}

#[test]
fn queued_requests_are_admitted_in_order_of_arrival() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&one_at_a_time(&instance));
    let mut first = send_request(&gateway, "/first");
    let mut server = instance.accept();
    assert_eq!(server.read_request().target(), "/first");
    let mut second = send_request(&gateway, "/second");
    wait_until(|| waiting(&gateway) == 1);
    let mut third = send_request(&gateway, "/third");
    wait_until(|| waiting(&gateway) == 2);
    let refused = gateway.fetch(get("/fourth"));
    assert_eq!((&*refused.refusal(), refused.single("retry-after")), ("503 overloaded", Some("1")));
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
fn the_permit_of_a_disconnected_client_goes_to_the_next_in_the_queue() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&one_at_a_time(&instance));
    let first = send_request(&gateway, "/first");
    let mut server = instance.accept();
    server.read_request();
    let second = send_request(&gateway, "/second");
    wait_until(|| waiting(&gateway) == 1);
    let mut third = send_request(&gateway, "/third");
    wait_until(|| waiting(&gateway) == 2);
    // A client leaves the queue, and then the one being served.
    second.reset();
    wait_until(|| waiting(&gateway) == 1);
    first.close();
    assert!(server.is_closed());
    let mut server = instance.accept();
    assert_eq!(server.read_request().target(), "/third");
    server.send(OK);
    assert_eq!(third.read_answer().text(), "ok");
    assert_eq!(gateway.logged(3).iter().map(|line| line["status"].clone()).collect::<Vec<_>>(), [499, 499, 200]);
}

#[test]
fn a_queued_request_times_out() {
    let instance = Instance::manual();
    let gateway = Gateway::alone(&one_at_a_time(&instance).with_service(json!({"queue": {"timeout": 5.0}})));
    let mut first = send_request(&gateway, "/first");
    let mut server = instance.accept();
    server.read_request();
    let mut second = send_request(&gateway, "/second");
    wait_until(|| waiting(&gateway) == 1);
    gateway.advance_until(Duration::from_secs(2), || second.is_ready());
    assert_eq!(second.read_answer().refusal(), "503 overloaded");
    server.send(OK);
    assert_eq!(first.read_answer().text(), "ok");
}

#[test]
fn requests_beyond_max_requests_get_503_at_once() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_requests": 2})));
    let mut clients = [send_request(&gateway, "/first"), send_request(&gateway, "/second")];
    let mut servers = [instance.accept(), instance.accept()];
    for server in &mut servers {
        server.read_request();
    }
    let mut third = gateway.connect();
    third.send(GET);
    let refused = third.read_answer();
    assert_eq!((&*refused.refusal(), refused.single("retry-after")), ("503 overloaded", Some("1")));
    for server in &mut servers {
        server.send(OK);
    }
    for client in &mut clients {
        assert_eq!(client.read_answer().text(), "ok");
    }
    gateway.counted();
    // The connection stays open, and there is capacity now.
    third.send(GET);
    let [one, two] = &mut servers;
    wait_until(|| one.is_ready() || two.is_ready());
    let server = if one.is_ready() { one } else { two };
    server.read_request();
    server.send(OK);
    assert_eq!(third.read_answer().text(), "ok");
}

#[test]
fn an_idle_connection_is_closed_to_make_room_for_a_new_one() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_connections": 1})));
    let mut idle = gateway.connect();
    idle.send(GET);
    assert_eq!(idle.read_answer().text(), "ok");
    let mut other = gateway.connect();
    other.send(GET);
    assert_eq!(other.read_answer().text(), "ok");
    assert!(idle.is_closed());
    other.send(GET);
    assert_eq!(other.read_answer().text(), "ok");
    assert_eq!(gateway.stats().totals.connections_refused, 0);
}

#[test]
fn without_idle_connections_a_new_one_is_closed() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_connections": 1})));
    // 32 more are accepted while idle ones may still close.
    let mut clients: Vec<_> = (0..33).map(|_| send_request(&gateway, "/x")).collect();
    let mut servers: Vec<_> = clients.iter().map(|_| instance.accept()).collect();
    assert!(gateway.connect().is_closed());
    let totals = gateway.stats().totals;
    assert_eq!((totals.connections, totals.connections_accepted, totals.connections_refused), (33, 33, 1));
    let records = gateway.take_log().unwrap();
    let said: Vec<_> = records.iter().filter(|record| record.event == "connection_refused").collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].message.contains("1 are admitted"), "{}", said[0].message);
    for server in &mut servers {
        server.read_request();
        server.send(OK);
    }
    for client in &mut clients {
        assert_eq!(client.read_answer().text(), "ok");
    }
}

#[test]
fn a_body_declared_too_large_gets_413_and_reaches_no_instance() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_body": 10})));
    let post = |length: usize| {
        gateway.fetch(format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length)))
    };
    assert_eq!(post(10).text(), "ok");
    let refused = post(11);
    assert_eq!(refused.refusal(), "413 body_too_large, close");
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(body["detail"], "the request body is larger than the 10 bytes allowed");
    assert_eq!(instance.request().text(), "x".repeat(10));
}

#[test]
fn a_body_without_a_length_is_counted_while_it_is_forwarded() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_body": 10})));
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsixsix\r\n");
    let mut server = instance.accept();
    assert_eq!(server.read_head().single("transfer-encoding"), Some("chunked"));
    assert_eq!(server.read(11), b"6\r\nsixsix\r\n");
    client.send("5\r\nfives\r\n0\r\n\r\n");
    assert_eq!(client.read_answer().refusal(), "413 body_too_large, close");
    assert!(client.is_closed());
    assert!(server.is_closed(), "the instance must not take it for whole");
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
        let answer = gateway.fetch(&request);
        let found = if answer.status() == 200 { "200".to_owned() } else { answer.refusal() };
        assert_eq!(found, expected, "{request}");
    }
    assert_eq!(instance.requests().len(), 3);
}

#[test]
fn busy_connections_stay_and_new_ones_beyond_the_bound_are_served_once() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]).with_limits(json!({"max_connections": 1})));
    let mut busy = gateway.connect();
    let mut ask_busy = || {
        busy.send(GET);
        assert!(!busy.read_answer().has("connection"));
    };
    ask_busy();
    let mut others = Vec::new();
    // Half of the 32 that are accepted beyond the bound may wait until others are idle.
    for number in 1..=20 {
        ask_busy();
        let mut other = gateway.connect();
        other.send(GET);
        let told = other.read_answer().single("connection").map(str::to_owned);
        assert_eq!(told.as_deref(), (number > 16).then_some("close"), "{number}");
        if number <= 16 {
            others.push(other);
        } else {
            assert!(other.is_closed());
            drop(other);
            wait_until(|| gateway.stats().totals.connections <= 17);
        }
    }
    ask_busy();
    assert_eq!(gateway.stats().totals.connections_refused, 0);
}
