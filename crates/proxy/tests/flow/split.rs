//! Splits: which member gets a request, and what stays with that member.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::clock::{ClockLock, wait_until};
use crate::support::frames::{GRANTED, HANDSHAKE};
use crate::support::gateway::Gateway;
use crate::support::hooks::{Fake, policy};
use crate::support::instance::{Answer, Instance, RefusingAddress};
use crate::support::message::Message;
use crate::support::plan::Plan;
use pylae_core::hook::Step;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const BETA: &str = "GET /x HTTP/1.1\r\nHost: a\r\nX-Beta: 1\r\n\r\n";

fn answer(text: &str, fields: &str) -> Answer {
    Answer::bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n{text}", text.len()))
}

/// An instance that answers every request with its name.
fn named(name: &str) -> Instance {
    Instance::answering([answer(name, "")])
}

fn member(service: &str, weight: u32) -> Value {
    json!({"service": service, "weight": weight, "when": null, "headers": {"set": {}, "remove": []}})
}

/// A member of weight 0 for requests with the field `X-Beta`.
fn on_beta(service: &str) -> Value {
    let mut member = member(service, 0);
    member["when"] = json!({"headers": [{"name": "X-Beta", "value": "present"}], "cookies": []});
    member
}

fn cookie() -> Value {
    json!({"cookie": "at", "ttl": null})
}

/// A plan whose only route splits its requests over these services.
fn plan<'i>(services: impl IntoIterator<Item = (&'i str, String)>, split: &Value) -> Plan {
    let plan = services.into_iter().fold(Plan::new(), |plan, (name, url)| plan.service(name, [url], json!({})));
    plan.route("all", json!({"service": null, "split": split}))
}

/// As [`plan`], over `stable` and `canary`.
fn pair(stable: &Instance, canary: &Instance, members: &Value, sticky: &Value) -> Plan {
    let services = [("stable", stable.url()), ("canary", canary.url())];
    plan(services, &json!({"members": members, "sticky": sticky}))
}

fn with_cookie(cookie: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n")
}

/// The name and value of the cookie that an answer sets.
fn cookie_of(answer: &Message) -> String {
    answer.single("set-cookie").expect("a cookie").split(';').next().unwrap_or_default().to_owned()
}

fn caching() -> Value {
    json!({"cache": {
        "ttl": 1500.0, "error_ttl": 0.0, "heuristic": 0.0, "override": false, "per_user": false, "vary": [],
        "normalize": [], "max_entry": 100_000, "stale_while_revalidate": 3600.0, "stale_if_error": 0.0, "wait": 3600.0,
        "client_directives": true, "ignore_cookies": false, "set_cookie": "bypass", "cache_status": true, "tags": [],
    }})
}

#[test]
fn requests_are_split_by_weight_and_by_what_they_ask_for() {
    let (stable, canary) = (named("stable"), named("canary"));
    let members = json!([on_beta("canary"), member("stable", 9), member("canary", 1)]);
    let gateway = Gateway::start(&pair(&stable, &canary, &members, &json!(null)));
    let mut client = gateway.connect();
    for _ in 0..100 {
        client.send(GET);
        client.read_answer();
    }
    let of_canary = canary.requests().len();
    assert!((8..=12).contains(&of_canary), "{of_canary} of 100");
    assert_eq!(stable.requests().len(), 100 - of_canary);
    for _ in 0..5 {
        client.send(BETA);
        assert_eq!(client.read_answer().text(), "canary");
    }
}

#[test]
fn the_turn_goes_on_over_a_reload() {
    let (stable, canary) = (named("stable"), named("canary"));
    let plan = pair(&stable, &canary, &json!([member("stable", 1), member("canary", 1)]), &json!(null));
    let gateway = Gateway::start(&plan);
    // Begun anew each time it would be the first member for ever.
    let answers = (0..8).map(|_| {
        gateway.apply(&plan);
        gateway.fetch(GET).text()
    });
    let answers: Vec<_> = answers.collect();
    let of_canary = answers.iter().filter(|answer| *answer == "canary").count();
    assert!((3..=5).contains(&of_canary), "{answers:?}");
}

#[test]
fn a_cookie_keeps_a_client_on_its_member_over_changes_of_weights() {
    let (stable, canary) = (named("stable"), named("canary"));
    let plan = |of_stable, of_canary| {
        let members = json!([on_beta("canary"), member("canary", of_canary), member("stable", of_stable)]);
        pair(&stable, &canary, &members, &cookie())
    };
    let gateway = Gateway::start(&plan(0, 1));
    let first = gateway.fetch(GET);
    let set = first.single("set-cookie").unwrap();
    assert!(set.starts_with("at=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    let chosen = with_cookie(&cookie_of(&first));
    gateway.apply(&plan(1000, 1));
    for _ in 0..5 {
        let again = gateway.fetch(&chosen);
        assert_eq!((&*again.text(), again.single("set-cookie")), ("canary", None));
    }
    assert_eq!(gateway.fetch(with_cookie("at=0123456789abcdef")).text(), "stable", "forged");
    // A condition decides anew each time, and is not remembered.
    let beta = gateway.fetch(BETA);
    assert_eq!((&*beta.text(), beta.single("set-cookie")), ("canary", None));
    // The member has lost its weight: another, and another cookie.
    gateway.apply(&plan(1, 0));
    let moved = gateway.fetch(&chosen);
    assert_eq!(moved.text(), "stable");
    let settled = gateway.fetch(with_cookie(&cookie_of(&moved)));
    assert_eq!((&*settled.text(), settled.single("set-cookie")), ("stable", None));
}

#[test]
fn no_cookie_is_set_by_failures_and_by_the_gateway_itself() {
    let failing = Instance::answering([Answer::bytes("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")]);
    let refusing = RefusingAddress::bind();
    for (url, status) in [(failing.url(), 500), (refusing.url(), 502)] {
        let plan = plan([("stable", url)], &json!({"members": [member("stable", 1)], "sticky": cookie()}));
        let gateway = Gateway::start(&plan.with_route(json!({"retries": 0})));
        let answer = gateway.fetch(GET);
        assert_eq!((answer.status(), answer.single("set-cookie")), (status, None));
    }
}

#[test]
fn retries_stay_with_the_member() {
    let failure = Answer::bytes("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let (stable, canary) = (named("stable"), Instance::answering([failure]));
    let members = json!([on_beta("canary"), member("stable", 1)]);
    let plan = pair(&stable, &canary, &members, &json!(null)).with_route(json!({"retries": 3}));
    let gateway = Gateway::start(&plan);
    assert_eq!(gateway.fetch(BETA).status(), 503);
    assert_eq!((canary.requests().len(), stable.connections()), (4, 0));
}

#[test]
fn a_member_without_an_instance_leaves_its_share_to_the_others() {
    let (stable, canary) = (named("stable"), named("canary"));
    let members = json!([on_beta("canary"), member("stable", 1), member("canary", 9)]);
    let gateway = Gateway::start(&pair(&stable, &canary, &members, &cookie()));
    let chosen = loop {
        let answer = gateway.fetch(GET);
        if answer.text() == "canary" {
            break with_cookie(&cookie_of(&answer));
        }
    };
    gateway.set_draining("canary", &canary.url(), true).unwrap();
    for _ in 0..20 {
        assert_eq!(gateway.fetch(GET).text(), "stable");
    }
    assert_eq!(gateway.fetch(&chosen).text(), "stable");
    // Who asks for the member by name is told.
    assert_eq!(gateway.fetch(BETA).refusal(), "503 service_unavailable");
    gateway.set_draining("stable", &stable.url(), true).unwrap();
    assert_eq!(gateway.fetch(GET).refusal(), "503 service_unavailable");
}

#[test]
fn without_a_weight_and_a_condition_the_answer_is_503() {
    let (stable, canary) = (named("stable"), named("canary"));
    let members = json!([on_beta("canary"), member("stable", 0)]);
    let gateway = Gateway::start(&pair(&stable, &canary, &members, &json!(null)));
    assert_eq!(gateway.fetch(GET).refusal(), "503 service_unavailable");
    assert_eq!(gateway.fetch(BETA).text(), "canary");
}

#[test]
fn an_answer_of_one_member_is_never_given_to_a_client_of_another() {
    let (stable, canary) = (named("stable"), named("canary"));
    let members = json!([on_beta("canary"), member("stable", 1)]);
    let plan = pair(&stable, &canary, &members, &cookie()).with_route(json!({"policies": caching()}));
    let gateway = Gateway::alone(&plan);
    for _ in 0..3 {
        assert_eq!((gateway.fetch(BETA).text(), gateway.fetch(GET).text()), ("canary".into(), "stable".into()));
    }
    assert_eq!((canary.requests().len(), stable.requests().len()), (1, 1));
    // A stored answer of the member sets the cookie too, and the cookie itself does not keep the cache from storing.
    let chosen = with_cookie(&cookie_of(&gateway.fetch(GET)));
    gateway.advance(Duration::from_secs(10_000));
    assert_eq!(gateway.fetch(&chosen).text(), "stable");
    assert_eq!(gateway.fetch(&chosen).text(), "stable");
    assert_eq!(stable.requests().len(), 2);
    let other = gateway.fetch(with_cookie("session=1"));
    assert_eq!((other.text(), stable.requests().len()), ("stable".into(), 2), "what is stored answers everybody");
}

#[test]
fn a_stale_answer_is_revalidated_at_the_same_member() {
    let (stable, canary) = (named("stable"), named("canary"));
    let mut beta = on_beta("canary");
    beta["headers"]["set"]["X-Variant"] = json!("b");
    let members = json!([beta, member("stable", 1)]);
    let plan = pair(&stable, &canary, &members, &json!(null)).with_route(json!({"policies": caching()}));
    let gateway = Gateway::alone(&plan);
    assert_eq!(gateway.fetch(BETA).text(), "canary");
    gateway.logged(1);
    gateway.advance(Duration::from_secs(2000));
    assert_eq!(gateway.fetch(BETA).text(), "canary");
    wait_until(|| canary.requests().len() == 2);
    assert!(canary.requests().iter().all(|request| request.single("x-variant") == Some("b")));
    assert_eq!(stable.connections(), 0);
}

#[test]
fn a_member_changes_its_requests_last_and_the_cache_knows() {
    let (stable, canary) = (named("stable"), Instance::answering([answer("canary", "Vary: X-Variant\r\n")]));
    let mut beta = on_beta("canary");
    beta["headers"] = json!({"set": {"X-Variant": "b", "X-New": "1"}, "remove": ["X-Beta"]});
    let mut policies = caching();
    let changes = json!({"set": {"X-Variant": "a"}, "remove": [], "append": {}});
    let none = json!({"set": {}, "remove": [], "append": {}});
    policies["transform"] =
        json!({"request": changes, "response": none, "response_time": false, "normalize_errors": false});
    let members = json!([beta, member("stable", 1)]);
    let plan = pair(&stable, &canary, &members, &json!(null)).with_route(json!({"policies": policies}));
    let gateway = Gateway::start(&plan);
    for _ in 0..2 {
        assert_eq!((gateway.fetch(BETA).text(), gateway.fetch(GET).text()), ("canary".into(), "stable".into()));
    }
    let asked = canary.request();
    let seen = (asked.single("x-variant"), asked.single("x-new"), asked.single("x-beta"));
    assert_eq!(seen, (Some("b"), Some("1"), None));
    assert_eq!((stable.request().single("x-variant"), stable.request().single("x-new")), (Some("a"), None));
}

#[test]
fn a_hook_overrides_the_choice_and_its_answer_is_not_stored_for_others() {
    let (stable, canary, other) = (named("stable"), named("canary"), named("other"));
    let hooks = Fake {
        on_request: Box::new(|exchange| {
            let chosen = exchange.member().map(|member| member.service().to_owned());
            assert_eq!(chosen.as_deref(), Some("stable"));
            let named = exchange.request.values("x-to").next().map(|name| String::from_utf8_lossy(name).into());
            exchange.hook_visit().service = named;
            Step::Continue
        }),
        ..Fake::default()
    };
    let mut beta = on_beta("canary");
    beta["headers"]["set"]["X-Variant"] = json!("b");
    let mut policies = caching();
    policies["hooks"] = policy()["hooks"].take();
    let members = json!([beta, member("stable", 1)]);
    let plan = pair(&stable, &canary, &members, &cookie()).with_route(json!({"policies": policies}));
    let plan = plan.service("other", [other.url()], json!({}));
    let gateway = Gateway::start_with(&plan, ClockLock::shared(), hooks.source());
    for (name, instance, variant) in [("canary", &canary, Some("b")), ("other", &other, None)] {
        let answer = gateway.fetch(format!("GET /x HTTP/1.1\r\nHost: a\r\nX-To: {name}\r\n\r\n"));
        assert_eq!((answer.text(), answer.single("set-cookie")), (name.into(), None));
        assert_eq!(instance.request().single("x-variant"), variant, "{name}");
    }
    assert_eq!(gateway.fetch(GET).text(), "stable");
    let services: Vec<_> = gateway.logged(3).iter().map(|line| line["service"].clone()).collect();
    assert_eq!(services, ["canary", "other", "stable"]);
}

#[test]
fn each_member_is_counted_by_itself() {
    let (stable, canary) = (named("stable"), named("canary"));
    let members = json!([on_beta("canary"), member("stable", 1)]);
    let gateway = Gateway::start(&pair(&stable, &canary, &members, &json!(null)));
    for request in [GET, BETA, BETA, GET, BETA] {
        gateway.fetch(request);
    }
    let lines = gateway.logged(5);
    let services: Vec<_> = lines.iter().map(|line| line["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["stable", "canary", "canary", "stable", "canary"]);
    let urls: Vec<_> = lines.iter().map(|line| line["instance"].as_str().unwrap()).collect();
    assert_eq!(urls[..2], [stable.url(), canary.url()]);
    gateway.counted();
    let page = gateway.metrics(&[]);
    for (service, count) in [("stable", 2), ("canary", 3)] {
        let labels = format!("route=\"all\",service=\"{service}\",method=\"GET\",status=\"2xx\"");
        let wanted = format!("pylae_requests_total{{{labels}}} {count}");
        assert!(page.lines().any(|line| line == wanted), "{wanted}\n{page}");
    }
    let summary = serde_json::to_value(gateway.summary()).unwrap();
    assert_eq!((&summary["services"]["stable"]["requests"], &summary["requests"]), (&json!(2), &json!(5)));
}

#[test]
fn a_redirect_of_a_member_names_the_gateway() {
    let stable = named("stable");
    let canary = Instance::manual();
    let members = json!([on_beta("canary"), member("stable", 1)]);
    let gateway =
        Gateway::start(&pair(&stable, &canary, &members, &json!(null)).with_route(json!({"preserve_host": false})));
    let mut client = gateway.connect();
    client.send(BETA);
    let mut server = canary.accept();
    assert_eq!(server.read_request().single("host"), Some(&*canary.authority()));
    let to = canary.url();
    server.send(format!("HTTP/1.1 302 Found\r\nLocation: {to}/new\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(client.read_answer().single("location"), Some("http://a/new"));
}

#[test]
fn a_websocket_goes_to_a_member_and_sets_its_cookie() {
    let (stable, canary) = (named("stable"), Instance::manual());
    let websocket = json!({"idle_timeout": 60.0, "max_frame": null, "max_message": 10});
    let members = json!([member("canary", 1), member("stable", 0)]);
    let plan = pair(&stable, &canary, &members, &cookie()).with_route(json!({"websocket": websocket}));
    let gateway = Gateway::start(&plan);
    let mut client = gateway.connect();
    client.send(HANDSHAKE);
    let mut server = canary.accept();
    server.read_request();
    server.send(GRANTED);
    let granted = client.read_answer();
    assert_eq!(granted.status(), 101);
    assert!(cookie_of(&granted).starts_with("at="));
}

#[test]
fn what_cannot_be_split_is_told_with_its_place() {
    let stable = named("stable");
    let mut wrong = member("stable", 1);
    wrong["headers"] = json!({"set": {"Host": "a", "X-User-ID": "7", "X A": "1"}, "remove": ["Connection"]});
    let split = json!({"members": [wrong, member("nowhere", 1)], "sticky": null});
    let plan = plan([("stable", stable.url())], &split).build();
    let found = pylae_proxy::check(plan).expect_err("problems");
    let paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
    let at = |rest: &str| format!("routes[0].split.members{rest}");
    let expected = [
        at("[0].headers.set[\"Host\"]"),
        at("[0].headers.set[\"X A\"]"),
        at("[0].headers.set[\"X-User-ID\"]"),
        at("[0].headers.remove[0]"),
        at("[1].service"),
    ];
    assert_eq!(paths, expected);
}
