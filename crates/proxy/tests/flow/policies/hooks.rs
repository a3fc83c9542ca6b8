//! Hooks as the data plane sees them, implemented by functions of the test.

use std::sync::Arc;
use std::time::Duration;

use pylae_core::hook::Step;
use pylae_core::{Answer, Rejection};
use pylae_http::Name;
use serde_json::json;

use crate::support::clock::{ClockLock, wait_until};
use crate::support::gateway::Gateway;
use crate::support::hooks::{Fake, OffWorker, policy};
use crate::support::instance::Instance;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

fn plan(instance: &Instance) -> Plan {
    Plan::to([instance]).with_route(json!({"policies": policy()}))
}

fn start(instance: &Instance, hooks: Fake) -> Gateway {
    Gateway::start_with(&plan(instance), ClockLock::shared(), hooks.source())
}

fn rejection(code: &'static str) -> Step {
    Step::Reject(Box::new(Rejection { status: 500, code, message: "a hook failed".into(), headers: Vec::new() }))
}

#[test]
fn a_hook_that_answers_ends_the_exchange_before_any_instance_is_asked() {
    let instance = Instance::ok();
    let answer = |exchange: &mut pylae_core::Exchange| {
        let body = Arc::from(&exchange.request.target.path[..]);
        Step::Answer(Box::new(Answer { status: 418, headers: vec![("X-A".into(), b"1".to_vec())], body }))
    };
    let gateway = start(&instance, Fake { on_request: Box::new(answer), ..Fake::default() });
    let mut client = gateway.connect();
    for path in ["/one", "/two"] {
        client.send(GET.replace("/x", path));
        let answer = client.read_answer();
        assert_eq!((answer.status(), answer.single("x-a"), &*answer.text()), (418, Some("1"), path));
    }
    assert_eq!(instance.connections(), 0);
    assert_eq!(gateway.logged(2)[0]["code"], json!(null), "an answer is no failure");
}

#[test]
fn a_hook_that_fails_ends_the_exchange_with_its_code() {
    let instance = Instance::ok();
    let gateway = start(&instance, Fake { on_request: Box::new(|_| rejection("hook_failed")), ..Fake::default() });
    assert_eq!(gateway.fetch(GET).refusal(), "500 hook_failed");
    assert_eq!(instance.connections(), 0);
}

#[test]
fn hooks_change_requests_and_responses() {
    let instance = Instance::ok();
    let hooks = Fake {
        on_request: Box::new(|exchange| {
            exchange.request.edits.set_known(Name::UserAgent, b"hook").unwrap();
            exchange.request.forward_path = b"/changed".to_vec();
            Step::Continue
        }),
        on_response: Some(Box::new(|exchange| {
            exchange.response.edits.append(b"X-Seen", exchange.response.status.to_string().as_bytes()).unwrap();
            exchange.response.status = 202;
        })),
        ..Fake::default()
    };
    let gateway = start(&instance, hooks);
    let answer = gateway.fetch("GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: client\r\n\r\n");
    assert_eq!((answer.status(), answer.single("x-seen"), &*answer.text()), (202, Some("200"), "ok"));
    assert_eq!((instance.request().target(), instance.request().single("user-agent")), ("/changed", Some("hook")));
}

#[test]
fn hooks_see_the_gateways_own_responses_if_the_request_reached_them() {
    let instance = Instance::ok();
    let seen = Fake {
        on_response: Some(Box::new(|exchange| exchange.response.edits.append(b"X-Seen", b"1").unwrap())),
        ..Fake::default()
    };
    let mut policies = policy();
    policies["ip_access"] = json!({"allow": [], "deny": ["127.0.0.1/32"]});
    let barred =
        json!({"service": "all", "match": {"path": {"kind": "exact", "value": "/barred"}}, "policies": policies});
    let methods = json!({"match": {"methods": ["GET"]}});
    let plan = plan(&instance).with_route(methods).route("barred", barred);
    let gateway = Gateway::start_with(&plan, ClockLock::shared(), seen.source());
    gateway.set_draining("all", &instance.url(), true).unwrap();
    let fetch = |request: &str| {
        let answer = gateway.fetch(request);
        (answer.refusal(), answer.has("x-seen"))
    };
    assert_eq!(fetch(GET), ("503 service_unavailable".to_owned(), true));
    assert_eq!(fetch(&GET.replace("/x", "/barred")), ("403 address_refused".to_owned(), false));
    assert_eq!(fetch(&GET.replace("GET", "PURGE")), ("405 method_not_allowed".to_owned(), false));
}

#[test]
fn an_exchange_continues_when_its_hook_off_the_worker_is_done() {
    let (instance, work) = (Instance::ok(), OffWorker::default());
    let begun = work.clone();
    let hooks = Fake {
        on_request: Box::new(move |_| begun.step(Duration::from_secs(3600))),
        resume: Box::new(|exchange, in_time| {
            exchange.request.edits.append(b"X-In-Time", in_time.to_string().as_bytes()).unwrap();
            Step::Continue
        }),
        ..Fake::default()
    };
    let gateway = start(&instance, hooks);
    let mut clients = [gateway.connect(), gateway.connect()];
    for client in &mut clients {
        client.send(GET);
    }
    wait_until(|| work.in_progress() == 2);
    // Only their own clients wait for them.
    let mut refused = gateway.connect();
    refused.send("GET /x HTTP/1.1\r\n\r\n");
    assert_eq!(refused.read_answer().status(), 400);
    assert_eq!(instance.connections(), 0);
    work.finish();
    work.finish();
    for client in &mut clients {
        assert_eq!(client.read_answer().text(), "ok");
    }
    assert!(instance.requests().iter().all(|request| request.single("x-in-time") == Some("true")));
    assert_eq!((instance.requests().len(), work.abandoned()), (2, 0));
}

#[test]
fn a_hook_that_times_out_decides_what_that_means() {
    let (instance, work) = (Instance::ok(), OffWorker::default());
    let begun = work.clone();
    let hooks = Fake {
        on_request: Box::new(move |_| begun.step(Duration::from_secs(5))),
        resume: Box::new(|_, in_time| if in_time { Step::Continue } else { rejection("hook_timeout") }),
        ..Fake::default()
    };
    let gateway = Gateway::start_with(&plan(&instance), ClockLock::alone(), hooks.source());
    let mut client = gateway.connect();
    client.send(GET);
    wait_until(|| work.in_progress() == 1);
    gateway.advance_until(Duration::from_secs(2), || client.is_ready());
    assert_eq!(client.read_answer().refusal(), "500 hook_timeout");
    assert_eq!((work.abandoned(), instance.connections()), (1, 0));
}

#[test]
fn a_hook_is_abandoned_when_its_client_disconnects() {
    let (instance, work) = (Instance::ok(), OffWorker::default());
    let begun = work.clone();
    let step = move |_: &mut _| begun.step(Duration::from_secs(3600));
    let gateway = start(&instance, Fake { on_request: Box::new(step), ..Fake::default() });
    let mut client = gateway.connect();
    client.send(GET);
    wait_until(|| work.in_progress() == 1);
    client.reset();
    wait_until(|| work.abandoned() == 1);
    let expected = json!({"status": 499, "code": "client_gone"});
    assert_eq!(gateway.logged_once(&["status", "code"]), expected);
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_hook_may_choose_another_service() {
    let (instance, other) = (Instance::ok(), Instance::ok());
    let hooks = Fake {
        on_request: Box::new(|exchange| {
            let name = if exchange.request.target.path == b"/other" { "other" } else { "nowhere" };
            exchange.hook_visit().service = Some(name.into());
            Step::Continue
        }),
        ..Fake::default()
    };
    let plan = plan(&instance).service("other", [other.url()], json!({}));
    let gateway = Gateway::start_with(&plan, ClockLock::shared(), hooks.source());
    assert_eq!(gateway.fetch(GET.replace("/x", "/other")).text(), "ok");
    assert_eq!(gateway.fetch(GET).refusal(), "500 no_service");
    assert_eq!((instance.connections(), other.requests().len()), (0, 1));
}
