//! The trace context of requests to instances (W3C Trace Context), with a collector that is not there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK, RefusingAddress};
use crate::support::message::Message;
use crate::support::plan::Plan;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Traces that go nowhere; `settings` override the defaults.
fn traced(plan: Plan, settings: &Value) -> Plan {
    let collector = json!({
        "endpoint": format!("{}/v1/traces", RefusingAddress::bind().url()), "protocol": "http", "headers": [],
        "compression": "none", "ca": null, "timeout": 1.0,
    });
    let traces = json!({"collector": collector, "ratio": 1.0, "parent": "follow", "routes": {}, "keep": null});
    let telemetry = json!({"service_name": "t", "attributes": {}, "traces": traces, "metrics": null, "logs": null});
    plan.with(json!({"telemetry": telemetry})).with(json!({"telemetry": {"traces": settings}}))
}

fn get(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn sent(flags: &str) -> String {
    get(&format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n"))
}

/// Trace id, parent id and flags of a request.
fn context(request: &Message) -> [String; 3] {
    let lines = request.all("traceparent");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let parts: Vec<&str> = lines[0].split('-').collect();
    assert_eq!((parts.len(), parts[0], lines[0].len()), (4, "00", 55), "{lines:?}");
    [1, 2, 3].map(|part| parts[part].to_owned())
}

#[test]
fn attempts_and_copies_have_parent_ids_of_their_own() {
    let failure = Answer::bytes("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let (instance, copy) = (Instance::answering([failure, Answer::bytes(OK)]), Instance::ok());
    let mirror = json!({"service": "copy", "share": 1.0, "max_body": 100, "max_in_flight": 3, "timeout": 3600.0});
    let plan = Plan::to([&instance])
        .service("copy", [copy.url()], json!({}))
        .with_route(json!({"policies": {"mirror": mirror}}));
    let gateway = Gateway::start(&traced(plan, &json!({})));
    assert_eq!(gateway.fetch(sent("01")).status(), 200);
    wait_until(|| copy.requests().len() == 1);
    let contexts: Vec<_> = instance.requests().iter().chain(&copy.requests()).map(context).collect();
    assert_eq!(contexts.len(), 3);
    assert!(contexts.iter().all(|[trace, parent, flags]| trace == TRACE && parent != PARENT && flags == "01"));
    assert_eq!(contexts.iter().map(|[_, parent, _]| parent).collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn the_decision_is_that_of_the_parent_or_of_the_route() {
    for (settings, request, flags) in [
        (json!({}), sent("01"), "01"),
        (json!({}), sent("00"), "00"),
        (json!({}), sent("02"), "02"),
        (json!({}), get(""), "03"),
        (json!({"ratio": 0.0}), get(""), "02"),
        (json!({"ratio": 0.0, "routes": {"all": 1.0}}), get(""), "03"),
        (json!({"ratio": 1.0, "routes": {"all": 0.0}}), get(""), "02"),
        (json!({"ratio": 0.0, "routes": {"all": 1.0}}), sent("00"), "00"),
        (json!({"ratio": 0.0, "parent": "ignore"}), sent("01"), "00"),
        (json!({"ratio": 1.0, "parent": "ignore"}), sent("00"), "01"),
        (json!({"ratio": 0.0, "keep": {"errors": true, "slower_than": null}}), get(""), "02"),
    ] {
        let instance = Instance::ok();
        let gateway = Gateway::start(&traced(Plan::to([&instance]), &settings));
        assert_eq!(gateway.fetch(&request).status(), 200);
        assert_eq!(context(&instance.request())[2], flags, "{settings} {request}");
    }
}

#[test]
fn tracestate_goes_with_a_valid_parent_only() {
    let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    for (fields, kept) in [
        (format!("{parent}tracestate: a=1\r\ntracestate: b=2\r\n"), vec!["a=1", "b=2"]),
        (format!("{parent}tracestate: a=1,a=2\r\n"), vec![]),
        (format!("{parent}tracestate:\r\n"), vec![]),
        ("tracestate: a=1\r\n".to_owned(), vec![]),
        (format!("{parent}{parent}tracestate: a=1\r\n"), vec![]),
    ] {
        let instance = Instance::ok();
        let gateway = Gateway::start(&traced(Plan::to([&instance]), &json!({})));
        assert_eq!(gateway.fetch(get(&fields)).status(), 200);
        assert_eq!(instance.request().all("tracestate"), kept, "{fields}");
        assert_eq!(context(&instance.request())[0] == TRACE, fields.matches("traceparent").count() == 1);
    }
}

#[test]
fn a_reload_switches_traces_off_and_fields_pass_again() {
    let instance = Instance::answering([Answer::bytes(OK), Answer::bytes(OK)]);
    let gateway = Gateway::start(&traced(Plan::to([&instance]), &json!({})));
    assert_eq!(gateway.fetch(get("traceparent: any\r\n")).status(), 200);
    gateway.apply(&Plan::to([&instance]));
    assert_eq!(gateway.fetch(get("traceparent: any\r\n")).status(), 200);
    assert_ne!(instance.requests()[0].single("traceparent"), Some("any"));
    assert_eq!(instance.requests()[1].single("traceparent"), Some("any"));
}
