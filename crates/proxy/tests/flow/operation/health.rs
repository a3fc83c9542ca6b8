//! Passive health (ejection, breaker) and active health checks.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK, RefusingAddress};
use crate::support::plan::Plan;
use crate::support::switch::Switch;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const FAILURE: &str = "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nfail";

fn ejecting(ejected: f64) -> Value {
    json!({"passive_health": {"failures": 2, "ejection": 1000.0, "max_ejection": 1000.0, "max_ejected": ejected}})
}

fn states(gateway: &Gateway) -> Vec<&'static str> {
    gateway.stats().services[0].instances.iter().map(|instance| instance.state).collect()
}

/// The first `count` records of the log behind those of the start.
fn messages(gateway: &Gateway, count: usize) -> Vec<String> {
    let mut records = Vec::new();
    wait_until(|| {
        records.extend(gateway.take_log().unwrap().into_iter().filter(|one| one.event != "bounds"));
        records.len() >= count
    });
    records.into_iter().map(|record| format!("{} {}", record.event, record.message)).collect()
}

#[test]
fn an_instance_that_fails_repeatedly_is_ejected_for_a_while() {
    let failing = Instance::answering([FAILURE.as_bytes(), FAILURE.as_bytes(), OK].map(Answer::bytes));
    let sound = Instance::ok();
    let gateway = Gateway::alone(&Plan::to([&failing, &sound]).with_service(ejecting(0.5)));
    let mut client = gateway.connect();
    let mut fetch = || {
        client.send(GET);
        client.read_answer().status()
    };
    assert_eq!([fetch(), fetch(), fetch()], [500, 200, 500]);
    assert_eq!(states(&gateway), ["ejected", "up"]);
    assert_eq!([(); 6].map(|()| fetch()), [200; 6]);
    assert_eq!((failing.requests().len(), sound.requests().len()), (2, 7));
    gateway.advance(Duration::from_secs(1000));
    assert_eq!([(); 4].map(|()| fetch()), [200; 4]);
    assert_eq!((failing.requests().len(), sound.requests().len()), (4, 9), "it has its share again");
    wait_until(|| states(&gateway) == ["up", "up"]);
}

#[test]
fn ejections_are_bounded_by_max_ejected() {
    let failing = [Instance::answering([Answer::bytes(FAILURE)]), Instance::answering([Answer::bytes(FAILURE)])];
    let gateway = Gateway::start(&Plan::to(&failing).with_service(ejecting(0.5)));
    for _ in 0..8 {
        assert_eq!(gateway.fetch(GET).text(), "fail");
    }
    let mut states = states(&gateway);
    states.sort_unstable();
    assert_eq!(states, ["ejected", "up"]);
}

#[test]
fn an_ejection_is_logged_with_its_reason() {
    let (refusing, sound) = (RefusingAddress::bind(), Instance::ok());
    let gateway = Gateway::start(&Plan::to_urls([refusing.url(), sound.url()]).with_service(ejecting(0.5)));
    for _ in 0..4 {
        assert_eq!(gateway.fetch(GET).text(), "ok");
    }
    let url = refusing.url();
    let said = format!("service_changed all: {url} ejected: 2 failures in a row, the last: no connection; for 1000 s");
    assert_eq!(messages(&gateway, 1), [said]);
}

#[test]
fn a_health_check_takes_an_instance_out_and_brings_it_back() {
    let (failing, sound) = (Switch::healthy(), Instance::ok());
    let check = json!({
        "path": "/health", "grpc": null, "interval": 0.02, "timeout": 10.0, "healthy_after": 2, "unhealthy_after": 2,
    });
    let plan = Plan::to_urls([failing.url(), sound.url()]);
    let gateway = Gateway::start(&plan.with_service(json!({"health_check": check})));
    failing.set(false);
    wait_until(|| states(&gateway) == ["down", "up"]);
    let before = sound.requests().iter().filter(|request| request.target() == "/x").count();
    for _ in 0..4 {
        assert_eq!(gateway.fetch(GET).text(), "ok");
    }
    let after = sound.requests().iter().filter(|request| request.target() == "/x").count();
    assert_eq!(after - before, 4, "all of them");
    let asked = sound.requests().into_iter().find(|request| request.target() == "/health").unwrap();
    assert_eq!(
        (asked.single("user-agent"), asked.single("host")),
        (Some("pylae-health-check"), Some(&*sound.authority()))
    );
    failing.set(true);
    wait_until(|| states(&gateway) == ["up", "up"]);
    let url = failing.url();
    assert_eq!(
        messages(&gateway, 2),
        [
            format!("service_changed all: {url} down: 2 failed checks, the last: status 503"),
            format!("service_changed all: {url} up: 2 good checks, the last: status 200"),
        ]
    );
}

#[test]
fn without_usable_instances_clients_get_503_and_a_breaker_sets_retry_after() {
    let failing = Instance::answering([Answer::bytes(FAILURE)]);
    let breaker = json!({
        "failure_threshold": 2, "failure_rate": null, "window": 60.0, "minimum_requests": 20, "timeout": 3600.0,
        "half_open_requests": 1, "failure_statuses": [500], "scope": "service",
    });
    let gateway = Gateway::start(&Plan::to([&failing]).with_service(json!({"circuit_breaker": breaker})));
    assert_eq!([gateway.fetch(GET).text(), gateway.fetch(GET).text()], ["fail", "fail"]);
    let refused = gateway.fetch(GET);
    assert_eq!(refused.refusal(), "503 breaker_open");
    let wait: u32 = refused.single("retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert_eq!(gateway.reset_breaker("all", None).unwrap(), Some(true));
    assert_eq!(gateway.fetch(GET).text(), "fail");
    assert_eq!(failing.requests().len(), 3);
    gateway.set_draining("all", &failing.url(), true).unwrap();
    assert_eq!(gateway.fetch(GET).refusal(), "503 service_unavailable");
}
