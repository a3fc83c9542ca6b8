//! Mirroring of requests to another service.

use pylae_proxy::Drain;
use serde_json::{Value, json};

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, RefusingAddress};
use crate::support::plan::Plan;

const POST: &str = "POST /x?y=1 HTTP/1.1\r\nHost: a\r\nX-Request-ID: one\r\nContent-Length: 5\r\n\r\nhello";

/// A plan that mirrors all requests to `url`.
fn plan(instance: &Instance, url: String, settings: &Value) -> Plan {
    let mut mirror = json!({"service": "copy", "share": 1.0, "max_body": 100, "max_in_flight": 3, "timeout": 3600.0});
    mirror.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    Plan::to([instance]).service("copy", [url], json!({})).with_route(json!({"policies": {"mirror": mirror}}))
}

#[test]
fn a_mirrored_request_has_the_body_and_its_response_is_discarded() {
    let instance = Instance::ok();
    let copy = Instance::answering([Answer::bytes("HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nbad")]);
    let gateway = Gateway::start(&plan(&instance, copy.url(), &json!({})));
    assert_eq!(gateway.fetch(POST).text(), "ok");
    wait_until(|| copy.requests().len() == 1);
    assert_eq!(copy.request(), instance.request());
    assert_eq!((&*copy.request().start, &*copy.request().text()), ("POST /x?y=1 HTTP/1.1", "hello"));
    let totals = gateway.counted();
    assert_eq!((totals.mirrored, totals.mirrors_dropped), (1, 0));
    assert_eq!(totals.by_class, [0, 1, 0, 0, 0], "a copy is no exchange");
    let stats = gateway.stats();
    let service = stats.services.iter().find(|service| &*service.name == "copy").unwrap();
    assert_eq!(service.instances[0].failures, 0, "what a copy is answered says nothing");
}

#[test]
fn a_chunked_body_is_copied_with_its_length() {
    let (instance, copy) = (Instance::ok(), Instance::ok());
    let gateway = Gateway::start(&plan(&instance, copy.url(), &json!({})));
    let chunked = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    assert_eq!(gateway.fetch(chunked).text(), "ok");
    wait_until(|| copy.requests().len() == 1);
    let request = copy.request();
    assert_eq!((request.single("content-length"), request.single("transfer-encoding")), (Some("5"), None));
    assert_eq!(request.text(), "hello");
}

#[test]
fn failures_of_mirrored_requests_do_not_affect_clients() {
    let refusing = RefusingAddress::bind();
    let reset = Instance::answering([Answer::Reset]);
    for url in [refusing.url(), reset.url()] {
        let instance = Instance::ok();
        let gateway = Gateway::start(&plan(&instance, url, &json!({})));
        let mut client = gateway.connect();
        for _ in 0..3 {
            client.send(POST);
            assert_eq!(client.read_answer().text(), "ok");
        }
        // The copy is sent once the response was sent.
        wait_until(|| gateway.stats().totals.mirrored == 3);
        assert_eq!(gateway.stats().totals.mirrors_dropped, 0);
        assert_eq!(instance.requests().len(), 3);
    }
}

#[test]
fn unanswered_mirrored_requests_are_bounded_and_delay_nothing() {
    let (instance, copy) = (Instance::ok(), Instance::manual());
    let gateway = Gateway::start(&plan(&instance, copy.url(), &json!({"max_in_flight": 2})));
    let mut client = gateway.connect();
    for _ in 0..4 {
        client.send(POST);
        assert_eq!(client.read_answer().text(), "ok");
    }
    let (mut first, mut second) = (copy.accept(), copy.accept());
    assert_eq!([first.read_request().text(), second.read_request().text()], ["hello", "hello"]);
    wait_until(|| gateway.stats().totals.mirrors_dropped == 2);
    assert_eq!((gateway.stats().totals.mirrored, copy.connections()), (2, 2));
    // They do not delay the stop either.
    client.close();
    gateway.stop(Drain::Within);
    assert!(first.is_closed());
}

#[test]
fn a_request_whose_body_is_too_long_or_whose_client_got_no_answer_of_an_instance_is_not_copied() {
    let (instance, copy) = (Instance::ok(), Instance::ok());
    let plan = plan(&instance, copy.url(), &json!({"max_body": 4}));
    let nothing = json!({"status": 200, "content_type": "text/plain", "headers": {}, "body": "own"});
    let gateway = Gateway::start(&plan.route(
        "own",
        json!({
            "service": null, "match": {"path": {"kind": "exact", "value": "/own"}},
            "policies": {"static_response": nothing}
        }),
    ));
    assert_eq!(gateway.fetch(POST).text(), "ok");
    assert_eq!(gateway.fetch("GET /own HTTP/1.1\r\nHost: a\r\n\r\n").text(), "own");
    assert_eq!(gateway.fetch("GET /copied HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
    wait_until(|| copy.requests().len() == 1);
    assert_eq!(copy.request().target(), "/copied");
    let totals = gateway.stats().totals;
    assert_eq!((totals.mirrored, totals.mirrors_dropped), (1, 1));
}
