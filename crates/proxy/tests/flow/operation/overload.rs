//! What is done while memory is short. Descriptors are the test's own process's too: `tests/behaviour/test_overload.py`
//! limits those of another one.

use serde_json::json;

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Instance, OK};
use crate::support::peer::Peer;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

fn plan(instance: &Instance, max_memory: Option<u64>) -> Plan {
    Plan::to([instance]).with_limits(json!({"max_memory": max_memory}))
}

/// What is done about memory.
fn state(gateway: &Gateway) -> &'static str {
    gateway.stats().overload.resources[1].state
}

#[test]
fn far_too_little_memory_stops_everything_new_until_there_is_enough_again() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&plan(&instance, Some(1 << 50)));
    assert_eq!(state(&gateway), "normal");
    let mut client = gateway.connect();
    client.send(GET);
    let mut server = instance.accept();
    server.read_request();
    // A byte: more than 95 % of it is in use.
    gateway.apply(&plan(&instance, Some(1)));
    wait_until(|| state(&gateway) == "paused");
    // What is in flight ends well. What follows it is refused.
    client.send(GET);
    server.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
    let refused = client.read_answer();
    assert_eq!(refused.refusal(), "503 overloaded");
    assert_eq!(refused.single("retry-after"), Some("1"));
    assert_eq!(gateway.stats().totals.overload_refused, 1);
    // The task that accepts was waiting already, and takes one connection more.
    let mut waiting = [gateway.connect(), gateway.connect(), gateway.connect()];
    for one in &mut waiting {
        one.send(GET);
    }
    assert!(client.is_closed(), "it is idle");
    assert!(gateway.stats().totals.connections_accepted <= 2);
    gateway.apply(&plan(&instance, Some(1 << 50)));
    wait_until(|| state(&gateway) == "normal");
    wait_until(|| gateway.stats().totals.connections_accepted == 4);
    let mut server = instance.accept();
    server.read_request();
    server.send(OK);
    wait_until(|| waiting.iter_mut().any(Peer::is_ready));
}

#[test]
fn connections_to_instances_are_closed_before_those_of_clients() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&plan(&instance, None));
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.read_answer().text(), "ok");
    gateway.apply(&plan(&instance, Some(1)));
    wait_until(|| gateway.stats().totals.shed_upstream == 1);
    assert!(client.is_closed());
    wait_until(|| gateway.stats().totals.shed_clients == 1);
}
