use pylae_core::Instant;
use pylae_core::exchange::user::User;
use serde_json::{Value, json};

use super::*;
use crate::address_limit::AddressLimit;
use crate::authentication::Authenticators;

const SECOND: u64 = 1_000_000_000;

fn limit(name: &str, limit: u32, key: &str) -> Value {
    json!({
        "name": name, "limit": limit, "per": 60.0, "algorithm": "token_bucket", "key": [key], "burst": null, "cost": 1,
        "settle": null, "per_route": true, "scope": null, "mode": "fast", "headers": true,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "callers write the value where they call")]
fn config(limits: &[Value], concurrency: Value) -> Config {
    serde_json::from_value(json!({"limits": limits, "concurrency": concurrency})).unwrap()
}

fn build(config: Config, route: &str, shared: &Arc<PolicyShared>) -> Result<RateLimit, Vec<Problem>> {
    RateLimit::build(config, &Parts { route, service: "", params: &[], shared, auth: &Authenticators::default() })
}

fn exchange(user: Option<&str>, head: &str) -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.request.buffer.extend_from_slice(format!("GET / HTTP/1.1\r\n{head}\r\n").as_bytes());
    let bounds = pylae_http::HeadLimits { head: 1 << 16, target: 1 << 16, fields: 100 };
    assert!(exchange.request.head.parse(&exchange.request.buffer, &bounds).unwrap());
    exchange.request.user = user.map(|id| Arc::new(User { id: id.to_owned(), ..User::default() }));
    exchange.times.now = Instant::from_nanos(100 * SECOND);
    exchange
}

fn admitted(policy: &RateLimit, exchange: &mut Exchange) -> bool {
    matches!(policy.on_request(exchange), Verdict::Continue)
}

fn value<'a>(exchange: &'a Exchange, name: &str) -> &'a str {
    exchange.response.edits.get(name.as_bytes()).map_or("", |value| std::str::from_utf8(value).unwrap())
}

#[test]
fn admits_the_limit_and_tells_what_is_left() {
    let shared = Arc::new(PolicyShared::new(1000));
    let policy = build(config(&[limit("default", 3, "auto")], Value::Null), "r", &shared).unwrap();
    for left in ["2", "1", "0"] {
        let mut exchange = exchange(None, "");
        assert!(admitted(&policy, &mut exchange));
        assert_eq!(value(&exchange, "RateLimit-Policy"), "\"default\";q=3;w=60");
        assert!(value(&exchange, "RateLimit").starts_with(&format!("\"default\";r={left};t=")));
    }
    let mut refused = exchange(None, "");
    let Verdict::Reject(rejection) = policy.on_request(&mut refused) else { panic!("admitted") };
    assert_eq!((rejection.status, rejection.code), (429, "rate_limited"));
    assert_eq!(rejection.headers, [("Retry-After".into(), "20".to_owned())]);
    assert_eq!(value(&refused, "RateLimit"), "\"default\";r=0;t=60");
    refused.times.now = Instant::from_nanos(120 * SECOND);
    assert!(admitted(&policy, &mut refused), "waiting for Retry-After is enough");
}

#[test]
fn users_have_their_own_share() {
    let shared = Arc::new(PolicyShared::new(1000));
    let policy = build(config(&[limit("default", 1, "auto")], Value::Null), "r", &shared).unwrap();
    assert!(admitted(&policy, &mut exchange(Some("7"), "")));
    assert!(!admitted(&policy, &mut exchange(Some("7"), "")));
    assert!(admitted(&policy, &mut exchange(Some("8"), "")));
    assert!(admitted(&policy, &mut exchange(None, "")));
}

#[test]
fn a_refusal_takes_nothing_from_the_others() {
    let shared = Arc::new(PolicyShared::new(1000));
    for count in 2..=MAX_CHARGES {
        let mut limits: Vec<Value> = (1..count).map(|index| limit(&format!("wide{index}"), 5, "global")).collect();
        limits.push(limit("narrow", 1, "header:x-tenant"));
        let flights = json!({"name": "flights", "limit": 9, "key": ["global"], "per_route": true, "headers": true});
        let policy = build(config(&limits, flights), &format!("r{count}"), &shared).unwrap();
        let mut held = Vec::new();
        for tenant in ["a", "a", "a", "b", "c", "d", "e", "f"] {
            let mut exchange = exchange(None, &format!("X-Tenant: {tenant}\r\n"));
            if admitted(&policy, &mut exchange) {
                held.push(tenant);
            }
            let told = value(&exchange, "RateLimit");
            assert!(told.ends_with(if held.contains(&tenant) { "\"flights\";r=8" } else { "r=8" }), "{told}");
            assert!(told.contains("\"narrow\""), "{told}");
        }
        assert_eq!(held, ["a", "b", "c", "d", "e"]);
        assert_eq!(shared.in_flight.keys(), 0, "places end with their exchanges");
    }
}

#[test]
fn no_more_at_once_than_allowed() {
    let shared = Arc::new(PolicyShared::new(1000));
    let flights = json!({"name": "flights", "limit": 2, "key": ["ip"], "per_route": false, "headers": true});
    let policy = build(config(&[], flights.clone()), "one", &shared).unwrap();
    let other = build(config(&[limit("default", 2, "ip")], flights), "two", &shared).unwrap();
    let [mut first, mut second, mut third] = [(); 3].map(|()| exchange(None, ""));
    assert!(admitted(&policy, &mut first));
    assert!(admitted(&other, &mut second));
    let Verdict::Reject(rejection) = other.on_request(&mut third) else { panic!("admitted") };
    assert_eq!((rejection.code, rejection.headers.len()), ("rate_limited", 1));
    assert_eq!(value(&third, "RateLimit"), "\"flights\";r=0");
    first.reset();
    assert!(admitted(&other, &mut third), "a refusal has cost nothing");
    assert!(!admitted(&other, &mut first), "the rate is used up now");
    drop((second, third));
    assert_eq!(shared.in_flight.keys(), 0);
}

#[test]
fn limits_of_the_gateway_are_shared_by_name() {
    let shared = Arc::new(PolicyShared::new(1000));
    let mut written = limit("all", 2, "ip");
    written["per_route"] = false.into();
    let policies =
        ["one", "two", "three"].map(|route| build(config(&[written.clone()], Value::Null), route, &shared).unwrap());
    let got = policies.each_ref().map(|policy| admitted(policy, &mut exchange(None, "")));
    assert_eq!(got, [true, true, false]);
}

#[test]
fn preview_takes_nothing() {
    let shared = Arc::new(PolicyShared::new(1000));
    let flights = json!({"name": "flights", "limit": 1, "key": ["user", "ip"], "per_route": true, "headers": false});
    let policy = build(config(&[limit("default", 1, "auto")], flights), "r", &shared).unwrap();
    let mut exchange = exchange(None, "");
    for _ in 0..3 {
        let told = policy.preview(&exchange);
        assert_eq!(told, "admits (`default`: 1 per 60s by auto, 1 left; `flights`: 1 at once by user+ip, 1 left)");
    }
    assert!(admitted(&policy, &mut exchange));
    assert!(policy.preview(&exchange).starts_with("refuses with 429"));
    assert_eq!(value(&exchange, "RateLimit-Policy"), "\"default\";q=1;w=60", "what is not told of");
}

#[test]
fn all_that_is_wrong_is_reported() {
    let shared = Arc::new(PolicyShared::new(1000));
    let paths = |limits: &[Value], concurrency: Value| -> Vec<String> {
        build(config(limits, concurrency), "r", &shared)
            .err()
            .map(|problems| problems.into_iter().map(|problem| problem.path).collect())
            .unwrap_or_default()
    };
    let with = |field: &str, value: Value| {
        let mut written = limit("default", 5, "ip");
        written[field] = value;
        written
    };
    assert_eq!(paths(&[], Value::Null), ["limits"]);
    assert_eq!(paths(&[with("cost", 6.into())], Value::Null), ["limits[0].cost"]);
    assert_eq!(paths(&[with("cost", 0.into())], Value::Null), ["limits[0].cost"]);
    assert_eq!(paths(&[with("per", 1e12.into())], Value::Null), ["limits[0].per"]);
    assert_eq!(paths(&[with("limit", 0.into())], Value::Null), ["limits[0]"]);
    assert_eq!(paths(&[with("key", json!([]))], Value::Null), ["limits[0].key"]);
    let mut burst = with("burst", 9.into());
    burst["algorithm"] = "fixed_window".into();
    assert_eq!(paths(&[burst.clone(), burst], Value::Null), ["limits[1].name", "limits[0].burst", "limits[1].burst"]);
    let many: Vec<Value> = (0..=MAX_CHARGES).map(|index| limit(&index.to_string(), 1, "ip")).collect();
    assert_eq!(paths(&many, Value::Null), ["limits"]);
    let none = json!({"name": "c", "limit": 0, "key": [], "per_route": true, "headers": true});
    assert_eq!(paths(&[], none), ["concurrency.limit", "concurrency.key"]);
}

#[test]
fn before_authentication_there_are_no_users() {
    let shared = Arc::new(PolicyShared::new(1000));
    let flights = |key: &str| json!({"name": "c", "limit": 1, "key": [key], "per_route": true, "headers": true});
    let auth = Authenticators::default();
    let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
    let wrong = config(&[limit("a", 1, "ip"), limit("b", 1, "auto")], flights("user"));
    let problems = AddressLimit::build(wrong, &parts).err().unwrap();
    assert_eq!(
        problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(),
        ["limits[1].key", "concurrency.key"]
    );
    let policy = AddressLimit::build(config(&[limit("a", 1, "ip")], Value::Null), &parts).unwrap();
    assert!(matches!(policy.on_request(&mut exchange(None, "")), Verdict::Continue));
    assert!(policy.preview(&exchange(None, "")).starts_with("refuses"));
    // A limit of the same name in the other policy is separate.
    let after = build(config(&[limit("a", 1, "ip")], Value::Null), "r", &shared).unwrap();
    assert!(admitted(&after, &mut exchange(None, "")));
}

mod places;
mod shared;

fn settled(name: &str, cost: u32, settle: &str) -> Value {
    json!({
        "name": name, "limit": 100, "per": 60.0, "algorithm": "token_bucket", "key": ["user"], "burst": null, "cost": cost,
        "settle": settle, "per_route": true, "scope": null, "mode": "fast", "headers": true,
    })
}

/// Puts an instance's response into the exchange.
fn respond(exchange: &mut Exchange, fields: &str) {
    exchange.sent = true;
    exchange.response.buffer.extend_from_slice(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
    let bounds = pylae_http::HeadLimits { head: 1 << 16, target: 1 << 16, fields: 100 };
    assert!(exchange.response.head.parse(&exchange.response.buffer, &bounds).unwrap());
}

fn left(policy: &RateLimit) -> Vec<u32> {
    let holder: Holder = serde_json::from_value(json!({"user": "7", "ip": null, "headers": {}})).unwrap();
    let at = Clocks { now: Instant::from_nanos(100 * SECOND), ..Clocks::default() };
    let standing = |limit: &LimitRule| policy.standing(&limit.name, &holder, at, false).unwrap().remaining;
    policy.limits.iter().map(standing).collect()
}

#[test]
fn estimates_are_settled_by_fields_and_hooks() {
    let limits = [settled("a", 40, "header:x-cost"), limit("plain", 50, "user"), settled("b", 30, "hook")];
    let shared = Arc::new(PolicyShared::new(1000));
    let policy = build(config(&limits, Value::Null), "r", &shared).unwrap();
    let mut exchange = exchange(Some("7"), "");
    assert!(admitted(&policy, &mut exchange));
    assert_eq!(left(&policy), [60, 49, 70]);
    respond(&mut exchange, "X-Cost: 5\r\n");
    policy.read_costs(&exchange);
    policy.on_response(&mut exchange);
    assert_eq!(left(&policy), [95, 49, 70]);
    assert_eq!(exchange.response.value("x-cost"), None);
    // A hook tells it while the body passes, by the index among the limits that are settled.
    exchange.admitted().unwrap().reserved.as_ref().unwrap().tell(Some(1), 50);
    assert_eq!(policy.settle(&exchange, true), 0);
    assert_eq!(left(&policy), [95, 49, 50]);
    assert_eq!(policy.settle(&exchange, true), 0);
    assert_eq!(left(&policy), [95, 49, 50], "once");
}

#[test]
fn estimates_stay_once_something_was_sent() {
    let shared = Arc::new(PolicyShared::new(1000));
    let policy = build(config(&[settled("a", 40, "header:x-cost")], Value::Null), "r", &shared).unwrap();
    for (fields, sent, after) in [("", false, 100), ("", true, 60), ("X-Cost: -1\r\n", true, 20)] {
        let mut exchange = exchange(Some("7"), "");
        assert!(admitted(&policy, &mut exchange));
        if sent {
            respond(&mut exchange, fields);
            policy.read_costs(&exchange);
        }
        policy.on_response(&mut exchange);
        assert_eq!(policy.settle(&exchange, true), usize::from(sent));
        assert_eq!(left(&policy), [after], "{fields}");
    }
    let mut refused = exchange(Some("7"), "");
    assert!(!admitted(&policy, &mut refused));
    policy.on_response(&mut refused);
    assert_eq!(left(&policy), [20]);
}

#[test]
fn what_cannot_be_settled_is_refused() {
    let shared = Arc::new(PolicyShared::new(1000));
    for field in ["content-length", "connection", "a b"] {
        let limits = [settled("a", 40, &format!("header:{field}"))];
        let problems = build(config(&limits, Value::Null), "r", &shared).err().unwrap();
        assert_eq!(problems[0].path, "limits[0].settle");
    }
    for settle in ["header:", "x-cost", ""] {
        assert!(
            serde_json::from_value::<Config>(json!({"limits": [settled("a", 1, settle)], "concurrency": null}))
                .is_err()
        );
    }
    let mut limits = settled("a", 40, "hook");
    limits["key"] = json!(["ip"]);
    let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &Authenticators::default() };
    let problems = AddressLimit::build(config(&[limits], Value::Null), &parts).err().unwrap();
    assert_eq!(problems[0].path, "limits[0].settle");
}
