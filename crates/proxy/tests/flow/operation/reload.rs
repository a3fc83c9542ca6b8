//! Reloads: a plan replaces another while exchanges are in flight.

use std::net::{TcpListener, TcpStream};

use pylae_core::Problem;
use pylae_proxy::Engine;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, NoHooks};
use crate::support::instance::{Instance, OK};
use crate::support::peer::Peer;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

/// A plan whose responses contain its name.
fn named(instance: &Instance, name: &str) -> Plan {
    let nothing = json!({"remove": [], "set": {}, "append": {}});
    let said = json!({"remove": [], "set": {"X-Plan": name}, "append": {}});
    let transform = json!({"request": nothing, "response": said, "response_time": false, "normalize_errors": false});
    Plan::to([instance]).with_route(json!({"policies": {"transform": transform}}))
}

fn listening(plan: Plan, addresses: &[&str]) -> Plan {
    let listener = |address: &&str| json!({"address": address, "tls": null, "http2": false, "proxy_protocol": null});
    plan.with(json!({"listeners": addresses.iter().map(listener).collect::<Vec<_>>()}))
}

/// The problems of a plan that cannot be applied.
fn refused(gateway: &Gateway, plan: &Plan) -> Vec<Problem> {
    Engine::apply(gateway, plan.build(), &NoHooks).expect_err("a plan with problems")
}

#[test]
fn an_exchange_is_finished_by_the_plan_under_which_it_began() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&named(&instance, "old"));
    let (mut client, mut other) = (gateway.connect(), gateway.connect());
    client.send(GET);
    let mut server = instance.accept();
    server.read_request();
    gateway.apply(&named(&instance, "new"));
    // New requests are served by the new plan, while the first still waits.
    other.send(GET);
    let mut second = instance.accept();
    second.read_request();
    second.send(OK);
    assert_eq!(other.read_answer().single("x-plan"), Some("new"));
    server.send(OK);
    assert_eq!(client.read_answer().single("x-plan"), Some("old"));
    client.send(GET);
    // Over the most recently used connection.
    server.read_request();
    server.send(OK);
    assert_eq!(client.read_answer().single("x-plan"), Some("new"), "the next one on the same connection");
}

#[test]
fn an_exchange_may_still_use_an_instance_that_was_removed_from_the_plan() {
    let (failing, sound, other) = (Instance::manual(), Instance::ok(), Instance::ok());
    let gateway = Gateway::start(&Plan::to([&failing, &sound]));
    let mut client = gateway.connect();
    client.send(GET);
    let mut server = failing.accept();
    server.read_request();
    gateway.apply(&Plan::to([&other]));
    server.reset();
    assert_eq!(client.read_answer().text(), "ok");
    assert_eq!((sound.requests().len(), other.requests().len()), (1, 0));
    client.send(GET);
    assert_eq!(client.read_answer().text(), "ok");
    assert_eq!((sound.requests().len(), other.requests().len()), (1, 1));
}

#[test]
fn a_listener_is_added_and_another_removed_whose_connections_go_on() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&listening(named(&instance, "one"), &["127.0.0.1:0"]));
    let first = gateway.addresses()[0];
    let mut early = Peer::connect(first);
    early.send(GET);
    assert_eq!(early.read_answer().single("x-plan"), Some("one"));
    gateway.apply(&listening(named(&instance, "two"), &["127.0.0.1:0", "127.0.0.2:0"]));
    let addresses = gateway.addresses();
    assert_eq!((addresses.len(), addresses[0]), (2, first), "the one that stays keeps its port");
    let mut added = Peer::connect(addresses[1]);
    added.send(GET);
    assert_eq!(added.read_answer().single("x-plan"), Some("two"));
    gateway.apply(&listening(named(&instance, "three"), &["127.0.0.2:0"]));
    assert_eq!(gateway.addresses(), addresses[1..]);
    assert!(TcpStream::connect(first).is_err());
    for client in [&mut early, &mut added, &mut Peer::connect(addresses[1])] {
        client.send(GET);
        assert_eq!(client.read_answer().single("x-plan"), Some("three"));
    }
}

#[test]
fn a_plan_with_problems_changes_nothing_and_all_are_reported() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&named(&instance, "old"));
    let wrong = named(&instance, "new")
        .route("lost", json!({"service": "nowhere"}))
        .route("odd", json!({"service": "all", "match": {"path": {"kind": "pattern", "value": "("}}}))
        .with_route(json!({"policies": {"transform": {"response": {"set": {"Bad name": "x"}}}}}));
    let problems = refused(&gateway, &wrong);
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    let setting = "routes[0].policies.transform.response.set[\"Bad name\"]";
    assert_eq!(paths, ["routes[2].match.path", setting, "routes[1].service"]);
    let more = named(&instance, "new").with(json!({"workers": 2}));
    assert_eq!(refused(&gateway, &more)[0].path, "workers");
    assert_eq!(gateway.fetch(GET).single("x-plan"), Some("old"));
    let stats = gateway.stats();
    assert_eq!((stats.applied, stats.refused), (1, 2));
}

#[test]
fn a_listener_that_cannot_be_bound_leaves_the_others_as_they_were() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&named(&instance, "old"));
    let holder = TcpListener::bind("127.0.0.3:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let problems = refused(&gateway, &listening(named(&instance, "new"), &["127.0.0.2:0", &taken]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].path, "listeners[1].address");
    assert_eq!(problems[0].message, format!("cannot listen on {taken}: the port is in use by another process"));
    assert_eq!(gateway.addresses(), [gateway.address]);
    assert_eq!(gateway.fetch(GET).single("x-plan"), Some("old"));
}

#[test]
fn what_a_limit_has_counted_outlives_the_plan() {
    let instance = Instance::ok();
    let limited = |name: &str| {
        let limit: Value = json!({
            "name": "default", "limit": 2, "per": 3600.0, "algorithm": "token_bucket", "key": ["ip"], "burst": null,
            "cost": 1, "settle": null, "per_route": true, "scope": null, "mode": "fast", "headers": true,
        });
        named(&instance, name).with_route(json!({"policies": {"rate_limit": {"limits": [limit], "concurrency": null}}}))
    };
    let gateway = Gateway::start(&limited("old"));
    assert_eq!(gateway.fetch(GET).single("x-plan"), Some("old"));
    gateway.apply(&limited("new"));
    assert_eq!(gateway.fetch(GET).single("x-plan"), Some("new"));
    assert_eq!(gateway.fetch(GET).refusal(), "429 rate_limited");
}
