//! The interface for external counters: a custom store, written against the public API alone, decides like the one in
//! memory. Its answers take time, like those of a network.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use pylae_core::clock::Instant;
use pylae_core::limit::{
    Charge, ChargeVerdict, Clocks, CounterStore, Decision, FixedWindow, Limit, LimitAlgorithm, LimitError, LimitShape,
    MemoryCounterStore, SlidingWindow, TokenBucket,
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

/// A counter for each name and key in a map, unbounded and with one lock.
#[derive(Default)]
struct Elsewhere(Mutex<HashMap<(String, Vec<u8>), Counter>>);

impl Elsewhere {
    fn decide(&self, charges: &mut [Charge<'_>], at: Clocks) -> ChargeVerdict {
        let mut counters = self.0.lock().unwrap();
        let mut after = Vec::new();
        for charge in &mut *charges {
            let name = (charge.limit().identity().to_owned(), charge.key().to_owned());
            let mut counter = counters.get(&name).cloned().unwrap_or_else(|| Counter::of(charge.limit().shape()));
            charge.decision = counter.check(at, charge.cost());
            after.push((name, counter));
        }
        let refusing = (0..charges.len()).filter(|&index| !charges[index].decision.admitted);
        if let Some(by) = refusing.max_by_key(|&index| charges[index].decision.retry_after) {
            // Nothing is charged, and the figures of those that would have admitted are those before.
            for (charge, (name, _)) in charges.iter_mut().zip(&after).filter(|(charge, _)| charge.decision.admitted) {
                let mut counter = counters.get(name).cloned().unwrap_or_else(|| Counter::of(charge.limit().shape()));
                charge.decision = counter.check(at, 0);
            }
            return ChargeVerdict::Refused { by };
        }
        counters.extend(after);
        ChargeVerdict::Admitted
    }
}

impl CounterStore for Elsewhere {
    fn register(&self, identity: &str, shape: LimitShape) -> Result<Limit, LimitError> {
        Ok(Limit::new(identity, shape))
    }

    async fn check_all(&self, charges: &mut [Charge<'_>], at: Clocks) -> ChargeVerdict {
        let mut sent = false;
        std::future::poll_fn(|_| if std::mem::replace(&mut sent, true) { Poll::Ready(()) } else { Poll::Pending })
            .await;
        self.decide(charges, at)
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

/// What a caller sees that knows only the trait.
fn seen(store: &impl CounterStore, limit: u32, steps: &[(u8, u64, u32)]) -> Vec<(ChargeVerdict, Vec<Decision>)> {
    let shapes = [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow]
        .map(|algorithm| LimitShape::new(algorithm, limit, Duration::from_secs(7), None).unwrap());
    let limits = shapes.map(|shape| store.register(&format!("{:?}", shape.algorithm()), shape).unwrap());
    let mut now = 1_000_000_000_000;
    let mut seen = Vec::new();
    for (key, step, cost) in steps {
        now += step * 100_000_000;
        let wall = Duration::from_secs(1_700_000_000) + Duration::from_nanos(now);
        let key = [*key];
        let mut charges = limits.each_ref().map(|limit| Charge::new(limit, &key, *cost));
        let verdict = wait(store.check_all(&mut charges, Clocks { now: Instant::from_nanos(now), wall }));
        seen.push((verdict, charges.iter().map(|charge| charge.decision).collect()));
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
