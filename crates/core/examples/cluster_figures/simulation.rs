//! Nodes with the product's code, a store with the product's ledger, and a network between them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use pylae_core::clock::Instant;
use pylae_core::limit::shared::{CallLoss, Due, StoreCall};
use pylae_core::limit::{Charge, ChargeOutcome, ChargeVerdict, Clocks, CounterStore, LedgerAnswer, PendingCharges};

use crate::events::{Event, Timed};
use crate::excess::Admissions;
use crate::node::{SimulatedNode, node};
use crate::setup::{Fault, Keys, MILLI, SECOND, Setup, Summary};
use crate::store::{Order, Store};

/// How long a driver takes from being woken to sending.
const WAKING: u64 = 30_000;
/// A node asks so often whether the store is back.
const PROBE: u64 = 100 * MILLI;
/// So many losses in a row mean that the store is gone.
const LOSSES: u32 = 3;

/// Tells which request can go on.
struct Woken(u64, Arc<Mutex<Vec<u64>>>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap_or_else(|error| panic!("{error}")).push(self.0);
    }
}

struct Waiting {
    node: usize,
    future: PendingCharges,
    key: u32,
    cost: u32,
    since: u64,
}

struct Batch {
    node: usize,
    calls: Vec<StoreCall>,
    sent: Instant,
}

/// A simulation.
pub(crate) struct Simulation {
    setup: Setup,
    random: fastrand::Rng,
    now: u64,
    sequence: u64,
    events: BinaryHeap<Timed<Event>>,
    nodes: Vec<SimulatedNode>,
    store: Store,
    batches: HashMap<u64, Batch>,
    waiting: HashMap<u64, Waiting>,
    woken: Arc<Mutex<Vec<u64>>>,
    admissions: Admissions,
    summary: Summary,
    /// Sums of the frequencies of Zipf's keys.
    zipf: Vec<f64>,
}

/// Runs a simulation.
pub(crate) fn run(setup: Setup) -> Summary {
    let mut simulation = Simulation::new(setup);
    while let Some(Timed(Reverse((time, _)), event)) = simulation.events.pop() {
        if time > simulation.setup.duration {
            break;
        }
        simulation.now = time;
        simulation.handle(event);
    }
    simulation.finish()
}

impl Simulation {
    fn new(setup: Setup) -> Self {
        let mut random = fastrand::Rng::with_seed(setup.seed);
        let nodes = setup.rates.iter().map(|rate| node(&setup, *rate, &mut random)).collect();
        let faults = setup.faults.clone();
        let mut store = Store::new(setup.servers);
        for (_, fault) in &faults {
            if let Fault::FailOver { lag, .. } = fault {
                store.keep = store.keep.max(*lag);
            }
        }
        let mut simulation = Self {
            admissions: Admissions::new(&setup.shape),
            zipf: setup.keys.frequencies(),
            setup,
            random,
            now: 0,
            sequence: 0,
            events: BinaryHeap::new(),
            nodes,
            store,
            batches: HashMap::new(),
            waiting: HashMap::new(),
            woken: Arc::default(),
            summary: Summary::default(),
        };
        for index in 0..simulation.nodes.len() {
            simulation.next_request(index);
            let first = simulation.random.u64(0..simulation.setup.flush);
            simulation.push(first, Event::Flush(index));
        }
        for (time, fault) in faults {
            simulation.push(time, Event::Fault(fault));
        }
        if simulation.setup.warm_up > 0 {
            simulation.push(simulation.setup.warm_up, Event::Measure);
        }
        simulation
    }

    fn push(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Timed(Reverse((self.now + after, self.sequence)), event));
    }

    /// Half of the mean at least, and an exponential tail.
    fn latency(&mut self) -> u64 {
        let mean = self.setup.latency as f64;
        (mean * 0.5 * (1.0 - (1.0 - self.random.f64()).ln())) as u64
    }

    fn clocks(&self, node: usize) -> Clocks {
        self.nodes[node].clocks(self.now)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request(node) => self.request(node),
            Event::Flush(node) => {
                self.send(node, Due::All);
                self.push(self.setup.flush, Event::Flush(node));
            }
            Event::Urgent(node) => self.send(node, Due::Urgent),
            Event::AtStore(batch, node, orders) => self.at_store(batch, node, &orders),
            Event::Back(batch, answers) => self.back(batch, &answers),
            Event::Timeout(batch) => self.give_up(batch, CallLoss::Unanswered),
            Event::Fault(fault) => self.fault(&fault),
            Event::Heal(nodes) => self.nodes[..nodes].iter_mut().for_each(|node| node.cut_off = false),
            Event::Probe(node) => self.probe(node),
            Event::Measure => {
                self.summary = Summary::default();
                self.store.busy.fill(0);
            }
        }
    }

    fn next_request(&mut self, index: usize) {
        let rate = self.nodes[index].rate;
        if rate > 0.0 {
            let after = -(1.0 - self.random.f64()).ln() / rate * SECOND as f64;
            self.push(after as u64 + 1, Event::Request(index));
        }
    }

    fn key(&mut self) -> u32 {
        match self.setup.keys {
            Keys::Even(count) => self.random.u32(0..count),
            Keys::Zipf(_) => {
                let at = self.random.f64();
                self.zipf.partition_point(|sum| *sum < at) as u32
            }
        }
    }

    fn request(&mut self, index: usize) {
        if !self.nodes[index].alive {
            return;
        }
        self.next_request(index);
        let (key, cost, at) = (self.key(), self.random.u32(1..=self.setup.most_cost), self.clocks(index));
        let node = &self.nodes[index];
        let name = key.to_le_bytes();
        let outcome = node.store.check_all(&mut [Charge::new(&node.limit, &name, cost)], at);
        self.summary.requests += 1;
        match outcome {
            ChargeOutcome::Decided(verdict) => self.decided(verdict, key, cost, self.now),
            ChargeOutcome::Pending(future) => {
                self.sequence += 1;
                self.summary.waited += 1;
                let waiting = Waiting { node: index, future, key, cost, since: self.now };
                self.waiting.insert(self.sequence, waiting);
                self.poll(self.sequence, self.now);
            }
        }
        self.hurry(index);
    }

    fn decided(&mut self, verdict: ChargeVerdict, key: u32, cost: u32, at: u64) {
        if verdict == ChargeVerdict::Admitted {
            self.summary.admitted += 1;
            self.summary.tokens += u64::from(cost);
            self.admissions.add(key, at, self.store.time(at), cost);
        } else {
            self.summary.refused += 1;
        }
    }

    /// Goes on with a request; what was taken for it was used at `taken`.
    fn poll(&mut self, id: u64, taken: u64) {
        let Some(mut waiting) = self.waiting.remove(&id) else { return };
        let waker = Waker::from(Arc::new(Woken(id, Arc::clone(&self.woken))));
        match Pin::new(&mut waiting.future).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => _ = self.waiting.insert(id, waiting),
            Poll::Ready(decisions) => {
                let waited = self.now - waiting.since;
                self.summary.wait += waited;
                self.summary.longest_wait = self.summary.longest_wait.max(waited);
                self.decided(decisions.verdict, waiting.key, waiting.cost, taken);
            }
        }
    }

    fn poll_woken(&mut self, taken: u64) {
        let woken = std::mem::take(&mut *self.woken.lock().unwrap_or_else(|error| panic!("{error}")));
        for id in woken {
            self.poll(id, taken);
        }
    }

    /// Sends what is urgent a moment later.
    fn hurry(&mut self, node: usize) {
        if self.nodes[node].hurry.swap(false, Ordering::Relaxed) {
            self.push(WAKING, Event::Urgent(node));
        }
    }

    fn send(&mut self, index: usize, due: Due) {
        if !self.nodes[index].alive {
            return;
        }
        let at = self.clocks(index);
        let calls = self.nodes[index].store.collect(due, at, usize::MAX);
        self.poll_woken(self.now);
        self.hurry(index);
        if calls.is_empty() {
            return;
        }
        self.summary.calls += calls.len() as u64;
        let order = |call: &StoreCall| Order { key: call.key, clear: call.clear, call: call.call.clone() };
        let orders: Vec<Order> = calls.iter().map(order).collect();
        self.summary.writes += self.store.servers(&orders);
        self.sequence += 1;
        let id = self.sequence;
        self.batches.insert(id, Batch { node: index, calls, sent: at.now });
        let node = &self.nodes[index];
        if node.cut_off || self.now < self.store.gone_until {
            // Half of them are refused at once, half are not heard of again.
            if self.random.bool() {
                self.give_up(id, CallLoss::Unsent);
                return;
            }
        } else if self.random.f64() >= self.setup.loss {
            let latency = self.latency();
            self.push(latency, Event::AtStore(id, index, orders));
        }
        self.push(self.setup.timeout, Event::Timeout(id));
    }

    fn at_store(&mut self, id: u64, node: usize, orders: &[Order]) {
        if self.now < self.store.gone_until {
            return;
        }
        let answers = self.store.execute(self.now, orders, self.setup.service);
        let done = answers.iter().map(|(_, at)| *at).max().unwrap_or(self.now);
        if self.nodes[node].cut_off || self.random.f64() < self.setup.loss {
            return;
        }
        let back = done - self.now + self.latency();
        self.push(back, Event::Back(id, answers));
    }

    fn back(&mut self, id: u64, answers: &[(LedgerAnswer, u64)]) {
        let Some(batch) = self.batches.remove(&id) else { return };
        if !self.nodes[batch.node].alive {
            return;
        }
        self.nodes[batch.node].losses = 0;
        let at = self.clocks(batch.node);
        for (call, (answer, executed)) in batch.calls.into_iter().zip(answers.iter().copied()) {
            self.nodes[batch.node].store.answer(call, batch.sent, at, Ok(answer));
            self.poll_woken(executed);
        }
        self.hurry(batch.node);
    }

    fn give_up(&mut self, id: u64, loss: CallLoss) {
        let Some(batch) = self.batches.remove(&id) else { return };
        let at = self.clocks(batch.node);
        let node = &mut self.nodes[batch.node];
        if !node.alive {
            return;
        }
        for call in batch.calls {
            node.store.answer(call, batch.sent, at, Err(loss));
        }
        node.losses += 1;
        if node.losses >= LOSSES && node.available {
            node.available = false;
            node.store.set_reach(false.into(), at);
            self.push(PROBE, Event::Probe(batch.node));
        }
        self.poll_woken(self.now);
        self.hurry(batch.node);
    }

    fn probe(&mut self, index: usize) {
        let up = self.store.is_up(self.now) && !self.nodes[index].cut_off;
        if !up {
            self.push(PROBE, Event::Probe(index));
            return;
        }
        let at = self.clocks(index);
        let node = &mut self.nodes[index];
        (node.available, node.losses) = (true, 0);
        node.store.set_reach(true.into(), at);
        self.send(index, Due::All);
    }

    fn fault(&mut self, fault: &Fault) {
        match *fault {
            Fault::Freeze(time) => self.store.frozen_until = self.now + time,
            Fault::Forget => self.store.forget(),
            Fault::FailOver { lag, outage, step } => {
                let since = self.now.saturating_sub(lag);
                self.summary.lost += self.store.fail_over(since, self.now + outage, step);
            }
            Fault::Partition { nodes, time } => {
                self.nodes[..nodes].iter_mut().for_each(|node| node.cut_off = true);
                self.push(time, Event::Heal(nodes));
            }
            Fault::Death => self.kill(),
            Fault::ClockStep(step) => self.nodes[0].skew += step,
        }
    }

    fn kill(&mut self) {
        let Some(last) = self.nodes.iter().rposition(|node| node.alive).filter(|last| *last > 0) else { return };
        self.nodes[last].alive = false;
        self.nodes[0].rate += self.nodes[last].rate;
        let nodes = self.nodes.iter().filter(|node| node.alive).count();
        self.nodes.iter().for_each(|node| node.store.set_nodes(nodes));
        self.waiting.retain(|_, waiting| waiting.node != last);
    }

    fn finish(mut self) -> Summary {
        let (most, sum) = self.admissions.excess();
        (self.summary.excess, self.summary.excess_sum) = (most, sum);
        self.summary.busy = self.store.busy.iter().sum();
        self.summary.busiest = self.store.busy.iter().copied().max().unwrap_or_default();
        self.summary.keys = self.store.keys() as u64;
        self.summary.view_bytes = self.nodes.iter().map(|node| node.store.bytes() as u64).sum();
        self.summary
    }
}
