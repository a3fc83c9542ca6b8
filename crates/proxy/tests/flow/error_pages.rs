//! Error pages in place of the gateway's own error bodies.

use std::sync::Arc;

use http::Request;
use pylae_core::Rejection;
use pylae_core::hook::Step;
use serde_json::{Value, json};

use crate::support::clock::ClockLock;
use crate::support::gateway::Gateway;
use crate::support::hooks::{Fake, policy};
use crate::support::http2;
use crate::support::instance::{Answer as Sent, Instance};
use crate::support::message::Message;
use crate::support::plan::Plan;

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";

fn pages() -> Value {
    json!({
        "404": {"html": [{"text": "<p>"}, {"value": "path"}, {"text": "</p>"}], "json": [{"text": "{\"is\": 404}"}]},
        "4xx": {"html": [{"value": "status"}, {"text": " "}, {"value": "code"}], "json": null},
        "5xx": {"html": [{"value": "title"}], "json": null},
        "default": {"html": null, "json": [{"text": "{\"code\": \""}, {"value": "code"}, {"text": "\"}"}]},
    })
}

/// One route, `/a`, whose own page for 405 goes before that of the gateway.
fn plan(instance: &Instance) -> Plan {
    let exact = json!({"kind": "exact", "value": "/a"});
    let own = json!({"5xx": {"html": [{"text": "of the route"}], "json": null}});
    let route = json!({"match": {"path": exact, "methods": ["GET"]}, "errors": own});
    Plan::to([instance]).with(json!({"errors": pages()})).with_route(route)
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// Status, media type, body.
fn seen(answer: &Message) -> (u16, String, String) {
    assert_eq!(answer.single("vary"), Some("Accept"), "{answer:?}");
    assert_eq!(answer.single("cache-control"), Some("no-store"));
    assert_eq!(answer.single("content-length"), Some(&*answer.body.len().to_string()));
    assert!(answer.has("x-request-id"));
    (answer.status(), answer.single("content-type").unwrap().to_owned(), answer.text())
}

fn expected(status: u16, media_type: &str, body: &str) -> (u16, String, String) {
    (status, media_type.to_owned(), body.to_owned())
}

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

#[test]
fn an_error_has_the_most_precise_page_that_the_client_accepts() {
    let instance = Instance::answering([Sent::Reset, Sent::Reset, Sent::Reset, Sent::Reset]);
    let gateway = Gateway::start(&plan(&instance));
    let fetch = |request: &str| seen(&gateway.fetch(request));
    assert_eq!(fetch(&get("/x", BROWSER)), expected(404, HTML, "<p>/x</p>"));
    assert_eq!(fetch(&get("/x", "")), expected(404, JSON, "{\"is\": 404}"));
    let put = get("/a", BROWSER).replace("GET", "PUT");
    let answer = gateway.fetch(&put);
    assert_eq!(answer.single("allow"), Some("GET, HEAD"));
    assert_eq!(seen(&answer), expected(405, HTML, "405 method_not_allowed"));
    assert_eq!(fetch(&get("/a", BROWSER).replace("GET", "PUT").replace("text/html", "text/none")).1, JSON);
    // The route's page has no JSON, so that the gateway's counts.
    assert_eq!(fetch(&get("/a", BROWSER)), expected(502, HTML, "of the route"));
    assert_eq!(fetch(&get("/a", "Accept: application/json\r\n")), expected(502, JSON, "{\"code\": \"bad_gateway\"}"));
}

#[test]
fn what_is_no_request_gets_pages_too() {
    let gateway = Gateway::start(&plan(&Instance::ok()));
    let fetch = |request: &str| {
        let answer = gateway.fetch(request);
        assert_eq!(answer.single("connection"), Some("close"));
        seen(&answer)
    };
    assert_eq!(fetch(&format!("GET / HTTP/1.1\r\n{BROWSER}\r\n")), expected(400, HTML, "400 malformed_request"));
    assert_eq!(fetch(&get("/%00", BROWSER)), expected(400, HTML, "400 malformed_target"));
    assert_eq!(fetch(&get("/", "Expect: x\r\n")), expected(417, JSON, "{\"code\": \"expectation_failed\"}"));
    // Where the head breaks off nothing is known of what the client accepts.
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n{BROWSER}\r\n", "x".repeat(10_000));
    assert_eq!(fetch(&long), expected(414, JSON, "{\"code\": \"target_too_long\"}"));
}

#[test]
fn without_pages_for_a_status_nothing_changes() {
    let instance = Instance::ok();
    let only = json!({"errors": {"503": {"html": [{"text": "away"}], "json": null}}});
    let gateway = Gateway::start(&Plan::to([&instance]).with(only).with_route(json!({"match": {"methods": ["GET"]}})));
    let answer = gateway.fetch(get("/", BROWSER).replace("GET", "PUT"));
    assert_eq!((answer.refusal(), answer.has("vary")), ("405 method_not_allowed".to_owned(), false));
    gateway.set_draining("all", &instance.url(), true).unwrap();
    let answer = gateway.fetch(get("/", BROWSER));
    assert_eq!(answer.single("retry-after"), Some("1"));
    assert_eq!(seen(&answer), expected(503, HTML, "away"));
    // There is no page of JSON, and so the body is the gateway's own.
    let answer = gateway.fetch(get("/", ""));
    assert_eq!((answer.refusal(), answer.single("vary")), ("503 service_unavailable".to_owned(), Some("Accept")));
}

#[test]
fn answers_of_instances_are_left_alone() {
    let instance = Instance::answering([Sent::bytes("HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nmine")]);
    let gateway = Gateway::start(&plan(&instance));
    let answer = gateway.fetch(get("/a", BROWSER));
    assert_eq!((answer.status(), &*answer.text(), answer.has("vary")), (404, "mine", false));
}

#[test]
fn head_has_the_same_head_without_a_body() {
    let gateway = Gateway::start(&plan(&Instance::ok()));
    let mut client = gateway.connect();
    let same = |mut answer: Message| {
        answer.fields.retain(|(name, _)| name != "x-request-id" && name != "date");
        (answer.start, answer.fields)
    };
    client.send(get("/x", BROWSER).replace("GET", "HEAD"));
    let head = same(client.read_head());
    client.send(get("/x", BROWSER));
    assert_eq!(same(client.read_answer()), head);
}

#[test]
fn streams_get_pages_and_calls_of_grpc_do_not() {
    let listener = json!({"address": "127.0.0.1:0", "tls": null, "http2": true, "proxy_protocol": null});
    let gateway = Gateway::start(&plan(&Instance::ok()).with(json!({"listeners": [listener]})));
    let mut client = http2::Client::connect(gateway.address);
    let request = |content_type: &str| {
        let request = Request::builder().method("POST").uri("http://shop.test/x").header("accept", "text/html");
        request.header("content-type", content_type).header("te", "trailers").body(()).unwrap()
    };
    let awaited = client.send(request("text/plain"), "");
    let answer = client.read(awaited);
    assert_eq!((answer.status().as_u16(), &**answer.body()), (404, "<p>/x</p>"));
    assert_eq!(answer.headers()["content-type"], HTML);
    assert_eq!(answer.headers()["vary"], "Accept");
    let awaited = client.send(request("application/grpc"), "");
    let answer = client.read(awaited);
    assert_eq!((answer.status().as_u16(), &**answer.body()), (200, ""));
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    assert_eq!(answer.headers()["grpc-status"], "12");
    assert!(!answer.headers().contains_key("vary"));
}

#[test]
fn a_hook_that_refuses_gets_a_page_and_one_that_answers_replaces_it() {
    let instance = Instance::ok();
    let hooks = Fake {
        on_request: Box::new(|exchange| {
            if exchange.request.target.path != b"/refused" {
                return Step::Continue;
            }
            let message = "\"no\"".into();
            Step::Reject(Box::new(Rejection { status: 418, code: "tea", message, headers: Vec::new() }))
        }),
        on_response: Some(Box::new(|exchange| {
            if exchange.request.target.path == b"/replaced" {
                let visit = exchange.hook_visit();
                (visit.response_body, visit.body_set) = (Some(Arc::from(&b"by hook"[..])), true);
            }
        })),
        ..Fake::default()
    };
    let plan = plan(&instance).with(json!({"early": policy()}));
    let gateway = Gateway::start_with(&plan, ClockLock::shared(), hooks.source());
    assert_eq!(seen(&gateway.fetch(get("/refused", BROWSER))), expected(418, HTML, "418 tea"));
    assert_eq!(seen(&gateway.fetch(get("/replaced", BROWSER))), expected(404, HTML, "by hook"));
}
