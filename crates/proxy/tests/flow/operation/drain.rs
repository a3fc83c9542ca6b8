//! Drain: what a stopping gateway finishes and what it cuts off.

use std::net::{SocketAddr, TcpStream};

use pylae_proxy::Drain;
use serde_json::json;

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Instance, OK};
use crate::support::peer::Peer;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

/// Waits until connections are refused.
fn wait_until_closed(address: SocketAddr) {
    wait_until(|| TcpStream::connect(address).is_err());
}

fn draining_for_an_hour(instance: &Instance) -> Gateway {
    Gateway::start(&Plan::to([instance]).with_limits(json!({"drain_timeout": 3600.0})))
}

/// Sends a request, which has reached the instance. Returns both ends.
fn exchange_in_flight(gateway: &Gateway, instance: &Instance) -> (Peer, Peer) {
    let mut client = gateway.connect();
    client.send(GET);
    let mut server = instance.accept();
    server.read_request();
    (client, server)
}

/// Runs `during` while the gateway drains, and waits for the end of the drain.
fn while_draining(gateway: &Gateway, during: impl FnOnce(&dyn Fn() -> bool)) {
    let (engine, address) = (&**gateway, gateway.address);
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop(Drain::Within));
        wait_until_closed(address);
        during(&|| stop.is_finished());
        stop.join().unwrap();
    });
}

#[test]
fn exchanges_in_flight_are_finished_with_connection_close() {
    let instance = Instance::manual();
    let gateway = draining_for_an_hour(&instance);
    let (mut client, mut server) = exchange_in_flight(&gateway, &instance);
    while_draining(&gateway, |ended| {
        assert!(!ended());
        server.send(OK);
        let answer = client.read_answer();
        assert_eq!((answer.single("connection"), &*answer.text()), (Some("close"), "ok"));
        assert!(client.is_closed());
        drop(client);
    });
    let totals = gateway.stats().totals;
    assert_eq!((totals.by_class, totals.incomplete, totals.connections), ([0, 1, 0, 0, 0], 0, 0));
}

#[test]
fn a_body_in_transit_when_the_drain_begins_is_completed() {
    let instance = Instance::manual();
    let gateway = draining_for_an_hour(&instance);
    let (mut client, mut server) = exchange_in_flight(&gateway, &instance);
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
    // The connection ends although the head announced keep-alive.
    assert_eq!(client.read_head().single("connection"), None);
    assert_eq!(client.read(5), b"first");
    while_draining(&gateway, |_| {
        server.send("other");
        assert_eq!(client.read_all(), b"other");
        drop(client);
    });
}

#[test]
fn what_is_not_finished_in_time_is_cut_off_and_logged_as_cut_off() {
    let (silent, begun) = (Instance::manual(), Instance::manual());
    let plan = Plan::new()
        .service("silent", [silent.url()], json!({}))
        .service("begun", [begun.url()], json!({}))
        .route("silent", json!({"service": "silent"}))
        .route("begun", json!({"service": "begun", "match": {"path": {"kind": "exact", "value": "/begun"}}}));
    let gateway = Gateway::start(&plan.with_limits(json!({"drain_timeout": 0.01})));
    let (mut waiting, mut reading, mut talking) = (gateway.connect(), gateway.connect(), gateway.connect());
    waiting.send(GET);
    let mut first = silent.accept();
    first.read_request();
    reading.send(GET.replace("/x", "/begun"));
    let mut second = begun.accept();
    second.read_request();
    second.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
    assert_eq!(reading.read_head().status(), 200);
    assert_eq!(reading.read(5), b"first");
    // The second head has begun to arrive when the gateway itself answers the first request.
    talking.send("OPTIONS /own HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\nGET /half HTTP/1.1\r\nHo");
    assert_eq!(talking.read_answer().status(), 204);
    gateway.stop(Drain::Within);
    assert!(waiting.is_closed());
    assert!(reading.is_closed());
    assert!(talking.is_closed());
    assert!(first.is_closed());
    assert!(second.is_closed());
    let mut seen: Vec<_> = gateway
        .logged(4)
        .into_iter()
        .map(|line| json!([line["path"], line["status"], line["code"], line["complete"]]))
        .collect();
    seen.sort_by_key(ToString::to_string);
    let expected = [
        json!(["/begun", 200, "cut_off", false]),
        json!(["/own", 204, null, true]),
        json!(["/x", 503, "cut_off", false]),
        json!([null, 503, "cut_off", false]),
    ];
    assert_eq!(seen, expected);
    assert_eq!(gateway.stats().totals.in_flight, 0);
}

#[test]
fn a_second_stop_cuts_a_drain_short() {
    let instance = Instance::manual();
    let gateway = draining_for_an_hour(&instance);
    let (mut client, mut server) = exchange_in_flight(&gateway, &instance);
    while_draining(&gateway, |_| {
        assert!(!client.is_ready());
        gateway.stop(Drain::No);
    });
    assert!(client.is_closed());
    assert!(server.is_closed());
}

#[test]
fn a_gateway_without_connections_ends_its_drain_at_once() {
    let instance = Instance::ok();
    let gateway = draining_for_an_hour(&instance);
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.read_answer().text(), "ok");
    client.close();
    // Without the stop it would wait for an hour.
    gateway.stop(Drain::Within);
    assert!(TcpStream::connect(gateway.address).is_err());
}
