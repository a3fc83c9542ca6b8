use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use proptest::prelude::*;

use super::super::places::{PLACES_LIFETIME, Places, PlacesCall};
use super::*;
use crate::limit::shared::{StoreKey, StoreReach};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLI;
const EPOCH: u64 = 1_795_000_000_000_000;

struct Node {
    flights: SharedInFlight,
    of: ConcurrencyIdentity,
    waits: Vec<PendingPlace>,
    permits: Vec<ConcurrencyPermit>,
    woken: Arc<AtomicUsize>,
    alive: bool,
}

/// A call on its way, or its answer on the way back.
struct Sent {
    node: usize,
    at: u64,
    call: PlaceCall,
    answer: Option<PlacesAnswer>,
}

/// Nodes and a store, one limit and one key. Everything between them is done by hand.
struct World {
    /// In nanoseconds, of the store and of all nodes.
    now: u64,
    limit: u32,
    nodes: Vec<Node>,
    store: HashMap<StoreKey, Places>,
    calls: Vec<Sent>,
    /// Calls that were given up, and that the store may execute nevertheless.
    late: Vec<(StoreKey, PlacesCall)>,
}

impl World {
    fn new(nodes: u64, limit: u32, on_store_error: OnStoreError) -> Self {
        let node = |name| {
            let woken = Arc::new(AtomicUsize::new(0));
            let counts = Arc::clone(&woken);
            let wake = move |due| {
                counts.fetch_add(usize::from(due == Due::Urgent), Ordering::Relaxed);
            };
            let flights = SharedInFlight::new(name, 128, on_store_error, wake);
            flights.set_nodes(nodes as usize);
            let of = flights.register("route/r/rate_limit/c");
            Node { flights, of, waits: Vec::new(), permits: Vec::new(), woken, alive: true }
        };
        let nodes = (1..=nodes).map(node).collect();
        Self { now: SECOND, limit, nodes, store: HashMap::new(), calls: Vec::new(), late: Vec::new() }
    }

    fn at(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    fn micros(&self) -> u64 {
        EPOCH + self.now / 1000
    }

    /// A request; returns true or false if it is decided at once.
    fn ask(&mut self, node: usize) -> Option<bool> {
        let at = self.at();
        let Node { flights, of, waits, permits, .. } = &mut self.nodes[node];
        match flights.acquire(of, b"key", self.limit, at) {
            PlaceOutcome::Decided(PlaceVerdict::Admitted(permit)) => {
                permits.push(permit);
                Some(true)
            }
            PlaceOutcome::Decided(PlaceVerdict::Refused) => Some(false),
            PlaceOutcome::Pending(place) => {
                waits.push(place);
                None
            }
        }
    }

    /// Polls those who wait; returns how many were admitted and refused.
    fn poll(&mut self, node: usize) -> (usize, usize) {
        let (mut admitted, mut refused) = (0, 0);
        let Node { waits, permits, .. } = &mut self.nodes[node];
        for mut wait in std::mem::take(waits) {
            match Pin::new(&mut wait).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => waits.push(wait),
                Poll::Ready(PlaceVerdict::Refused) => refused += 1,
                Poll::Ready(PlaceVerdict::Admitted(permit)) => {
                    permits.push(permit);
                    admitted += 1;
                }
            }
        }
        (admitted, refused)
    }

    fn collect(&mut self, node: usize, due: Due) -> usize {
        let calls = self.nodes[node].flights.collect(due, self.at(), 100);
        let count = calls.len();
        let at = self.now;
        self.calls.extend(calls.into_iter().map(|call| Sent { node, at, call, answer: None }));
        count
    }

    fn execute(&mut self, place: usize) {
        let now = self.micros();
        let sent = &mut self.calls[place];
        if sent.answer.is_none() {
            sent.answer = Some(self.store.entry(sent.call.key).or_default().apply(now, &sent.call.call));
        }
    }

    fn arrive(&mut self, place: usize) {
        self.execute(place);
        let Sent { node, at, call, answer } = self.calls.swap_remove(place);
        if self.nodes[node].alive {
            self.nodes[node].flights.answer(call, Instant::from_nanos(at), self.at(), answer.as_ref());
        }
    }

    fn lose(&mut self, place: usize) {
        let Sent { node, at, call, answer } = self.calls.swap_remove(place);
        if answer.is_none() {
            self.late.push((call.key, call.call));
        }
        if self.nodes[node].alive {
            self.nodes[node].flights.answer(call, Instant::from_nanos(at), self.at(), None);
        }
    }

    /// Sends what is due, and lets the answers arrive.
    fn exchange(&mut self, node: usize, due: Due) -> usize {
        let calls = self.collect(node, due);
        while !self.calls.is_empty() {
            self.arrive(0);
        }
        calls
    }

    fn flush(&mut self, node: usize) -> usize {
        self.now += 20 * MILLI;
        self.exchange(node, Due::All)
    }

    fn in_flight(&self) -> usize {
        self.nodes.iter().filter(|node| node.alive).map(|node| node.permits.len()).sum()
    }

    fn left(&self) -> Option<u32> {
        let Node { flights, of, .. } = &self.nodes[0];
        flights.left(of, b"key", self.at())
    }
}

#[test]
fn a_place_is_asked_for_and_comes_back_with_the_next_flush() {
    let mut world = World::new(2, 2, OnStoreError::Deny);
    assert_eq!(world.ask(0), None);
    assert_eq!(world.ask(0), None);
    assert_eq!(world.nodes[0].woken.load(Ordering::Relaxed), 1, "once for both");
    assert_eq!(world.exchange(0, Due::Urgent), 1, "one call for all who wait");
    assert_eq!(world.poll(0), (2, 0));
    assert_eq!(world.ask(1), None);
    world.exchange(1, Due::Urgent);
    assert_eq!(world.poll(1), (0, 1));
    world.nodes[0].permits.pop();
    world.flush(0);
    for _ in 0..3 {
        world.flush(0);
    }
    world.ask(1);
    world.exchange(1, Due::Urgent);
    assert_eq!(world.poll(1), (1, 0));
    for node in 0..2 {
        world.nodes[node].permits.clear();
        for _ in 0..10 {
            world.flush(node);
        }
        assert_eq!(world.nodes[node].flights.keys(), 0);
    }
    assert!(world.store.values().all(|places| *places == Places::default()));
}

#[test]
fn a_key_that_is_used_often_has_free_places_at_hand() {
    let mut world = World::new(2, 100, OnStoreError::Deny);
    let mut at_once = 0;
    for _ in 0..20 {
        for _ in 0..4 {
            at_once += usize::from(world.ask(0) == Some(true));
            world.exchange(0, Due::Urgent);
            world.poll(0);
        }
        world.nodes[0].permits.clear();
        world.flush(0);
    }
    assert!(at_once >= 70, "{at_once}");
    for _ in 0..10 {
        world.flush(0);
    }
    assert!(world.store.values().all(|places| *places == Places::default()), "what is not used goes back");
}

#[test]
fn a_node_that_ends_gives_its_free_places_back_at_once() {
    let mut world = World::new(2, 100, OnStoreError::Deny);
    for _ in 0..20 {
        (0..40).for_each(|_| _ = world.ask(0));
        world.exchange(0, Due::Urgent);
        world.poll(0);
        world.nodes[0].permits.clear();
        world.flush(0);
    }
    world.nodes[0].flights.retire();
    world.flush(0);
    assert!(world.store.values().all(|places| *places == Places::default()));
    world.flush(0);
    assert_eq!(world.nodes[0].flights.keys(), 0);
}

#[test]
fn places_are_renewed_as_long_as_an_exchange_lasts() {
    let mut world = World::new(2, 1, OnStoreError::Deny);
    world.ask(0);
    world.exchange(0, Due::Urgent);
    assert_eq!(world.poll(0), (1, 0));
    let calls: usize = (0..1000).map(|_| world.flush(0)).sum();
    assert!((15..=30).contains(&calls), "{calls} in 20 s");
    world.ask(1);
    world.exchange(1, Due::Urgent);
    assert_eq!(world.poll(1), (0, 1));
    world.now += PLACES_LIFETIME * 1000;
    world.ask(1);
    world.exchange(1, Due::Urgent);
    assert_eq!(world.poll(1), (1, 0), "the node was dead");
}

#[test]
fn without_the_store_each_node_has_its_share() {
    for (on_store_error, admitted) in [(OnStoreError::Share, 3), (OnStoreError::Allow, 20), (OnStoreError::Deny, 0)] {
        let mut world = World::new(3, 10, on_store_error);
        world.ask(0);
        world.collect(0, Due::Urgent);
        world.ask(0);
        world.nodes[0].flights.set_reach(false.into(), world.at());
        world.lose(0);
        world.poll(0);
        for _ in 0..18 {
            assert!(world.ask(0).is_some(), "nobody waits");
        }
        assert_eq!(world.in_flight(), admitted, "{on_store_error:?}");
        world.flush(0);
        world.nodes[0].flights.set_reach(true.into(), world.at());
        world.flush(0);
        world.ask(1);
        world.exchange(1, Due::Urgent);
        world.poll(1);
        assert_eq!(world.nodes[1].permits.len(), usize::from(admitted < 10), "what was admitted counts");
    }
}

#[test]
fn a_part_of_the_store_that_is_gone_concerns_its_keys_only() {
    let mut world = World::new(2, 10, OnStoreError::Share);
    world.ask(0);
    world.exchange(0, Due::Urgent);
    assert_eq!(world.poll(0), (1, 0));
    let lost = *world.store.keys().next().unwrap();
    world.nodes[0].permits.clear();
    world.flush(0);
    let ask = |world: &World, key: &[u8]| {
        let Node { flights, of, .. } = &world.nodes[0];
        flights.acquire(of, key, 10, world.at())
    };
    let waiting = ask(&world, b"key");
    world.nodes[0].flights.set_reach(StoreReach::Some(Arc::new(move |key| *key != lost)), world.at());
    let PlaceOutcome::Pending(mut waiting) = waiting else { panic!("{waiting:?}") };
    let decided = Pin::new(&mut waiting).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(decided, Poll::Ready(PlaceVerdict::Admitted(_))), "who waits is decided");
    let others: Vec<_> = (0..5).map(|_| ask(&world, b"key")).collect();
    let admitted = others.iter().filter(|one| matches!(one, PlaceOutcome::Decided(PlaceVerdict::Admitted(_))));
    assert_eq!(admitted.count(), 4, "its share, and one was admitted before");
    let another = ask(&world, b"another");
    assert!(matches!(another, PlaceOutcome::Pending(_)), "the store is asked");
    assert_eq!(world.collect(0, Due::All), 1, "and only about that");
    world.nodes[0].flights.set_reach(StoreReach::All, world.at());
    assert_eq!(world.collect(0, Due::All), 1, "it is told how many there are");
    assert_eq!(world.calls[1].call.call.keep, 5);
}

#[test]
fn a_request_that_is_gone_has_no_place() {
    let mut world = World::new(1, 1, OnStoreError::Deny);
    world.ask(0);
    world.nodes[0].waits.clear();
    assert_eq!(world.exchange(0, Due::Urgent), 0, "nothing is asked for it");
    world.ask(0);
    world.collect(0, Due::Urgent);
    world.nodes[0].waits.clear();
    world.arrive(0);
    world.ask(0);
    world.exchange(0, Due::Urgent);
    world.nodes[0].waits.clear();
    world.ask(0);
    world.exchange(0, Due::Urgent);
    assert_eq!(world.nodes[0].permits.len() + world.poll(0).0, 1);
    assert_eq!(world.left(), Some(0));
}

#[test]
fn keys_and_waits_are_bounded() {
    let world = World::new(1, 5000, OnStoreError::Deny);
    let Node { flights, of, .. } = &world.nodes[0];
    let waits: Vec<_> = (0..2000).map(|_| flights.acquire(of, b"one", 5000, world.at())).collect();
    assert_eq!(waits.iter().filter(|outcome| matches!(outcome, PlaceOutcome::Pending(_))).count(), 1024);
    let keys: Vec<_> = (0..2000_u32).map(|key| flights.acquire(of, &key.to_le_bytes(), 1, world.at())).collect();
    assert!(flights.keys() <= 128);
    assert!(keys.iter().any(|outcome| matches!(outcome, PlaceOutcome::Decided(PlaceVerdict::Refused))));
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Ask(usize),
    End(usize, usize),
    /// A request is gone.
    Leave(usize, usize),
    Poll(usize),
    Urgent(usize),
    Flush(usize),
    Execute(usize),
    Arrive(usize),
    Lose(usize),
    Late(usize),
    Wait(u64),
    Die(usize),
}

fn any_event() -> impl Strategy<Value = Event> {
    let node = || 0..3_usize;
    let which = 0..64_usize;
    prop_oneof![
        12 => node().prop_map(Event::Ask),
        6 => (node(), which.clone()).prop_map(|(node, which)| Event::End(node, which)),
        1 => (node(), which.clone()).prop_map(|(node, which)| Event::Leave(node, which)),
        6 => node().prop_map(Event::Poll),
        6 => node().prop_map(Event::Urgent),
        5 => node().prop_map(Event::Flush),
        5 => which.clone().prop_map(Event::Execute),
        9 => which.clone().prop_map(Event::Arrive),
        2 => which.clone().prop_map(Event::Lose),
        2 => which.prop_map(Event::Late),
        4 => (0..40 * MILLI).prop_map(Event::Wait),
        1 => (0..SECOND).prop_map(Event::Wait),
        1 => node().prop_map(Event::Die),
    ]
}

impl World {
    fn happen(&mut self, event: Event) {
        let of = |which: usize, length: usize| (length > 0).then(|| which % length);
        match event {
            Event::Ask(node) if self.nodes[node].alive => drop(self.ask(node)),
            Event::End(node, which) if self.nodes[node].alive => {
                drop(of(which, self.nodes[node].permits.len()).map(|at| self.nodes[node].permits.swap_remove(at)));
            }
            Event::Leave(node, which) => {
                drop(of(which, self.nodes[node].waits.len()).map(|at| self.nodes[node].waits.swap_remove(at)));
            }
            Event::Poll(node) if self.nodes[node].alive => drop(self.poll(node)),
            Event::Urgent(node) if self.nodes[node].alive => drop(self.collect(node, Due::Urgent)),
            Event::Flush(node) if self.nodes[node].alive => drop(self.collect(node, Due::All)),
            Event::Execute(which) => drop(of(which, self.calls.len()).map(|place| self.execute(place))),
            Event::Arrive(which) => drop(of(which, self.calls.len()).map(|place| self.arrive(place))),
            Event::Lose(which) => drop(of(which, self.calls.len()).map(|place| self.lose(place))),
            Event::Late(which) => {
                if let Some(place) = of(which, self.late.len()) {
                    let (key, call) = self.late.swap_remove(place);
                    let now = self.micros();
                    self.store.entry(key).or_default().apply(now, &call);
                }
            }
            Event::Wait(time) => {
                self.now += time;
                // No node that lives is silent for longer than its places last.
                for node in 0..self.nodes.len() {
                    if time > 100 * MILLI && self.nodes[node].alive {
                        self.collect(node, Due::All);
                    }
                }
                while time > 100 * MILLI && !self.calls.is_empty() {
                    self.arrive(0);
                }
            }
            Event::Die(node) if self.nodes.iter().filter(|node| node.alive).count() > 1 => {
                // Its exchanges end with it.
                self.nodes[node].alive = false;
            }
            _ => {}
        }
    }
}

#[test]
fn never_more_than_the_limit_over_all_nodes_whatever_happens() {
    let config = ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() };
    let events = prop::collection::vec(any_event(), 1..250);
    proptest!(config, |(limit in 1..12_u32, events in events)| {
        let mut world = World::new(3, limit, OnStoreError::Deny);
        for (place, event) in events.iter().enumerate() {
            world.happen(*event);
            prop_assert!(world.in_flight() <= limit as usize, "event {place}: {} of {limit}", world.in_flight());
        }
        // In the end all places come back, those of dead nodes too.
        world.late.clear();
        for node in &mut world.nodes {
            node.waits.clear();
            node.permits.clear();
        }
        while !world.calls.is_empty() {
            world.arrive(0);
        }
        world.now += PLACES_LIFETIME * 1000;
        let alive = world.nodes.iter().position(|node| node.alive).unwrap_or(0);
        for node in 0..3 {
            for _ in 0..20 {
                if world.nodes[node].alive {
                    world.flush(node);
                }
            }
        }
        for _ in 0..limit {
            let at_once = world.ask(alive);
            world.exchange(alive, Due::Urgent);
            prop_assert!(at_once == Some(true) || world.poll(alive) == (1, 0));
        }
    });
}
