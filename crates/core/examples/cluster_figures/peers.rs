//! How other gateways share a limit, for comparison: one key, a token bucket, and a store that never fails.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::events::Timed;
use crate::excess::Admissions;
use crate::setup::{SECOND, Setup, Summary};

/// How gateways share a limit.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The store decides on each request.
    PerRequest,
    /// Each node has its part of the limit.
    Share,
    /// Each node tells the store after so many nanoseconds what it has admitted, and learns what all have.
    Deltas(u64),
}

enum PeerEvent {
    Request(usize),
    /// The store is asked about a request.
    Asked,
    Sync(usize),
    /// The store learns what a node has admitted.
    Told(usize, u64),
    /// A node learns when the bucket is full.
    Learned(usize, f64),
    Measure,
}

/// A token bucket. It may have a debt.
#[derive(Copy, Clone, Debug)]
struct PeerBucket {
    full_at: f64,
    /// Nanoseconds in which it gets a token.
    token: f64,
    capacity: f64,
}

impl PeerBucket {
    fn new(limit: f64, capacity: f64) -> Self {
        Self { full_at: 0.0, token: SECOND as f64 / limit, capacity }
    }

    fn charge(&mut self, now: u64, tokens: u64) {
        self.full_at = self.full_at.max(now as f64) + tokens as f64 * self.token;
    }

    fn admit(&mut self, now: u64) -> bool {
        let used = (self.full_at - now as f64).max(0.0) / self.token;
        let admitted = used + 1.0 <= self.capacity;
        if admitted {
            self.charge(now, 1);
        }
        admitted
    }
}

struct PeerNode {
    bucket: PeerBucket,
    /// Admitted since the last call.
    delta: u64,
    /// There was a request since the last call.
    used: bool,
}

struct PeerSimulation<'a> {
    setup: &'a Setup,
    peer: Peer,
    random: fastrand::Rng,
    now: u64,
    sequence: u64,
    events: BinaryHeap<Timed<PeerEvent>>,
    nodes: Vec<PeerNode>,
    store: PeerBucket,
    admissions: Admissions,
    summary: Summary,
}

/// Simulates one key by the design of a peer.
pub(crate) fn run_peer(setup: &Setup, peer: Peer) -> Summary {
    let rate = f64::from(setup.shape.limit()) / setup.shape.per().as_secs_f64();
    let capacity = f64::from(setup.shape.capacity());
    let parts = if peer == Peer::Share { setup.nodes() as f64 } else { 1.0 };
    let bucket = PeerBucket::new(rate / parts, (capacity / parts).floor().max(1.0));
    let mut simulation = PeerSimulation {
        setup,
        peer,
        random: fastrand::Rng::with_seed(setup.seed),
        now: 0,
        sequence: 0,
        events: BinaryHeap::new(),
        nodes: (0..setup.nodes()).map(|_| PeerNode { bucket, delta: 0, used: false }).collect(),
        store: PeerBucket::new(rate, capacity),
        admissions: Admissions::new(&setup.shape),
        summary: Summary::default(),
    };
    simulation.run();
    let mut summary = simulation.summary;
    (summary.excess, summary.excess_sum) = simulation.admissions.excess();
    summary.busy = summary.calls * setup.service;
    summary.busiest = summary.busy;
    summary
}

impl PeerSimulation<'_> {
    fn run(&mut self) {
        for node in 0..self.nodes.len() {
            self.next_request(node);
            if let Peer::Deltas(period) = self.peer {
                let first = self.random.u64(0..period);
                self.push(first, PeerEvent::Sync(node));
            }
        }
        self.push(self.setup.warm_up, PeerEvent::Measure);
        while let Some(Timed(Reverse((time, _)), event)) = self.events.pop() {
            if time > self.setup.duration {
                break;
            }
            self.now = time;
            self.handle(&event);
        }
    }

    fn push(&mut self, after: u64, event: PeerEvent) {
        self.sequence += 1;
        self.events.push(Timed(Reverse((self.now + after, self.sequence)), event));
    }

    fn next_request(&mut self, node: usize) {
        let after = -(1.0 - self.random.f64()).ln() / self.setup.rates[node] * SECOND as f64;
        self.push(after as u64 + 1, PeerEvent::Request(node));
    }

    fn handle(&mut self, event: &PeerEvent) {
        match *event {
            PeerEvent::Request(node) => self.request(node),
            PeerEvent::Asked => {
                // In whole microseconds, as the excess is counted.
                let admitted = self.store.admit(self.now / 1000 * 1000);
                self.decided(admitted);
            }
            PeerEvent::Sync(node) => self.sync(node),
            PeerEvent::Told(node, delta) => {
                self.store.charge(self.now, delta);
                self.push(self.setup.latency, PeerEvent::Learned(node, self.store.full_at));
            }
            PeerEvent::Learned(node, full_at) => {
                let node = &mut self.nodes[node];
                node.bucket.full_at = full_at;
                node.bucket.charge(self.now, node.delta);
            }
            PeerEvent::Measure => self.summary = Summary::default(),
        }
    }

    fn request(&mut self, index: usize) {
        self.next_request(index);
        self.summary.requests += 1;
        if self.peer == Peer::PerRequest {
            self.summary.waited += 1;
            self.summary.calls += 1;
            self.push(self.setup.latency, PeerEvent::Asked);
            return;
        }
        let node = &mut self.nodes[index];
        let admitted = node.bucket.admit(self.now);
        node.delta += u64::from(admitted);
        node.used = true;
        self.decided(admitted);
    }

    fn decided(&mut self, admitted: bool) {
        if admitted {
            self.summary.admitted += 1;
            self.summary.tokens += 1;
            self.admissions.add(0, self.now, self.now / 1000, 1);
        } else {
            self.summary.refused += 1;
        }
    }

    fn sync(&mut self, index: usize) {
        let Peer::Deltas(period) = self.peer else { return };
        self.push(period, PeerEvent::Sync(index));
        let node = &mut self.nodes[index];
        if std::mem::take(&mut node.used) {
            let delta = std::mem::take(&mut node.delta);
            self.summary.calls += 1;
            self.push(self.setup.latency, PeerEvent::Told(index, delta));
        }
    }
}
