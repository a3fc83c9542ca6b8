//! The early stage as the data plane sees it: hooks before routing, implemented by functions of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pylae_core::hook::Step;
use pylae_core::{Answer, Exchange, User};
use serde_json::{Value, json};

use crate::support::clock::{ClockLock, wait_until};
use crate::support::gateway::Gateway;
use crate::support::hooks::{Fake, OffWorker, policy};
use crate::support::instance::{Answer as Sent, Instance};
use crate::support::plan::Plan;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

fn at(path: &str) -> Value {
    json!({"service": "all", "match": {"path": {"kind": "exact", "value": path}}})
}

/// A gateway with early hooks.
fn start(plan: Plan, hooks: Fake) -> Gateway {
    let plan = plan.with(json!({"early": policy()}));
    Gateway::start_with(&plan, ClockLock::shared(), hooks.source())
}

/// What a hook in Python does when it sets `request.path`.
fn set_path(exchange: &mut Exchange, path: &str) {
    exchange.request.forward_path = path.into();
    exchange.hook_visit().path_set = true;
}

fn on_request(hook: impl Fn(&mut Exchange) -> Step + Send + Sync + 'static) -> Fake {
    Fake { on_request: Box::new(hook), ..Fake::default() }
}

#[test]
fn what_a_hook_sets_is_what_is_routed() {
    let (old, new) = (Instance::ok(), Instance::ok());
    let other = json!({"service": "other", "match": {"path": {"kind": "exact", "value": "/new"},
        "hosts": ["b.test"], "headers": [{"name": "X-Set", "value": {"equals": "1"}}],
        "query": [{"name": "q", "value": {"equals": "2"}}]}});
    let plan = Plan::to([&old]).service("other", [new.url()], json!({})).route("other", other);
    let hooks = on_request(|exchange| {
        set_path(exchange, "/new");
        exchange.request.forward_query = Some(b"q=2".to_vec());
        exchange.hook_visit().host = Some((*b"b.test").into());
        exchange.request.edits.set(b"X-Set", b"1").unwrap();
        Step::Continue
    });
    let gateway = start(plan, hooks);
    assert_eq!(gateway.fetch(get("/old?q=1")).status(), 200);
    assert_eq!((old.requests().len(), new.requests().len()), (0, 1));
    assert_eq!((new.request().target(), new.request().single("x-forwarded-host")), ("/new?q=2", Some("b.test")));
    let line = gateway.logged_once(&["path", "routed_path", "route"]);
    assert_eq!(line, json!({"path": "/old", "routed_path": "/new", "route": "other"}));
}

#[test]
fn a_path_that_a_hook_sets_is_judged_like_a_clients() {
    let instance = Instance::ok();
    let mut barred = at("/admin");
    barred["policies"] = json!({"ip_access": {"allow": [], "deny": ["127.0.0.1/32"]}});
    let mut open = at("/public");
    open["match"]["path"] = json!({"kind": "prefix", "value": "/public"});
    let plan = Plan::new().service("all", [instance.url()], json!({})).route("open", open).route("barred", barred);
    let hooks = on_request(|exchange| {
        let wanted = exchange.request.values("x-path").next().map(|path| String::from_utf8_lossy(path).into_owned());
        if let Some(path) = wanted {
            set_path(exchange, &path);
        }
        Step::Continue
    });
    let gateway = start(plan, hooks);
    let fetch =
        |path: &str| gateway.fetch(format!("GET /public HTTP/1.1\r\nHost: a\r\nX-Path: {path}\r\n\r\n")).refusal();
    assert_eq!(fetch("/public/../admin"), "403 address_refused");
    assert_eq!(fetch("/public/%2e%2e/admin"), "403 address_refused");
    assert_eq!(fetch("//admin"), "403 address_refused");
    assert_eq!(fetch("/public/..%2fadmin"), "500 hook_error, close");
    assert_eq!(fetch("/../../admin"), "500 hook_error, close");
    assert_eq!(fetch("/public/%00"), "500 hook_error, close");
    assert_eq!(instance.connections(), 0);
    let problem = gateway.fetch("GET /public HTTP/1.1\r\nHost: a\r\nX-Path: /none\r\n\r\n").text();
    let problem: Value = serde_json::from_str(&problem).unwrap();
    assert_eq!((&problem["status"], &problem["instance"]), (&json!(404), &json!("/public")));
}

#[test]
fn every_answer_passes_response_hooks_with_the_gateways_own_fields() {
    let instance = Instance::ok();
    let hooks = Fake {
        on_response: Some(Box::new(|exchange| {
            let value = exchange.response.status.to_string();
            exchange.response.edits.append(b"X-Seen", value.as_bytes()).unwrap();
        })),
        ..Fake::default()
    };
    let mut methods = at("/x");
    methods["match"]["methods"] = json!(["GET"]);
    let plan = Plan::new().service("all", [instance.url()], json!({})).route("x", methods);
    let gateway = start(plan, hooks);
    let seen = |request: &str| {
        let answer = gateway.fetch(request);
        (answer.status(), answer.single("x-seen").map(str::to_owned))
    };
    assert_eq!(seen(&get("/x")), (200, Some("200".to_owned())));
    assert_eq!(seen(&get("/none")), (404, Some("404".to_owned())));
    assert_eq!(seen(&get("/x").replace("GET", "PUT")), (405, Some("405".to_owned())));
    // The fake sees what is no request too.
    assert_eq!(seen("GET /x HTTP/1.1\r\n\r\n"), (400, Some("400".to_owned())));
    gateway.set_draining("all", &instance.url(), true).unwrap();
    assert_eq!(seen(&get("/x")), (503, Some("503".to_owned())));
}

#[test]
fn a_barred_address_gets_no_hook_but_its_answer_does() {
    let (instance, called) = (Instance::ok(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&called);
    let hooks = Fake {
        on_request: Box::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Step::Continue
        }),
        on_response: Some(Box::new(|exchange| exchange.response.edits.append(b"X-Seen", b"1").unwrap())),
        ..Fake::default()
    };
    let barred = json!({"ip_access": {"allow": [], "deny": ["127.0.0.1/32"]}});
    let gateway = start(Plan::to([&instance]).with(json!({"early": barred})), hooks);
    let answer = gateway.fetch(get("/x"));
    assert_eq!((answer.refusal(), answer.has("x-seen")), ("403 address_refused".to_owned(), true));
    assert_eq!((called.load(Ordering::Relaxed), instance.connections()), (0, 0));
}

#[test]
fn a_hook_that_answers_ends_the_exchange_before_any_route() {
    let instance = Instance::ok();
    let hooks = on_request(|exchange| match &exchange.request.target.path[..] {
        b"/mine" => Step::Answer(Box::new(Answer { status: 418, headers: Vec::new(), body: Arc::from(&b"tea"[..]) })),
        _ => Step::Continue,
    });
    let gateway = start(Plan::to([&instance]), hooks);
    let mut client = gateway.connect();
    for (path, status) in [("/mine", 418), ("/x", 200), ("/mine", 418)] {
        client.send(get(path));
        assert_eq!(client.read_answer().status(), status, "{path}");
    }
    assert_eq!(instance.requests().len(), 1);
}

#[test]
fn bodies_pass_behind_a_head_that_was_written_anew() {
    let instance = Instance::answering([Sent::bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
    let long = "x".repeat(2000);
    let hooks = on_request(move |exchange| {
        let short = exchange.request.target.path == b"/short";
        set_path(exchange, if short { "/" } else { "/a/much/longer/path" });
        exchange.request.edits.set(b"X-Long", if short { b"1" } else { long.as_bytes() }).unwrap();
        Step::Continue
    });
    let gateway = start(Plan::to([&instance]), hooks);
    let mut client = gateway.connect();
    let fields = "Host: a\r\nX-Old: some field that stays\r\n";
    for path in ["/short", "/long"] {
        // With the head, behind it, and two requests at once.
        client.send(format!("POST {path} HTTP/1.1\r\n{fields}Content-Length: 4\r\n\r\nbody"));
        assert_eq!(client.read_answer().status(), 200);
        client.send(format!("POST {path} HTTP/1.1\r\n{fields}Content-Length: 4\r\n\r\nbo"));
        client.send("dy");
        assert_eq!(client.read_answer().status(), 200);
        let chunked =
            format!("POST {path} HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n");
        client.send(chunked.repeat(2));
        assert_eq!((client.read_answer().status(), client.read_answer().status()), (200, 200));
    }
    let requests = instance.requests();
    assert_eq!(requests.len(), 8);
    assert!(requests.iter().all(|request| request.text() == "body" && request.has("x-long") && request.has("x-old")));
}

#[test]
fn a_hook_off_the_worker_changes_what_is_routed() {
    let (instance, work) = (Instance::ok(), OffWorker::default());
    let begun = work.clone();
    let hooks = Fake {
        on_request: Box::new(move |_| begun.step(Duration::from_secs(3600))),
        resume: Box::new(|exchange, _| {
            set_path(exchange, "/new");
            Step::Continue
        }),
        ..Fake::default()
    };
    let plan = Plan::new().service("all", [instance.url()], json!({})).route("new", at("/new"));
    let gateway = start(plan, hooks);
    let mut client = gateway.connect();
    client.send(get("/old"));
    wait_until(|| work.in_progress() == 1);
    work.finish();
    assert_eq!(client.read_answer().status(), 200);
    assert_eq!(instance.request().target(), "/new");
}

#[test]
fn the_user_that_a_hook_sets_is_the_user() {
    let instance = Instance::ok();
    let hooks = on_request(|exchange| {
        let role = if exchange.request.target.path == b"/admin" { "admin" } else { "guest" };
        let user = User { id: "7".to_owned(), role: role.to_owned(), via: "hook", ..User::default() };
        exchange.request.user = Some(Arc::new(user));
        Step::Continue
    });
    let guarded = json!({"authentication": {"authenticators": ["api_key"], "required": true},
        "authorization": {"permissions": [], "roles": ["admin"], "admin_role": ""}});
    let plan = Plan::to([&instance]).with_route(json!({"policies": guarded}));
    let gateway = start(plan.with(json!({"auth": auth()})), hooks);
    assert_eq!(gateway.fetch(get("/admin")).status(), 200);
    assert_eq!(gateway.fetch(get("/x")).refusal(), "403 forbidden");
    assert_eq!(instance.request().single("x-user-id"), Some("7"));
}

/// An authenticator that knows nobody.
fn auth() -> Value {
    let consumer = json!({"id": "1", "email": "", "role": "", "permissions": [], "keys": ["0".repeat(64)]});
    let key = json!({
        "kind": "api_key", "header": "X-API-Key", "query": null, "consumers": [consumer], "forward_credentials": false,
    });
    json!({"realm": "test", "failure_limit": null, "authenticators": [key]})
}
