//! Which failed attempt is followed by another, and how many are.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, Nobody, OK};
use crate::support::message::Message;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const UNAVAILABLE: &str = "HTTP/1.1 503 Not now\r\nContent-Length: 4\r\n\r\nlate";

fn with_body(method: &str, body: &str) -> String {
    format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// As many retries as the route allows.
fn unbounded(plan: Plan) -> Plan {
    plan.with_service(json!({"retry_budget": {"ratio": 1.0, "min_per_second": 1000.0}}))
}

#[test]
fn what_reached_no_instance_goes_to_another_whatever_it_is() {
    let (nobody, instance) = (Nobody::bind(), Instance::ok());
    let plan = Plan::to_urls([nobody.url(), instance.url()]);
    // A budget of none: nobody is burdened.
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
fn where_no_instance_can_be_reached_the_client_gets_502_after_as_many_attempts_as_there_may_be() {
    let nobody = Nobody::bind();
    let gateway = Gateway::start(&Plan::to_urls([nobody.url()]).with_route(json!({"retries": 2})));
    let mut client = gateway.connect();
    client.send(GET);
    let answer = client.read_answer();
    assert_eq!(answer.refusal(), "502 connect_failed");
    assert!(!answer.text().contains("127.0.0.1"), "what is behind the gateway is nobody's business");
    assert_eq!(gateway.stats().totals.retries, 2);
}

#[test]
fn an_answer_that_is_a_failure_is_asked_for_again_as_method_and_route_allow() {
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
        let answer = gateway.ask(with_body(method, "hello"));
        let expected = if repeated { (200, "ok".to_owned(), 2) } else { (status, "fail".to_owned(), 1) };
        let found = (answer.status(), answer.text(), instance.requests().len());
        assert_eq!(found, expected, "{method} {status} {retry_on}");
    }
}

#[test]
fn the_last_answer_is_the_clients_even_if_it_is_a_failure() {
    let instances =
        [Instance::answering([Answer::bytes(UNAVAILABLE)]), Instance::answering([Answer::bytes(UNAVAILABLE)])];
    let gateway = Gateway::start(&unbounded(Plan::to(&instances)).with_route(json!({"retries": 3})));
    let answer = gateway.ask(GET);
    assert_eq!((&*answer.start, &*answer.text()), ("HTTP/1.1 503 Not now", "late"));
    let [one, two] = instances.map(|instance| instance.requests().len());
    assert_eq!((one, two), (2, 2), "those that failed are avoided as long as there are others");
    assert_eq!(gateway.stats().totals.retries, 3);
}

#[test]
fn a_request_that_an_instance_may_have_acted_on_is_not_sent_to_another() {
    let instances = [Instance::answering([Answer::Reset]), Instance::answering([Answer::Reset])];
    let gateway = Gateway::start(&unbounded(Plan::to(&instances)));
    assert_eq!(gateway.ask(with_body("POST", "hello")).refusal(), "502 bad_gateway");
    assert_eq!(instances.iter().map(|instance| instance.requests().len()).sum::<usize>(), 1);
    assert_eq!(gateway.stats().totals.retries, 0);
}

#[test]
fn a_route_may_ask_for_what_is_otherwise_not_sent_again() {
    let instance = Instance::answering([Answer::Reset, Answer::bytes(OK)]);
    let gateway = Gateway::start(&Plan::to([&instance]).with_route(json!({"retry_on": ["reset"]})));
    assert_eq!(gateway.ask(with_body("POST", "hello")).text(), "ok");
    assert_eq!(instance.requests().len(), 2);
    assert_eq!(gateway.stats().totals.retries, 1);
}

#[test]
fn a_body_up_to_64_kilobytes_is_sent_again_from_memory() {
    let (failing, instance) = (Instance::answering([Answer::Reset]), Instance::ok());
    let gateway = Gateway::start(&unbounded(Plan::to([&failing, &instance])));
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
        gateway.ask(format!("PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).text(),
        "ok"
    );
    let seen: Vec<_> = instance.requests().into_iter().map(|request| (request.text(), request.trailers)).collect();
    let whole = ("hello world".to_owned(), vec![("x-sum".to_owned(), "1".to_owned())]);
    assert_eq!(seen, [whole.clone(), whole]);
}

#[test]
fn a_body_that_is_too_large_to_be_kept_is_sent_once() {
    let instances = [Instance::answering([Answer::Reset]), Instance::answering([Answer::Reset])];
    let gateway = Gateway::start(&unbounded(Plan::to(&instances)));
    assert_eq!(gateway.ask(with_body("PUT", &"x".repeat(70_000))).refusal(), "502 bad_gateway");
    assert_eq!(instances.iter().map(|instance| instance.requests().len()).sum::<usize>(), 1);
}

#[test]
fn retries_of_a_service_are_bounded_over_all_its_requests() {
    let instance = Instance::answering([Answer::bytes(UNAVAILABLE)]);
    let plan = Plan::to([&instance]).with_route(json!({"retries": 1}));
    // Two requests earn one retry, and the next two another.
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
    assert_eq!(gateway.ask(GET).status(), 503);
    assert_eq!(instance.requests().len(), 1);
    let (nobody, other) = (Nobody::bind(), Nobody::bind());
    let gateway = Gateway::start(&Plan::to_urls([nobody.url(), other.url()]).with_route(json!({"retries": 0})));
    assert_eq!(gateway.ask(GET).refusal(), "502 connect_failed");
    assert_eq!(gateway.stats().totals.retries, 0);
}
