//! Exchanges at once that a cluster counts.

use std::task::{Context, Poll, Waker};

use pylae_core::Resume;
use pylae_core::limit::shared::{Due, OnStoreError};
use pylae_core::limit::{Places, SharedInFlight};

use super::*;

/// A node, and what the store knows.
struct Cluster {
    places: SharedInFlight,
    store: Places,
    shared: Arc<PolicyShared>,
}

impl Cluster {
    fn new() -> Self {
        let places = SharedInFlight::new(1, 1000, OnStoreError::Deny, |_| {});
        let shared = Arc::new(PolicyShared::new(1000).with_shared_in_flight(places.clone()));
        Self { places, store: Places::default(), shared }
    }

    /// Sends what is due, and lets the answers arrive.
    fn exchange(&mut self, due: Due) {
        let now = Instant::from_nanos(100 * SECOND);
        for call in self.places.collect(due, now, 100) {
            let answer = self.store.apply(1_795_000_000_000_000, &call.call);
            self.places.answer(call, now, now, Some(&answer));
        }
    }

    /// Runs the policy as a chain does. Returns whether it waited, and the verdict.
    fn run(&mut self, policy: &RateLimit, exchange: &mut Exchange) -> (bool, Verdict) {
        exchange.entered = 1;
        let mut wait = match policy.on_request(exchange) {
            Verdict::Wait(wait) => wait,
            verdict => return (false, verdict),
        };
        let mut cx = Context::from_waker(Waker::noop());
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        self.exchange(Due::Urgent);
        let Poll::Ready(resume) = wait.as_mut().poll(&mut cx) else { panic!("not decided") };
        let resume: Resume = resume;
        assert!(matches!(resume(exchange), Verdict::Continue));
        assert_eq!(exchange.entered, 0, "the policy runs again");
        exchange.entered = 1;
        (true, policy.on_request(exchange))
    }
}

fn flights(limit: u32, scope: Option<&str>) -> Value {
    json!({"name": "flights", "limit": limit, "key": ["ip"], "per_route": true, "scope": scope, "headers": true})
}

#[test]
fn a_request_waits_for_its_place_and_holds_it() {
    let mut cluster = Cluster::new();
    let policy = build(config(&[limit("default", 9, "ip")], flights(1, None)), "r", &cluster.shared).unwrap();
    let mut first = exchange(None, "");
    assert!(matches!(cluster.run(&policy, &mut first), (true, Verdict::Continue)));
    assert_eq!(first.admitted().unwrap().permits.len(), 1);
    assert!(value(&first, "RateLimit").ends_with("\"flights\";r=0"), "{}", value(&first, "RateLimit"));
    assert!(policy.preview(&first).ends_with("`flights`: 1 at once by ip, 0 left)"), "{}", policy.preview(&first));
    let mut second = exchange(None, "");
    let (true, Verdict::Reject(rejection)) = cluster.run(&policy, &mut second) else { panic!("admitted") };
    assert_eq!(rejection.message, "too many requests at the same time");
    first.reset();
    assert!(matches!(cluster.run(&policy, &mut second), (false, Verdict::Continue)), "the node has the place yet");
    drop(second);
    // A key that was used three times keeps its free place for a while.
    (0..4).for_each(|_| cluster.exchange(Due::All));
    assert_eq!((cluster.places.keys(), cluster.store), (0, Places::default()));
}

#[test]
fn the_place_of_a_request_that_another_limit_refuses_comes_back() {
    let mut cluster = Cluster::new();
    let policy = build(config(&[limit("default", 1, "ip")], flights(1, None)), "r", &cluster.shared).unwrap();
    assert!(matches!(cluster.run(&policy, &mut exchange(None, "")), (true, Verdict::Continue)));
    for _ in 0..3 {
        let (_, Verdict::Reject(rejection)) = cluster.run(&policy, &mut exchange(None, "")) else { panic!() };
        assert_eq!(rejection.message, "too many requests");
    }
}

#[test]
fn a_limit_of_the_node_does_not_wait() {
    let cluster = Cluster::new();
    let policy = build(config(&[], flights(1, Some("node"))), "r", &cluster.shared).unwrap();
    let mut held = exchange(None, "");
    assert!(admitted(&policy, &mut held));
    assert!(!admitted(&policy, &mut exchange(None, "")));
}

#[test]
fn a_request_that_is_gone_while_it_waits_gives_its_place_back() {
    let mut cluster = Cluster::new();
    let policy = build(config(&[], flights(1, None)), "r", &cluster.shared).unwrap();
    let mut gone = exchange(None, "");
    let wait = policy.on_request(&mut gone);
    cluster.exchange(Due::Urgent);
    drop((wait, gone));
    cluster.exchange(Due::All);
    cluster.exchange(Due::All);
    assert_eq!(cluster.store, Places::default());
}
