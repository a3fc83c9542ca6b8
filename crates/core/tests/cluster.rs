//! Nodes come to agree about revocations and changes, whatever happens to their store, to them and between them.
//!
//! The store is a model of what the scripts do. Calls are lost before or after they were executed, entries are trimmed,
//! the store is flushed or comes back without its last writes, nodes start again. Afterwards all goes well for a while,
//! and then every node must know what any of them knew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use pylae_core::Instant;
use pylae_core::cluster::{
    CacheChange, Follower, Learned, LivePage, Outbox, Publication, Published, Query, Revocation, RevocationSet,
    RevokedName, StreamEntry, StreamHead, StreamId,
};
use pylae_core::limit::Clocks;

type Entry = StreamEntry<Vec<u8>>;

/// The time at which runs begin, in milliseconds since the Unix epoch.
const BEGIN: u64 = 1_700_000_000_000;

/// What the store has, and what its scripts do with it.
#[derive(Clone, Default)]
struct Store {
    epoch: Vec<u8>,
    live: BTreeMap<String, u64>,
    stream: Vec<Entry>,
    last: StreamId,
    step: u64,
}

fn bytes(text: impl std::fmt::Display) -> Vec<u8> {
    format!("{text}").into_bytes()
}

impl Store {
    fn head(&mut self, another: &[u8], void: &[u8], now: u64) -> StreamHead {
        let known = self.stream.last().is_some_and(|entry| entry.fields[0].1 == self.epoch) && self.epoch != void;
        if !known {
            self.epoch = another.to_vec();
            self.add(vec![(bytes("epoch"), self.epoch.clone()), (bytes("number"), bytes(1))], now);
        }
        let last = self.stream.last().unwrap();
        let number = String::from_utf8(last.fields[1].1.clone()).unwrap().parse().unwrap();
        StreamHead { epoch: self.epoch.clone().into(), number, id: last.id }
    }

    fn add(&mut self, fields: Vec<(Vec<u8>, Vec<u8>)>, now: u64) {
        // Never a place that was there before: it takes longer than a millisecond until a replica takes over.
        self.last = StreamId { time: now.max(self.last.time), sequence: self.step };
        self.stream.push(StreamEntry { id: self.last, fields });
    }

    fn page(&mut self, another: &[u8], rank: usize, most: usize, now: u64) -> LivePage {
        let head = self.head(another, b"", now);
        let mut members: Vec<_> = self.live.iter().map(|(member, until)| (*until, member)).collect();
        members.sort();
        let page = members.iter().rev().skip(rank).take(most);
        let revocations: Vec<_> =
            page.map(|(until, member)| Revocation::read(member.as_bytes(), *until).unwrap()).collect();
        LivePage { head, members: revocations.len(), revocations, strange: 0 }
    }

    fn publish(&mut self, another: &[u8], origin: &[u8], publication: &Publication, now: u64) -> Published {
        let before = self.head(another, b"", now);
        let mut fields: Vec<_> = publication.changes.iter().map(CacheChange::field).collect();
        self.live.retain(|_, until| *until > now);
        let mut revoke = |revocation: Revocation| {
            let until = self.live.entry(revocation.member()).or_default();
            if *until < revocation.until {
                *until = revocation.until;
                fields.push(("revoked", bytes(format!("{} {until}", revocation.member()))));
            }
            Some(revocation)
        };
        let fresh = publication.fresh.iter().map(|fresh| {
            let since = if matches!(fresh.name, RevokedName::User(_)) { (now - fresh.age) / 1000 } else { 0 };
            Revocation { name: fresh.name, since, until: now + fresh.left }
        });
        let made = fresh.map(&mut revoke).collect();
        publication.again.iter().copied().for_each(|revocation| {
            revoke(revocation);
        });
        if !fields.is_empty() {
            let own = [
                (bytes("epoch"), self.epoch.clone()),
                (bytes("number"), bytes(before.number + 1)),
                (bytes("after"), bytes(before.id)),
                (bytes("origin"), origin.to_vec()),
            ];
            let fields = fields.into_iter().map(|(name, value)| (bytes(name), value));
            self.add(own.into_iter().chain(fields).collect(), now);
        }
        Published { head: self.head(another, b"", now), made }
    }
}

enum Call {
    Sent(Query, u64),
    Answered(Query, Answer),
}

#[derive(Clone)]
enum Answer {
    Head(StreamHead, u64),
    Page(LivePage),
    Published(Published),
}

struct Node {
    follower: Follower,
    set: RevocationSet,
    outbox: Outbox,
    /// By how many milliseconds the node's clock is ahead of the true time.
    ahead: i64,
    call: Option<Call>,
    read: Option<Vec<Entry>>,
    received: HashSet<Vec<u8>>,
    started: usize,
    missed: usize,
}

impl Node {
    fn new(name: &str, ahead: i64, started: usize) -> Self {
        let mut set = RevocationSet::default();
        set.share();
        Self {
            follower: Follower::new(name.as_bytes()),
            set,
            outbox: Outbox::new(Box::new(|| ())),
            ahead,
            call: None,
            read: None,
            received: HashSet::new(),
            started,
            missed: 0,
        }
    }

    fn learn(&mut self, learned: Learned, wall: Duration, step: usize) {
        for revocation in &learned.revocations {
            assert!(self.set.learn(revocation, wall));
        }
        for change in learned.changes {
            let CacheChange::Changed { path, .. } = change else { panic!("{change:?}") };
            self.received.insert(path.into());
        }
        if learned.missed_changes {
            self.missed = step;
        }
    }
}

/// What may happen in a run.
#[allow(clippy::struct_excessive_bools, reason = "each may happen or not")]
#[derive(Clone, Copy, Default)]
struct Faults {
    loss: bool,
    trims: bool,
    flushes: bool,
    rollbacks: bool,
    restarts: bool,
    /// The store's clock jumps by up to some seconds.
    clock: bool,
}

struct Change {
    node: usize,
    step: usize,
    path: Vec<u8>,
}

struct Run {
    random: fastrand::Rng,
    faults: Faults,
    store: Store,
    /// What the store comes back with if it loses its last writes.
    replica: Store,
    nodes: Vec<Node>,
    /// True time in milliseconds.
    now: u64,
    /// By how many milliseconds the store's clock is ahead.
    ahead: i64,
    step: usize,
    names: usize,
    changes: Vec<Change>,
    /// When each user was last revoked, by the store's clock, in seconds.
    revoked: HashMap<RevokedName, u64>,
    /// The longest time in milliseconds from when a call was made until the store executed it.
    transit: u64,
    clock_jumped: bool,
    queries: usize,
}

impl Run {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let nodes = random.usize(2..5);
        let mut run = Self {
            ahead: random.i64(-5000..5000),
            random,
            faults,
            store: Store::default(),
            replica: Store::default(),
            nodes: Vec::new(),
            now: BEGIN,
            step: 1,
            names: 0,
            changes: Vec::new(),
            revoked: HashMap::new(),
            transit: 0,
            clock_jumped: false,
            queries: 0,
        };
        (0..nodes).for_each(|_| {
            let node = run.start();
            run.nodes.push(node);
        });
        run
    }

    fn start(&mut self) -> Node {
        self.names += 1;
        Node::new(&format!("node {}", self.names), self.random.i64(-5000..5000), self.step)
    }

    fn store_now(&self) -> u64 {
        self.now.saturating_add_signed(self.ahead)
    }

    fn clocks(&self, node: usize) -> Clocks {
        let wall = Duration::from_millis(self.now.saturating_add_signed(self.nodes[node].ahead));
        Clocks { now: Instant::from_nanos((self.now - BEGIN + 1) * 1_000_000), wall }
    }

    fn one_of(&mut self, chance: usize) -> bool {
        self.random.usize(0..chance) == 0
    }

    /// Something happens.
    fn happen(&mut self) {
        self.step += 1;
        let node = self.random.usize(0..self.nodes.len());
        match self.random.usize(0..100) {
            0..2 => self.revoke(node),
            2..8 => self.change(node),
            8..10 => self.now += self.random.u64(0..500),
            10 if self.faults.trims && self.one_of(3) => {
                let most = self.random.usize(1..4);
                let surplus = self.store.stream.len().saturating_sub(most);
                self.store.stream.drain(..surplus);
            }
            11 if self.faults.flushes && self.one_of(4) => {
                self.store = Store::default();
            }
            // Of the stream or of the live set alone, because its memory is full.
            12 if self.faults.flushes && self.one_of(8) => self.store.stream.clear(),
            13 if self.faults.flushes && self.one_of(8) => {
                (self.store.live, self.store.epoch) = (BTreeMap::new(), Vec::new());
            }
            14 if self.faults.rollbacks && self.one_of(3) => self.store = self.replica.clone(),
            15 if self.faults.restarts && self.one_of(8) => self.nodes[node] = self.start(),
            16 if self.faults.clock && self.one_of(8) => {
                self.ahead += self.random.i64(-5000..5000);
                self.clock_jumped = true;
            }
            17..23 => self.replica = self.store.clone(),
            23..60 => self.tail(node),
            _ => self.call(node),
        }
    }

    fn revoke(&mut self, node: usize) {
        let name = match self.random.u128(0..20) {
            user @ 0..10 => RevokedName::User(user),
            token => RevokedName::Token(token),
        };
        let (clocks, span) = (self.clocks(node), Duration::from_secs(self.random.u64(100_000..200_000)));
        assert!(self.nodes[node].set.revoke(name, clocks, span));
        let store = self.store_now() / 1000;
        self.revoked.entry(name).and_modify(|since| *since = store.max(*since)).or_insert(store);
    }

    fn change(&mut self, node: usize) {
        let path = bytes(format!("/{}", self.step));
        self.nodes[node].outbox.push(CacheChange::Changed { host: bytes("shop").into(), path: path.clone().into() });
        self.changes.push(Change { node, step: self.step, path });
    }

    /// A node reads the stream, or has done so.
    fn tail(&mut self, node: usize) {
        let (wall, lost) = (self.clocks(node).wall, self.faults.loss && self.one_of(10));
        let (most, step) = (self.random.usize(1..10), self.step);
        let node = &mut self.nodes[node];
        match node.read.take() {
            _ if lost => {}
            Some(entries) => {
                let learned = node.follower.on_entries(&entries);
                node.learn(learned, wall, step);
            }
            None => {
                let Some(after) = node.follower.position() else { return };
                let later = self.store.stream.iter().filter(|entry| entry.id > after);
                node.read = Some(later.take(most).cloned().collect());
            }
        }
    }

    /// A node calls the store, the store answers, or the node takes the answer.
    fn call(&mut self, node: usize) {
        let (clocks, now) = (self.clocks(node), self.store_now());
        let (lost, asks_head) = (self.faults.loss && self.one_of(10), self.one_of(10));
        let (another, step) = (bytes(format!("epoch {}", self.step)), self.step);
        self.store.step = step as u64;
        let node = &mut self.nodes[node];
        match node.call.take() {
            None => {
                let query = if asks_head {
                    Some(node.follower.ask_head())
                } else {
                    node.follower.query(&node.set, &node.outbox, clocks)
                };
                self.queries += usize::from(query.is_some());
                node.call = query.map(|query| Call::Sent(query, self.now));
            }
            Some(Call::Sent(query, _) | Call::Answered(query, _)) if lost => {
                node.follower.on_failure(query, &node.outbox);
            }
            Some(Call::Sent(query, sent)) => {
                let answer = match &query {
                    Query::Head { void } => {
                        let void = void.as_deref().unwrap_or_default();
                        Answer::Head(self.store.head(&another, void, now), now)
                    }
                    Query::Page { rank, most, .. } => Answer::Page(self.store.page(&another, *rank, *most, now)),
                    Query::Publish(publication) => {
                        Answer::Published(self.store.publish(&another, node.follower.origin(), publication, now))
                    }
                };
                self.transit = self.transit.max(self.now - sent);
                node.call = Some(Call::Answered(query, answer));
            }
            Some(Call::Answered(query, answer)) => match (query, answer) {
                (Query::Head { .. }, Answer::Head(head, store)) => {
                    node.set.set_store_clock(store, clocks.wall);
                    let learned = node.follower.on_head(head);
                    node.learn(learned, clocks.wall, step);
                }
                (Query::Page { reading, .. }, Answer::Page(page)) => {
                    let revocations = page.revocations.clone();
                    node.learn(Learned { revocations, ..Learned::default() }, clocks.wall, step);
                    let learned = node.follower.on_page(reading, page, &node.set);
                    node.learn(learned, clocks.wall, step);
                }
                (Query::Publish(publication), Answer::Published(published)) => {
                    let learned = node.follower.on_published(&publication, published, &mut node.set);
                    node.learn(learned, clocks.wall, step);
                }
                _ => panic!("the answer to another question"),
            },
        }
    }

    /// Nothing goes wrong any more. Returns how many calls that took.
    fn settle(&mut self) -> usize {
        self.faults = Faults::default();
        self.queries = 0;
        for _ in 0..60 {
            for node in 0..self.nodes.len() {
                self.step += 1;
                (0..3).for_each(|_| self.call(node));
                (0..4).for_each(|_| self.tail(node));
                self.now += 1;
            }
        }
        self.queries
    }

    /// What any node knows or the store has.
    fn known(&self) -> Vec<(RevokedName, u64)> {
        let stored = self.store.live.iter().map(|(member, until)| Revocation::read(member.as_bytes(), *until).unwrap());
        let held = self.nodes.iter().flat_map(|node| node.set.held());
        stored.chain(held).map(|revocation| (revocation.name, revocation.since)).collect()
    }

    fn check(&mut self, seed: u64) {
        let rollbacks = self.faults.rollbacks;
        let known = self.known();
        let pending: usize = self.nodes.iter().map(|node| node.set.pending()).sum();
        self.settle();
        let sets = |node: &Node| {
            let mut held: Vec<_> = node.set.held().map(|one| (one.name, one.since, one.until)).collect();
            held.sort_unstable();
            held
        };
        let first = sets(&self.nodes[0]);
        for node in &self.nodes {
            assert!(node.follower.is_current(), "seed {seed}");
            assert_eq!(node.set.pending(), 0, "seed {seed}");
            assert_eq!(sets(node), first, "seed {seed}");
        }
        for (name, since) in known {
            let wall = self.clocks(0).wall;
            let issued = Some(Duration::from_secs(since));
            assert!(self.nodes[0].set.covers(name, issued, wall), "seed {seed}: {name:?}");
            assert!(self.store.live.keys().any(|member| member.starts_with(&name.text())), "seed {seed}: {name:?}");
        }
        for (name, since, _) in first.into_iter().filter(|_| !self.clock_jumped) {
            let transit = self.transit.div_ceil(1000);
            assert!(
                since <= self.revoked[&name] + transit,
                "seed {seed}: {name:?} is revoked for longer than anybody wanted"
            );
        }
        for change in &self.changes {
            if self.nodes[change.node].started > change.step && (rollbacks || pending > 0) {
                // Lost together with the node that knew it.
                continue;
            }
            for (index, node) in self.nodes.iter().enumerate() {
                let knew = index == change.node || node.started > change.step || node.missed > change.step;
                // A node that began again may not have published it.
                let published = self.nodes[change.node].started <= change.step;
                assert!(knew || !published || node.received.contains(&change.path), "seed {seed}: {:?}", change.path);
            }
        }
    }
}

fn simulate(faults: Faults, runs: u64) {
    for seed in 0..runs {
        let mut run = Run::new(seed, faults);
        for _ in 0..run.random.usize(100..1500) {
            run.happen();
        }
        run.check(seed);
        // And nothing goes on for ever.
        assert_eq!(run.settle(), run.queries, "seed {seed}");
    }
}

#[test]
fn nodes_agree() {
    simulate(Faults::default(), 300);
}

#[test]
fn nodes_agree_though_calls_are_lost_and_the_stream_is_short() {
    simulate(Faults { loss: true, trims: true, restarts: true, ..Faults::default() }, 500);
}

#[test]
fn nodes_agree_though_the_store_forgets_everything() {
    simulate(Faults { loss: true, trims: true, flushes: true, restarts: true, ..Faults::default() }, 500);
}

#[test]
fn nodes_agree_though_the_store_loses_its_last_writes() {
    simulate(Faults { loss: true, rollbacks: true, restarts: true, ..Faults::default() }, 500);
    simulate(Faults { loss: true, rollbacks: true, flushes: true, restarts: true, ..Faults::default() }, 500);
}

#[test]
fn nodes_agree_though_the_clock_of_the_store_jumps() {
    simulate(Faults { loss: true, flushes: true, clock: true, ..Faults::default() }, 500);
}
