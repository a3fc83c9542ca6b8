//! A panic in a connection's task ends that connection alone.

use http::Request;
use pylae_core::hook::Step;
use serde_json::json;

use crate::support::clock::{ClockLock, wait_until};
use crate::support::gateway::Gateway;
use crate::support::hooks::{Fake, policy};
use crate::support::http2;
use crate::support::instance::Instance;
use crate::support::plan::Plan;

/// Panics on the paths `/struck` and `/struck-late`, before and after the instance was asked.
fn hooks() -> Fake {
    Fake {
        on_request: Box::new(|exchange| {
            assert_ne!(&exchange.request.target.path[..], b"/struck", "struck");
            Step::Continue
        }),
        on_response: Some(Box::new(|exchange| {
            assert_ne!(&exchange.request.target.path[..], b"/struck-late", "struck");
        })),
        ..Fake::default()
    }
}

/// Whatever counts exchanges admits one at a time.
fn plan(instance: &Instance) -> Plan {
    Plan::to([instance])
        .with_service(json!({"max_in_flight": 1, "queue": {"size": 0, "timeout": 1.0}}))
        .with_route(json!({"policies": policy()}))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn connection_panics(gateway: &Gateway) -> String {
    let page = gateway.metrics(&[]);
    let found = page.lines().find_map(|line| line.strip_prefix("pylae_panics_total{thread=\"connection\"} "));
    found.expect("a sample").to_owned()
}

#[test]
fn a_panic_ends_its_connection_alone_and_leaves_no_count_behind() {
    let instance = Instance::ok();
    let gateway = Gateway::start_with(&plan(&instance), ClockLock::shared(), hooks().source());
    assert_eq!(connection_panics(&gateway), "0");
    let mut other = gateway.connect();
    other.send(get("/x"));
    assert_eq!(other.read_answer().text(), "ok");
    for (number, path) in ["/struck", "/struck-late", "/struck-late"].iter().enumerate() {
        let mut client = gateway.connect();
        client.send(get(path));
        assert!(client.is_closed());
        wait_until(|| connection_panics(&gateway) == (number + 1).to_string());
        // Requests are served on old and new connections.
        other.send(get("/x"));
        assert_eq!(other.read_answer().text(), "ok");
        assert_eq!(gateway.fetch(get("/x")).text(), "ok");
    }
    drop(other);
    wait_until(|| gateway.stats().totals.connections == 0);
    let stats = gateway.stats();
    assert_eq!(
        (stats.totals.in_flight, stats.services[0].entered, stats.services[0].instances[0].in_flight),
        (0, 0, 0)
    );
    let records = gateway.take_log().unwrap();
    let records: Vec<_> = records.iter().filter(|record| record.event == "panic").collect();
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!(record.level, "error");
        assert!(record.message.starts_with("pylae-worker-0 panicked (connection) at "), "{}", record.message);
        assert!(record.message.contains("operation/panics.rs:"), "{}", record.message);
    }
}

#[test]
fn a_panic_in_a_stream_leaves_the_other_streams_of_its_connection() {
    let instance = Instance::ok();
    let listener = json!({"address": "127.0.0.1:0", "tls": null, "http2": true, "proxy_protocol": null});
    let plan = plan(&instance).with(json!({"listeners": [listener]}));
    let gateway = Gateway::start_with(&plan, ClockLock::shared(), hooks().source());
    let mut client = http2::Client::connect(gateway.address);
    let get = |path: &str| Request::builder().uri(format!("http://shop.test{path}")).body(()).unwrap();
    for number in 1..=2 {
        let _struck = client.send(get("/struck-late"), "");
        wait_until(|| connection_panics(&gateway) == number.to_string());
        let sound = client.send(get("/x"), "");
        assert_eq!(client.read(sound).body(), "ok");
    }
    assert_eq!(gateway.stats().totals.connections_accepted, 1);
    wait_until(|| gateway.stats().totals.in_flight == 0);
}
