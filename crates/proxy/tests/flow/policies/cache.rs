//! The response cache: hits, fetches, revalidation and purges, with a clock that the tests advance.

use std::time::Duration;

use pylae_core::cache::Purge;
use serde_json::{Value, json};

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance};
use crate::support::message::Message;
use crate::support::peer::Peer;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const STEP: Duration = Duration::from_secs(1000);

fn plan(instance: &Instance, settings: &Value) -> Plan {
    let mut cache = json!({
        "ttl": 1500.0, "error_ttl": 0.0, "heuristic": 0.0, "override": false, "per_user": false, "vary": [],
        "normalize": [], "max_entry": 100_000, "stale_while_revalidate": 0.0, "stale_if_error": 0.0, "wait": 3600.0,
        "client_directives": true, "ignore_cookies": false, "set_cookie": "bypass", "cache_status": true, "tags": ["t"],
    });
    cache.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    Plan::to([instance]).with_route(json!({"retries": 0, "policies": {"cache": cache}}))
}

fn answer(text: &str, fields: &str) -> Answer {
    Answer::bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n{text}", text.len()))
}

/// The body, and Cache-Status without the remaining lifetime.
fn cache_result(answer: &Message) -> (String, String) {
    let status = answer.single("cache-status").unwrap_or_default();
    (answer.text(), status.split("; ttl=").next().unwrap_or_default().to_owned())
}

fn pair(text: &str, status: &str) -> (String, String) {
    (text.to_owned(), status.to_owned())
}

/// Checks the age of a response, which may be a little higher.
fn assert_age(answer: &Message, age: u64) {
    let found: u64 = answer.single("age").expect("an age").parse().unwrap();
    assert!((age..age + 100).contains(&found), "{found} instead of {age}");
}

#[test]
fn a_response_is_served_from_the_cache_with_its_age_until_it_is_stale() {
    let instance = Instance::answering([answer("one", "X-A: 1\r\n"), answer("two", "")]);
    let gateway = Gateway::alone(&plan(&instance, &json!({})));
    let first = gateway.fetch(GET);
    assert_eq!(cache_result(&first), pair("one", "pylae; fwd=uri-miss"));
    assert_eq!(first.single("age"), None);
    gateway.advance(STEP);
    let again = gateway.fetch(GET);
    assert_eq!((cache_result(&again), again.single("x-a")), (pair("one", "pylae; hit"), Some("1")));
    assert_age(&again, 1000);
    assert_eq!(instance.requests().len(), 1);
    // HEAD gets the same head and no body.
    let mut client = gateway.connect();
    client.send(format!("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n{GET}"));
    let head = client.read_head();
    assert_eq!((head.status(), head.single("content-length"), head.single("x-a")), (200, Some("3"), Some("1")));
    assert_eq!(client.read_answer().text(), "one");
    gateway.advance(STEP);
    assert_eq!(cache_result(&gateway.fetch(GET)), pair("two", "pylae; fwd=stale"));
    assert_eq!(instance.requests().len(), 2);
    let cache = gateway.counted().cache;
    assert_eq!((cache.miss, cache.hit, cache.stale, cache.bypass), (2, 3, 0, 0));
}

#[test]
fn a_response_that_the_client_has_already_is_304() {
    let instance = Instance::answering([answer("one", "ETag: \"1\"\r\n")]);
    let gateway = Gateway::start(&plan(&instance, &json!({})));
    assert_eq!(gateway.fetch(GET).text(), "one");
    for (etag, status) in [("\"1\"", 304), ("\"2\"", 200), ("W/\"1\"", 304)] {
        let answer = gateway.fetch(format!("GET /x HTTP/1.1\r\nHost: a\r\nIf-None-Match: {etag}\r\n\r\n"));
        assert_eq!((answer.status(), answer.single("etag")), (status, Some("\"1\"")), "{etag}");
    }
    assert_eq!(instance.requests().len(), 1);
}

#[test]
fn a_stale_response_is_served_at_once_and_revalidated_in_the_background() {
    let instance = Instance::manual();
    let gateway = Gateway::alone(&plan(&instance, &json!({"stale_while_revalidate": 3600.0})));
    let mut client = gateway.connect();
    client.send(GET);
    let mut server = instance.accept();
    server.read_request();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    assert_eq!(client.read_answer().text(), "one");
    // Its connection is idle by now and will be for too long.
    gateway.logged(1);
    gateway.advance(2 * STEP);
    client.send(GET);
    let stale = client.read_answer();
    assert_eq!(cache_result(&stale), pair("one", "pylae; hit"));
    assert_age(&stale, 2000);
    // A fetch is in progress, so other requests do not start another.
    let mut behind = instance.accept();
    let request = behind.read_request();
    assert_eq!((request.target(), request.all("x-forwarded-for")), ("/x", vec!["127.0.0.1"]));
    client.send(GET);
    assert_eq!(cache_result(&client.read_answer()), pair("one", "pylae; hit"));
    behind.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
    wait_until(|| gateway.fetch(GET).text() == "two");
    assert_eq!(instance.connections(), 2);
    assert!(!behind.is_ready());
}

#[test]
fn a_stale_response_replaces_a_failure_for_as_long_as_the_route_allows() {
    let failure = Answer::bytes("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nfail");
    let instance = Instance::answering([answer("one", ""), failure.clone(), Answer::Reset, failure]);
    let gateway = Gateway::alone(&plan(&instance, &json!({"stale_if_error": 3600.0})));
    assert_eq!(gateway.fetch(GET).text(), "one");
    gateway.advance(2 * STEP);
    for _ in 0..2 {
        let stale = gateway.fetch(GET);
        assert_eq!((stale.status(), &*stale.text()), (200, "one"));
        assert_age(&stale, 2000);
    }
    assert_eq!(instance.requests().len(), 3, "it was asked each time");
    gateway.advance(4 * STEP);
    let failed = gateway.fetch(GET);
    assert_eq!((failed.status(), &*failed.text()), (503, "fail"));
    assert_eq!(gateway.counted().cache.stale, 2);
}

#[test]
fn a_304_updates_the_stored_response_with_its_fields() {
    let renewed = "HTTP/1.1 304 Same\r\nETag: \"1\"\r\nX-B: new\r\nCache-Control: max-age=5000\r\n\r\n";
    let first = answer("one", "ETag: \"1\"\r\nX-A: old\r\nX-B: old\r\n");
    let instance = Instance::answering([first, Answer::bytes(renewed)]);
    let gateway = Gateway::alone(&plan(&instance, &json!({})));
    gateway.fetch(GET);
    gateway.advance(2 * STEP);
    let answer = gateway.fetch(GET);
    assert_eq!(instance.requests()[1].single("if-none-match"), Some("\"1\""));
    assert_eq!((answer.status(), &*answer.text()), (200, "one"));
    assert_eq!((answer.single("x-a"), answer.single("x-b")), (Some("old"), Some("new")));
    // The revalidated response is fresh again, so no request for a long time.
    gateway.advance(4 * STEP);
    let again = gateway.fetch(GET);
    assert_eq!(cache_result(&again), pair("one", "pylae; hit"));
    assert_age(&again, 4000);
    assert_eq!(instance.requests().len(), 2);
    assert_eq!(gateway.counted().cache.revalidated, 1);
}

#[test]
fn concurrent_requests_for_one_response_share_a_fetch() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&plan(&instance, &json!({})));
    let mut clients: Vec<Peer> = (0..10).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    let mut server = instance.accept();
    server.read_request();
    wait_until(|| gateway.stats().totals.in_flight == 10);
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    for client in &mut clients {
        assert_eq!(client.read_answer().text(), "one");
    }
    assert_eq!(instance.connections(), 1);
    assert!(!server.is_ready());
    let cache = gateway.counted().cache;
    assert_eq!((cache.hit, cache.miss), (9, 1));
}

#[test]
fn requests_that_wait_for_a_fetch_proceed_when_its_client_disconnects() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&plan(&instance, &json!({})));
    let mut leader = gateway.connect();
    leader.send(GET);
    let mut first = instance.accept();
    first.read_request();
    let mut others = [gateway.connect(), gateway.connect()];
    for client in &mut others {
        client.send(GET);
    }
    wait_until(|| gateway.stats().totals.in_flight == 3);
    leader.reset();
    assert!(first.is_closed());
    let mut second = instance.accept();
    second.read_request();
    second.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    for client in &mut others {
        assert_eq!(client.read_answer().text(), "one");
    }
    assert_eq!(instance.connections(), 2, "one of them took over");
}

#[test]
fn a_successful_unsafe_request_invalidates_the_stored_response() {
    let refused = Answer::bytes("HTTP/1.1 409 No\r\nContent-Length: 0\r\n\r\n");
    let changed = Answer::bytes("HTTP/1.1 204 Done\r\n\r\n");
    let instance = Instance::answering([answer("one", ""), answer("other", ""), refused, changed, answer("two", "")]);
    let gateway = Gateway::start(&plan(&instance, &json!({})));
    let other = GET.replace("/x", "/other");
    assert_eq!(gateway.fetch(GET).text(), "one");
    assert_eq!(gateway.fetch(&other).text(), "other");
    let delete = "DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(gateway.fetch(delete).status(), 409);
    assert_eq!(gateway.fetch(GET).text(), "one");
    assert_eq!(gateway.fetch(delete).status(), 204);
    assert_eq!(gateway.fetch(GET).text(), "two");
    assert_eq!(gateway.fetch(&other).text(), "other");
    assert_eq!(instance.requests().len(), 5);
}

#[test]
fn a_purged_response_is_fetched_again() {
    let instance = Instance::answering(["one", "two", "three", "four", "five"].map(|text| answer(text, "")));
    let gateway = Gateway::start(&plan(&instance, &json!({})));
    let fetch = |path: &str| gateway.fetch(GET.replace("/x", path)).text();
    let purge = |purge: Value| {
        let purge: Purge = serde_json::from_value(purge).unwrap();
        gateway.purge_cache(purge).unwrap()
    };
    assert_eq!((fetch("/a/1"), fetch("/b"), fetch("/a/1")), ("one".into(), "two".into(), "one".into()));
    // An incomplete response is not stored yet.
    gateway.logged(3);
    assert_eq!(gateway.stats().cache.unwrap().entries, 2);
    assert_eq!(purge(json!({"prefix": {"path": "/a"}})), 1);
    assert_eq!((fetch("/a/1"), fetch("/b")), ("three".into(), "two".into()));
    gateway.logged(5);
    assert_eq!(purge(json!({"tag": "t"})), 2);
    assert_eq!((fetch("/a/1"), fetch("/b")), ("four".into(), "five".into()));
    gateway.logged(7);
    assert_eq!(purge(json!({"service": "other"})), 0);
    assert_eq!(purge(json!("all")), 2);
    assert_eq!(gateway.stats().cache.unwrap().entries, 0);
}
