//! The interface for external counters: a custom store, written against the public API alone, decides like the one in
//! memory. Its answers take time, like those of a network.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use pylae_core::clock::Instant;
use pylae_core::limit::{
    Charge, ChargeDecisions, ChargeOutcome, ChargeVerdict, Clocks, CounterStore, Decision, FixedWindow, Limit,
    LimitAlgorithm, LimitError, LimitMode, LimitShape, MemoryCounterStore, PendingCharges, Reservation, SlidingWindow,
    TokenBucket,
};

#[derive(Clone)]
enum Counter {
    Token(TokenBucket),
    Sliding(SlidingWindow),
    Fixed(FixedWindow),
}

impl Counter {
    fn of(shape: &LimitShape) -> Self {
        let (limit, per) = (shape.limit(), shape.per());
        match shape.algorithm() {
            LimitAlgorithm::TokenBucket => Self::Token(TokenBucket::new(limit, per, Some(shape.capacity())).unwrap()),
            LimitAlgorithm::SlidingWindow => Self::Sliding(SlidingWindow::new(limit, per).unwrap()),
            LimitAlgorithm::FixedWindow => Self::Fixed(FixedWindow::new(limit, per).unwrap()),
        }
    }

    fn check(&mut self, at: Clocks, cost: u32) -> Decision {
        match self {
            Self::Token(bucket) => bucket.check(at.now, cost),
            Self::Sliding(window) => window.check(at.now, cost),
            Self::Fixed(window) => window.check(at.wall, cost),
        }
    }
}

type Key = (String, Vec<u8>);

/// A counter for each name and key in a map, unbounded and with one lock. Its answers have to be awaited.
#[derive(Default)]
struct Elsewhere(Arc<Mutex<HashMap<Key, Counter>>>);

/// A charge on its way to the counters.
struct Sent {
    name: Key,
    shape: LimitShape,
    cost: u32,
}

fn decide(counters: &mut HashMap<Key, Counter>, sent: &[Sent], at: Clocks) -> ChargeDecisions {
    let known = |counters: &HashMap<Key, Counter>, sent: &Sent| {
        counters.get(&sent.name).cloned().unwrap_or_else(|| Counter::of(&sent.shape))
    };
    let mut after: Vec<_> = sent.iter().map(|sent| known(counters, sent)).collect();
    let mut decisions: Vec<_> =
        after.iter_mut().zip(sent).map(|(counter, sent)| counter.check(at, sent.cost)).collect();
    let refusing = (0..sent.len()).filter(|&index| !decisions[index].admitted);
    if let Some(by) = refusing.max_by_key(|&index| decisions[index].retry_after) {
        // Nothing is charged, and the figures of those that would have admitted are those before.
        for (decision, sent) in decisions.iter_mut().zip(sent).filter(|(decision, _)| decision.admitted) {
            *decision = known(counters, sent).check(at, 0);
        }
        return ChargeDecisions { verdict: ChargeVerdict::Refused { by }, decisions };
    }
    counters.extend(sent.iter().map(|sent| sent.name.clone()).zip(after));
    ChargeDecisions { verdict: ChargeVerdict::Admitted, decisions }
}

impl CounterStore for Elsewhere {
    fn register(&self, identity: &str, shape: LimitShape, _mode: LimitMode) -> Result<Limit, LimitError> {
        Ok(Limit::new(identity, shape))
    }

    fn check_all(&self, charges: &mut [Charge<'_>], at: Clocks) -> ChargeOutcome {
        let sent = charges.iter().map(|charge| {
            let name = (charge.limit().identity().to_owned(), charge.key().to_owned());
            Sent { name, shape: *charge.limit().shape(), cost: charge.cost() }
        });
        let (sent, counters): (Vec<_>, _) = (sent.collect(), Arc::clone(&self.0));
        ChargeOutcome::Pending(Box::pin(async move {
            let mut waited = false;
            std::future::poll_fn(
                |_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending },
            )
            .await;
            decide(&mut counters.lock().unwrap(), &sent, at)
        }))
    }

    fn settle(&self, limit: &Limit, key: &[u8], reservation: &Reservation, cost: u32, at: Clocks) {
        let mut counters = self.0.lock().unwrap();
        let name = (limit.identity().to_owned(), key.to_owned());
        match counters.entry(name).or_insert_with(|| Counter::of(limit.shape())) {
            Counter::Token(bucket) => bucket.settle(at.now, reservation, cost),
            Counter::Sliding(window) => window.settle(at.now, reservation, cost),
            // It has no debt.
            Counter::Fixed(window) => _ = window.check(at.wall, cost.saturating_sub(reservation.cost())),
        }
    }

    fn peek(&self, _: &Limit, _: &[u8], _: Clocks) -> Option<Decision> {
        None
    }

    fn reset(&self, limit: &Limit, key: &[u8]) -> bool {
        self.0.lock().unwrap().remove(&(limit.identity().to_owned(), key.to_owned())).is_some()
    }
}

fn wait(mut pending: PendingCharges) -> ChargeDecisions {
    loop {
        if let Poll::Ready(checked) = pending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return checked;
        }
    }
}

/// What a caller sees that knows only the trait.
fn seen(store: &impl CounterStore, limit: u32, steps: &[(u8, u64, u32)]) -> Vec<ChargeDecisions> {
    let shapes = [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow]
        .map(|algorithm| LimitShape::new(algorithm, limit, Duration::from_secs(7), None).unwrap());
    let limits =
        shapes.map(|shape| store.register(&format!("{:?}", shape.algorithm()), shape, LimitMode::Fast).unwrap());
    let mut now = 1_000_000_000_000;
    let mut seen = Vec::new();
    for (key, step, cost) in steps {
        now += step * 100_000_000;
        let wall = Duration::from_secs(1_700_000_000) + Duration::from_nanos(now);
        let key = [*key];
        let mut charges = limits.each_ref().map(|limit| Charge::new(limit, &key, *cost));
        seen.push(match store.check_all(&mut charges, Clocks { now: Instant::from_nanos(now), wall }) {
            ChargeOutcome::Decided(verdict) => {
                ChargeDecisions { verdict, decisions: charges.iter().map(|charge| charge.decision).collect() }
            }
            ChargeOutcome::Pending(pending) => wait(pending),
        });
    }
    seen
}

proptest! {
    #[test]
    fn another_store_decides_like_the_one_in_memory(
        limit in 1..20_u32,
        steps in prop::collection::vec((0..4_u8, 0..20_u64, 1..4_u32), 1..200),
    ) {
        let (here, there) = (MemoryCounterStore::new(1000), Elsewhere::default());
        prop_assert_eq!(seen(&here, limit, &steps), seen(&there, limit, &steps));
    }
}
