//! Retries: which failed attempts are repeated, and how often.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK, RefusingAddress};
use crate::support::message::Message;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const UNAVAILABLE: &str = "HTTP/1.1 503 Not now\r\nContent-Length: 4\r\n\r\nlate";

fn with_body(method: &str, body: &str) -> String {
    format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A plan with a retry budget that does not limit the route's retries.
fn unlimited_retries(plan: Plan) -> Plan {
    plan.with_service(json!({"retry_budget": {"ratio": 1.0, "min_per_second": 1000.0}}))
}

#[test]
fn a_request_that_reached_no_instance_is_retried_whatever_its_method() {
    let (refusing, instance) = (RefusingAddress::bind(), Instance::ok());
    let plan = Plan::to_urls([refusing.url(), instance.url()]);
    // A zero budget. Retries after a failed connect do not count, because no instance did any work.
    let gateway = Gateway::start(&plan.with_service(json!({"retry_budget": {"ratio": 0.0, "min_per_second": 0.0}})));
    let mut client = gateway.connect();
    for _ in 0..4 {
        client.send(with_body("POST", "hello"));
        assert_eq!(client.read_answer().text(), "ok");
    }
    assert!(gateway.stats().totals.retries > 0, "some began with nobody");
    let bodies: Vec<_> = instance.requests().iter().map(Message::text).collect();
    assert_eq!(bodies, ["hello"; 4]);
}

#[test]
fn without_reachable_instances_clients_get_502_after_all_attempts() {
    let refusing = RefusingAddress::bind();
    let gateway = Gateway::start(&Plan::to_urls([refusing.url()]).with_route(json!({"retries": 2})));
    let mut client = gateway.connect();
    client.send(GET);
    let answer = client.read_answer();
    assert_eq!(answer.refusal(), "502 connect_failed");
    assert!(!answer.text().contains("127.0.0.1"), "what is behind the gateway is nobody's business");
    assert_eq!(gateway.stats().totals.retries, 2);
}

#[test]
fn a_failed_response_is_retried_as_method_and_route_allow() {
    for (method, status, retry_on, repeated) in [
        ("GET", 503, json!([]), true),
        ("PUT", 502, json!([]), true),
        ("DELETE", 504, json!([]), true),
        ("GET", 500, json!([]), false),
        ("GET", 429, json!(["server_error"]), false),
        ("POST", 503, json!([]), false),
        ("POST", 503, json!(["reset", "timeout"]), false),
        ("POST", 503, json!(["gateway_error"]), true),
        ("POST", 500, json!(["gateway_error"]), false),
        ("POST", 500, json!(["server_error"]), true),
    ] {
        let failure = format!("HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\nfail");
        let instance = Instance::answering([Answer::bytes(failure), Answer::bytes(OK)]);
        let gateway = Gateway::start(&Plan::to([&instance]).with_route(json!({"retry_on": retry_on})));
        let answer = gateway.fetch(with_body(method, "hello"));
        let expected = if repeated { (200, "ok".to_owned(), 2) } else { (status, "fail".to_owned(), 1) };
        let found = (answer.status(), answer.text(), instance.requests().len());
        assert_eq!(found, expected, "{method} {status} {retry_on}");
    }
}

#[test]
fn the_last_response_is_forwarded_even_if_it_is_a_failure() {
    let instances =
        [Instance::answering([Answer::bytes(UNAVAILABLE)]), Instance::answering([Answer::bytes(UNAVAILABLE)])];
    let gateway = Gateway::start(&unlimited_retries(Plan::to(&instances)).with_route(json!({"retries": 3})));
    let answer = gateway.fetch(GET);
    assert_eq!((&*answer.start, &*answer.text()), ("HTTP/1.1 503 Not now", "late"));
    let [one, two] = instances.map(|instance| instance.requests().len());
    assert_eq!((one, two), (2, 2), "those that failed are avoided as long as there are others");
    assert_eq!(gateway.stats().totals.retries, 3);
}

#[test]
fn a_request_that_an_instance_may_have_acted_on_is_not_sent_to_another() {
    let instances = [Instance::answering([Answer::Reset]), Instance::answering([Answer::Reset])];
    let gateway = Gateway::start(&unlimited_retries(Plan::to(&instances)));
    assert_eq!(gateway.fetch(with_body("POST", "hello")).refusal(), "502 bad_gateway");
    assert_eq!(instances.iter().map(|instance| instance.requests().len()).sum::<usize>(), 1);
    assert_eq!(gateway.stats().totals.retries, 0);
}

#[test]
fn a_route_may_enable_retries_that_are_off_by_default() {
    let instance = Instance::answering([Answer::Reset, Answer::bytes(OK)]);
    let gateway = Gateway::start(&Plan::to([&instance]).with_route(json!({"retry_on": ["reset"]})));
    assert_eq!(gateway.fetch(with_body("POST", "hello")).text(), "ok");
    assert_eq!(instance.requests().len(), 2);
    assert_eq!(gateway.stats().totals.retries, 1);
}

#[test]
fn a_body_up_to_64_kilobytes_is_sent_again_from_memory() {
    let (failing, instance) = (Instance::answering([Answer::Reset]), Instance::ok());
    let gateway = Gateway::start(&unlimited_retries(Plan::to([&failing, &instance])));
    let body: String = (0..60_000_u32).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(with_body("PUT", &body));
        assert_eq!(client.read_answer().text(), "ok");
    }
    let (failed, done) = (failing.requests(), instance.requests());
    assert_eq!((gateway.stats().totals.retries, done.len()), (failed.len() as u64, 2));
    assert!(!failed.is_empty(), "one of the two began there");
    for request in failed.iter().chain(&done) {
        assert!(request.text() == body, "{} bytes", request.body.len());
    }
}

#[test]
fn a_chunked_body_is_sent_again_with_its_trailers() {
    let instance = Instance::answering([Answer::Reset, Answer::bytes(OK)]);
    let gateway = Gateway::start(&Plan::to([&instance]));
    let body = "5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
    assert_eq!(
        gateway.fetch(format!("PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).text(),
        "ok"
    );
    let seen: Vec<_> = instance.requests().into_iter().map(|request| (request.text(), request.trailers)).collect();
    let whole = ("hello world".to_owned(), vec![("x-sum".to_owned(), "1".to_owned())]);
    assert_eq!(seen, [whole.clone(), whole]);
}

#[test]
fn a_body_too_large_to_be_buffered_is_sent_once() {
    let instances = [Instance::answering([Answer::Reset]), Instance::answering([Answer::Reset])];
    let gateway = Gateway::start(&unlimited_retries(Plan::to(&instances)));
    assert_eq!(gateway.fetch(with_body("PUT", &"x".repeat(70_000))).refusal(), "502 bad_gateway");
    assert_eq!(instances.iter().map(|instance| instance.requests().len()).sum::<usize>(), 1);
}

#[test]
fn retries_of_a_service_are_bounded_over_all_its_requests() {
    let instance = Instance::answering([Answer::bytes(UNAVAILABLE)]);
    let plan = Plan::to([&instance]).with_route(json!({"retries": 1}));
    // Two requests earn one retry, and the next two earn another.
    let gateway = Gateway::start(&plan.with_service(json!({"retry_budget": {"ratio": 0.6, "min_per_second": 0.0}})));
    let mut client = gateway.connect();
    let mut attempts = Vec::new();
    for _ in 0..4 {
        let before = instance.requests().len();
        client.send(GET);
        assert_eq!(client.read_answer().text(), "late");
        attempts.push(instance.requests().len() - before);
    }
    assert_eq!(attempts, [1, 2, 1, 2]);
    assert_eq!(gateway.stats().totals.retries, 2);
}

#[test]
fn a_route_without_retries_makes_one_attempt() {
    let instance = Instance::answering([Answer::bytes(UNAVAILABLE)]);
    let gateway = Gateway::start(&Plan::to([&instance]).with_route(json!({"retries": 0})));
    assert_eq!(gateway.fetch(GET).status(), 503);
    assert_eq!(instance.requests().len(), 1);
    let (refusing, other) = (RefusingAddress::bind(), RefusingAddress::bind());
    let gateway = Gateway::start(&Plan::to_urls([refusing.url(), other.url()]).with_route(json!({"retries": 0})));
    assert_eq!(gateway.fetch(GET).refusal(), "502 connect_failed");
    assert_eq!(gateway.stats().totals.retries, 0);
}
