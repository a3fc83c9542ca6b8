//! Routing: the route and instance of a request, and the path that is forwarded.

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK};
use crate::support::plan::Plan;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n")
}

/// A route with a path.
fn on(kind: &str, path: &str) -> Value {
    json!({"service": "all", "match": {"path": {"kind": kind, "value": path}}})
}

/// A plan without routes, and one service.
fn without_routes(instance: &Instance) -> Plan {
    Plan::new().service("all", [instance.url()], json!({}))
}

/// An instance that answers every request with its name.
fn named(name: &str) -> Instance {
    Instance::answering([Answer::bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))])
}

/// A gateway whose routes forward to services that answer with the name of the route.
fn routed(routes: impl IntoIterator<Item = (&'static str, Value)>) -> (Gateway, Vec<Instance>) {
    let (mut plan, mut instances) = (Plan::new(), Vec::new());
    for (name, mut settings) in routes {
        let instance = named(name);
        settings["service"] = json!(name);
        plan = plan.service(name, [instance.url()], json!({})).route(name, settings);
        instances.push(instance);
    }
    (Gateway::start(&plan), instances)
}

#[test]
fn the_most_specific_path_takes_the_request_in_any_order_of_routes() {
    let (gateway, _instances) = routed([
        ("all", on("prefix", "/")),
        ("below", on("prefix", "/users")),
        ("any", on("template", "/users/{name}")),
        ("number", on("template", "/users/{id:int}")),
        ("me", on("exact", "/users/me")),
        ("first", json!({"priority": 1, "match": {"path": {"kind": "pattern", "value": "^/users/b[a-z]+$"}}})),
    ]);
    for (target, route) in [
        ("/", "all"),
        ("/usersx", "all"),
        ("/users", "below"),
        ("/users/", "below"),
        ("/users/a/b", "below"),
        ("/users/ada", "any"),
        ("/users/7", "number"),
        ("/users/me", "me"),
        ("/users/me?x", "me"),
        ("/users/bob", "first"),
    ] {
        assert_eq!(gateway.fetch(get(target)).text(), route, "{target}");
    }
}

#[test]
fn methods_hosts_fields_and_parameters_tell_routes_apart() {
    let with = |name: &str, value: Value| {
        let mut route = on("exact", "/a");
        route["match"][name] = value;
        route
    };
    let (gateway, _instances) = routed([
        ("read", with("methods", json!(["GET"]))),
        ("write", with("methods", json!(["POST", "PUT"]))),
        ("host", with("hosts", json!(["*.shop.test"]))),
        ("field", with("headers", json!([{"name": "X-Version", "value": {"equals": "2"}}]))),
        ("parameter", with("query", json!([{"name": "debug", "value": "present"}]))),
    ]);
    for (head, route) in [
        ("GET /a HTTP/1.1\r\nHost: shop.test", "read"),
        ("POST /a HTTP/1.1\r\nHost: shop.test", "write"),
        ("GET /a HTTP/1.1\r\nHost: a.shop.test:81", "host"),
        ("GET http://b.shop.test/a HTTP/1.1\r\nHost: shop.test", "host"),
        ("GET /a HTTP/1.1\r\nHost: shop.test\r\nx-version: 2", "field"),
        ("GET /a HTTP/1.1\r\nHost: shop.test\r\nx-version: 1", "read"),
        ("GET /a?v=1&debug HTTP/1.1\r\nHost: shop.test", "parameter"),
    ] {
        assert_eq!(gateway.fetch(format!("{head}\r\n\r\n")).text(), route, "{head:?}");
    }
}

#[test]
fn a_path_without_a_route_gets_404_with_problem_details() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&without_routes(&instance).route("a", on("exact", "/a")));
    let answer = gateway.fetch("GET /b%20c?d HTTP/1.1\r\nHost: shop.test\r\nX-Request-ID: one\r\n\r\n");
    assert_eq!((&*answer.start, &*answer.refusal()), ("HTTP/1.1 404 Not Found", "404 no_route"));
    assert_eq!((answer.single("x-request-id"), answer.single("cache-control")), (Some("one"), Some("no-store")));
    let mut problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(problem["timestamp"].take().is_string());
    let expected = json!({
        "type": "urn:pylae:error:no_route", "title": "Not Found", "status": 404, "detail": "no route for this path",
        "instance": "/b%20c", "error": "no route for this path", "request_id": "one", "timestamp": null,
    });
    assert_eq!(problem, expected);
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_path_with_routes_for_other_methods_only_gets_405_with_allow() {
    let instance = Instance::ok();
    let mut routed = on("exact", "/a");
    routed["match"]["methods"] = json!(["GET", "DELETE"]);
    let mut other = on("prefix", "/");
    other["match"]["methods"] = json!(["POST"]);
    let gateway = Gateway::start(&without_routes(&instance).route("one", routed).route("two", other));
    let answer = gateway.fetch("PUT /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(answer.refusal(), "405 method_not_allowed");
    let mut allowed: Vec<_> = answer.single("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "POST"]);
    assert_eq!(instance.connections(), 0);
}

#[test]
fn hosts_that_are_not_served_get_421_for_every_path() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]).with(json!({"hosts": ["shop.test", "*.shop.test"]})));
    for (host, status) in [
        ("shop.test", "200"),
        ("SHOP.test.:8080", "200"),
        ("a.b.shop.test", "200"),
        ("127.0.0.1", "421"),
        ("evilshop.test", "421"),
        ("shop.test.evil.test", "421"),
    ] {
        let answer = gateway.fetch(format!("GET /none HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status().to_string(), status, "{host}");
    }
    let requests = "POST / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 3\r\n\r\nabc".to_owned() + &get("/behind");
    let mut client = gateway.connect();
    client.send(requests);
    assert_eq!(client.read_answer().refusal(), "421 misdirected_request");
    assert_eq!(client.read_answer().text(), "ok");
    assert_eq!(instance.requests().last().unwrap().target(), "/behind");
}

#[test]
fn an_instance_sees_the_path_as_the_route_rewrites_it() {
    let instance = Instance::ok();
    let mut stripped = on("prefix", "/api");
    stripped["strip_prefix"] = json!("/api");
    let mut deeper = on("prefix", "/deep/er");
    deeper["strip_prefix"] = json!("/deep");
    let mut rewritten = on("template", "/users/{id:int}/{rest:path}");
    rewritten["rewrite"] = json!("/v2/{rest}/of/{id}");
    let mut captured = on("pattern", "^/old/(?P<name>[a-z]+)$");
    captured["rewrite"] = json!("/new/{name}");
    let plan = without_routes(&instance)
        .route("stripped", stripped)
        .route("deeper", deeper)
        .route("rewritten", rewritten)
        .route("captured", captured)
        .route("same", on("prefix", "/same"));
    let gateway = Gateway::start(&plan);
    for (target, seen, prefix) in [
        ("/api/a?b=c", "/a?b=c", Some("/api")),
        ("/api", "/", Some("/api")),
        ("/api/", "/", Some("/api")),
        ("/api/x%20y", "/x%20y", Some("/api")),
        ("/deep/er/x", "/er/x", Some("/deep")),
        ("/users/7/a/b?c", "/v2/a/b/of/7?c", None),
        ("/old/abc", "/new/abc", None),
        ("/same/a?", "/same/a?", None),
    ] {
        assert_eq!(gateway.fetch(get(target)).text(), "ok", "{target}");
        let request = instance.requests().pop().unwrap();
        assert_eq!((request.target(), request.single("x-forwarded-prefix")), (seen, prefix), "{target}");
    }
}

#[test]
fn a_path_has_one_form_for_routes_and_instances() {
    let instance = Instance::ok();
    let mut closed = on("prefix", "/admin");
    closed["match"]["methods"] = json!(["DELETE"]);
    let gateway = Gateway::start(&without_routes(&instance).route("open", on("prefix", "/")).route("closed", closed));
    for (target, seen) in [
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e/b/%2E%2e/c", "/a/c"),
        ("//a///b//", "/a/b/"),
        ("/%61%7Eb/%c3%a9", "/a~b/%C3%A9"),
        ("/{a}|b", "/%7Ba%7D%7Cb"),
        ("/a?b=%2f%00&c=//../", "/a?b=%2f%00&c=//../"),
        ("http://other.test", "/"),
    ] {
        assert_eq!(gateway.fetch(get(target)).text(), "ok", "{target}");
        assert_eq!(instance.requests().pop().unwrap().target(), seen, "{target}");
    }
}

#[test]
fn an_ambiguous_path_is_refused_and_its_connection_closed() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    for target in
        ["/a%2fb", "/a%5Cb", "/a\\b", "/a%00b", "/a#b", "/../a", "/a/%2e%2e/%2e%2e/b", "/a/..;/b", "/a%zz", "/%ff"]
    {
        let mut client = gateway.connect();
        client.send(get(target) + &get("/behind"));
        assert_eq!(client.read_answer().refusal(), "400 malformed_target, close", "{target}");
        assert!(client.is_closed());
    }
    assert_eq!(instance.connections(), 0);
}

#[test]
fn instances_take_turns_by_weight_if_the_service_says_so() {
    let (one, two) = (named("one"), named("two"));
    let weighted = json!([{"url": one.url(), "weight": 3}, {"url": two.url(), "weight": 1}]);
    for (kind, share) in [("round_robin", 4), ("weighted_round_robin", 6)] {
        let settings = json!({"instances": weighted, "load_balancer": {"kind": kind}});
        let gateway = Gateway::start(&Plan::to([&one, &two]).with_service(settings));
        let answers: Vec<_> = (0..8).map(|_| gateway.fetch(get("/")).text()).collect();
        assert_eq!(answers.iter().filter(|answer| *answer == "one").count(), share, "{kind}: {answers:?}");
    }
}

#[test]
fn an_applied_plan_serves_the_next_request_of_an_open_connection() {
    let (before, after) = (named("before"), named("after"));
    let gateway = Gateway::start(&Plan::to([&before]));
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.read_answer().text(), "before");
    gateway.apply(&Plan::to([&after]));
    client.send(get("/"));
    assert_eq!(client.read_answer().text(), "after");
    // An exchange is finished by the plan under which it began.
    let slow = Instance::manual();
    gateway.apply(&Plan::to([&slow]));
    client.send(get("/"));
    let mut peer = slow.accept();
    peer.read_request();
    gateway.apply(&Plan::to([&after]));
    peer.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
}
