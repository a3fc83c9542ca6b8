//! By how much a limit was exceeded.

use std::collections::HashMap;
use std::time::Duration;

use pylae_core::limit::{LimitAlgorithm, LimitShape};

#[derive(Copy, Clone, Debug)]
struct Admission {
    at: u64,
    /// Microseconds of the store's clock, without its steps back: for those it is stricter.
    store: u64,
    cost: u32,
}

/// What was admitted, by key.
#[derive(Debug)]
pub(crate) struct Admissions {
    shape: LimitShape,
    by_key: HashMap<u32, Vec<Admission>>,
}

impl Admissions {
    pub(crate) fn new(shape: &LimitShape) -> Self {
        Self { shape: *shape, by_key: HashMap::new() }
    }

    pub(crate) fn add(&mut self, key: u32, at: u64, store: u64, cost: u32) {
        self.by_key.entry(key).or_default().push(Admission { at, store, cost });
    }

    /// Returns by how many tokens one limiter would have been exceeded: of the worst key, and in sum.
    pub(crate) fn excess(&mut self) -> (u64, u64) {
        let (mut most, mut sum) = (0, 0);
        for admissions in self.by_key.values_mut() {
            admissions.sort_by_key(|admission| admission.at);
            let excess = match self.shape.algorithm() {
                LimitAlgorithm::TokenBucket => bucket_excess(&self.shape, admissions),
                LimitAlgorithm::FixedWindow => window_excess(&self.shape, admissions),
                LimitAlgorithm::SlidingWindow => log_excess(&self.shape, admissions),
            };
            most = most.max(excess);
            sum += excess;
        }
        (most, sum)
    }
}

/// Debt is counted in tokens times microseconds of the period. As in the ledger, it is at most one limit more than the
/// capacity.
fn bucket_excess(shape: &LimitShape, admissions: &[Admission]) -> u64 {
    let token = shape.per().as_micros();
    let capacity = u128::from(shape.capacity()) * token;
    let most_debt = capacity + u128::from(shape.limit().max(shape.capacity())) * token;
    let (mut debt, mut last, mut most) = (0_u128, 0, 0_u128);
    for admission in admissions {
        let now = admission.store.max(last);
        debt = debt.saturating_sub(u128::from(now - last) * u128::from(shape.limit()));
        debt += u128::from(admission.cost) * token;
        (last, most) = (now, most.max(debt));
        debt = debt.min(most_debt);
    }
    most.saturating_sub(capacity).div_ceil(token) as u64
}

fn window_excess(shape: &LimitShape, admissions: &[Admission]) -> u64 {
    let per = micros(shape.per());
    let (mut window, mut used, mut most) = (0, 0_u64, 0);
    for admission in admissions {
        let current = window.max(admission.store / per);
        used = if current == window { used } else { 0 } + u64::from(admission.cost);
        (window, most) = (current, most.max(used));
    }
    most.saturating_sub(shape.limit().into())
}

fn log_excess(shape: &LimitShape, admissions: &[Admission]) -> u64 {
    let per = micros(shape.per());
    let (mut first, mut used, mut most) = (0, 0_u64, 0);
    for admission in admissions {
        used += u64::from(admission.cost);
        while admissions[first].store + per <= admission.store {
            used -= u64::from(admissions[first].cost);
            first += 1;
        }
        most = most.max(used);
    }
    most.saturating_sub(shape.limit().into())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
