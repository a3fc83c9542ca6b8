//! Limits that a cluster counts, over a store whose answers have to be awaited.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use pylae_core::Resume;
use pylae_core::limit::{ChargeDecisions, ChargeOutcome, CounterStore, Limit, MemoryCounterStore, Reservation};

use super::*;

/// A store elsewhere: every check has to be awaited.
struct Elsewhere(Arc<MemoryCounterStore>);

impl CounterStore for Elsewhere {
    fn register(&self, identity: &str, shape: LimitShape, _mode: LimitMode) -> Result<Limit, LimitError> {
        self.0.register(identity, shape)
    }

    fn check_all(&self, charges: &mut [Charge<'_>], at: Clocks) -> ChargeOutcome {
        let sent: Vec<_> =
            charges.iter().map(|charge| (charge.limit().clone(), charge.key().to_vec(), charge.cost())).collect();
        let store = Arc::clone(&self.0);
        ChargeOutcome::Pending(Box::pin(async move {
            let mut waited = false;
            poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
            let mut charges: Vec<_> = sent.iter().map(|(limit, key, cost)| Charge::new(limit, key, *cost)).collect();
            let verdict = store.check_all(&mut charges, at);
            ChargeDecisions { verdict, decisions: charges.iter().map(|charge| charge.decision).collect() }
        }))
    }

    fn settle(&self, limit: &Limit, key: &[u8], reservation: &Reservation, cost: u32, at: Clocks) {
        self.0.settle(limit, key, reservation, cost, at);
    }

    fn peek(&self, limit: &Limit, key: &[u8], at: Clocks) -> Option<Decision> {
        self.0.peek(limit, key, at)
    }

    fn reset(&self, limit: &Limit, key: &[u8]) -> bool {
        self.0.reset(limit, key)
    }
}

fn cluster() -> Arc<PolicyShared> {
    let counters = Arc::new(Elsewhere(Arc::new(MemoryCounterStore::new(1000))));
    Arc::new(PolicyShared::new(1000).with_shared_counters(counters))
}

fn own(name: &str, most: u32, key: &str) -> Value {
    let mut written = limit(name, most, key);
    written["scope"] = "node".into();
    written
}

/// Runs the policy as a chain does, and waits where it waits. Returns whether it did, and the verdict.
fn run(policy: &RateLimit, exchange: &mut Exchange) -> (bool, Verdict) {
    exchange.entered = 1;
    let mut verdict = policy.on_request(exchange);
    let mut waited = false;
    while let Verdict::Wait(mut wait) = verdict {
        waited = true;
        let resume: Resume = loop {
            if let Poll::Ready(resume) = wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                break resume;
            }
        };
        verdict = resume(exchange);
        if exchange.entered == 0 {
            exchange.entered = 1;
            verdict = policy.on_request(exchange);
        }
    }
    (waited, verdict)
}

#[test]
fn a_request_waits_for_the_store_and_goes_on_as_if_it_had_not() {
    let policy = build(config(&[limit("default", 2, "ip")], Value::Null), "r", &cluster()).unwrap();
    for left in ["1", "0"] {
        let mut exchange = exchange(None, "");
        assert!(matches!(run(&policy, &mut exchange), (true, Verdict::Continue)));
        assert!(value(&exchange, "RateLimit").starts_with(&format!("\"default\";r={left};t=")));
        assert_eq!(exchange.admitted().unwrap().by[Limiter::Rate as usize], Some(true));
    }
    let mut refused = exchange(None, "");
    let (true, Verdict::Reject(rejection)) = run(&policy, &mut refused) else { panic!("admitted, or at once") };
    assert_eq!(rejection.headers, [("Retry-After".into(), "30".to_owned())]);
    assert!(value(&refused, "RateLimit").starts_with("\"default\";r=0;t="));
}

#[test]
fn limits_of_the_node_do_not_wait() {
    let policy = build(config(&[own("default", 1, "ip")], Value::Null), "r", &cluster()).unwrap();
    assert!(matches!(run(&policy, &mut exchange(None, "")), (false, Verdict::Continue)));
    assert!(matches!(run(&policy, &mut exchange(None, "")), (false, Verdict::Reject(_))));
}

#[test]
fn what_one_side_refuses_costs_nothing_on_the_other() {
    for (cluster_first, narrow_is_shared) in [(true, true), (true, false), (false, true), (false, false)] {
        let shared = cluster();
        let (wide, narrow) = if narrow_is_shared {
            (own("wide", 5, "global"), limit("narrow", 1, "header:x-tenant"))
        } else {
            (limit("wide", 5, "global"), own("narrow", 1, "header:x-tenant"))
        };
        let limits = if cluster_first == narrow_is_shared { [narrow, wide] } else { [wide, narrow] };
        let policy = build(config(&limits, Value::Null), "r", &shared).unwrap();
        let mut admitted = Vec::new();
        for tenant in ["a", "a", "a", "b", "c", "d", "e", "f"] {
            let mut exchange = exchange(None, &format!("X-Tenant: {tenant}\r\n"));
            if matches!(run(&policy, &mut exchange).1, Verdict::Continue) {
                admitted.push(tenant);
            }
            let left = format!("\"wide\";r={}", 5 - admitted.len());
            assert!(value(&exchange, "RateLimit").contains(&left), "{left}: {}", value(&exchange, "RateLimit"));
        }
        assert_eq!(admitted, ["a", "b", "c", "d", "e"]);
    }
}

#[test]
fn what_this_node_was_charged_comes_back_as_often_as_the_cluster_refuses() {
    let policy =
        build(config(&[own("wide", 3, "global"), limit("narrow", 1, "global")], Value::Null), "r", &cluster()).unwrap();
    assert!(matches!(run(&policy, &mut exchange(None, "")), (true, Verdict::Continue)));
    for _ in 0..20 {
        let mut refused = exchange(None, "");
        assert!(matches!(run(&policy, &mut refused), (true, Verdict::Reject(_))));
        assert!(value(&refused, "RateLimit").starts_with("\"wide\";r=2;"), "{}", value(&refused, "RateLimit"));
    }
}

#[test]
fn the_place_of_a_request_that_waits_is_its_own() {
    let flights = json!({"name": "flights", "limit": 1, "key": ["ip"], "per_route": true, "headers": true});
    let shared = cluster();
    let policy = build(config(&[limit("default", 1, "ip")], flights), "r", &shared).unwrap();
    let mut first = exchange(None, "");
    assert!(matches!(run(&policy, &mut first), (true, Verdict::Continue)));
    assert_eq!(first.admitted().unwrap().permits.len(), 1);
    first.reset();
    let mut second = exchange(None, "");
    assert!(matches!(run(&policy, &mut second), (true, Verdict::Reject(_))));
    assert_eq!(shared.in_flight.keys(), 0, "a refusal gives the place back");
}

#[test]
fn estimates_of_both_sides_are_settled() {
    let of_the_cluster = {
        let mut written = settled("theirs", 40, "header:x-cost");
        written["algorithm"] = "sliding_window".into();
        written
    };
    let mut of_the_node = settled("ours", 30, "header:x-cost");
    of_the_node["scope"] = "node".into();
    let limits = [own("plain", 50, "user"), of_the_cluster, of_the_node];
    let policy = build(config(&limits, Value::Null), "r", &cluster()).unwrap();
    let asked = || {
        let mut exchange = exchange(Some("7"), "");
        assert!(matches!(run(&policy, &mut exchange), (true, Verdict::Continue)));
        exchange
    };
    let mut told = asked();
    assert_eq!(left(&policy), [49, 60, 70]);
    respond(&mut told, "X-Cost: 2\r\n");
    policy.read_costs(&told);
    policy.on_response(&mut told);
    assert_eq!(left(&policy), [49, 98, 98]);
    policy.on_response(&mut asked());
    assert_eq!(left(&policy), [48, 98, 98], "nothing was sent");
    let mut untold = asked();
    untold.sent = true;
    assert_eq!(policy.settle(&untold, true), 2);
    assert_eq!(left(&policy), [47, 58, 68]);
}
