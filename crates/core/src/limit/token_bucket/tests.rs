use proptest::prelude::*;

use super::*;

/// The simple model: tokens as a fraction over the period; one nanosecond adds `limit` of `per`.
struct Model {
    limit: u128,
    per: u128,
    capacity: u128,
    /// In units of 1 / per tokens.
    tokens: u128,
    last: u64,
}

impl Model {
    fn new(limit: u32, per: u64, burst: u32) -> Self {
        let (per, capacity) = (u128::from(per), u128::from(burst));
        Self { limit: limit.into(), per, capacity, tokens: capacity * per, last: 0 }
    }

    fn refilled(&self, now: u64) -> u128 {
        let elapsed = u128::from(now.saturating_sub(self.last));
        (self.tokens + elapsed * self.limit).min(self.capacity * self.per)
    }

    fn check(&mut self, now: u64, cost: u32) -> (bool, u128) {
        self.tokens = self.refilled(now);
        self.last = self.last.max(now);
        let cost = u128::from(cost) * self.per;
        let admitted = cost <= self.tokens;
        self.tokens -= if admitted { cost } else { 0 };
        (admitted, self.tokens / self.per)
    }
}

fn steps(per: u64) -> impl Strategy<Value = Vec<(i64, u32)>> {
    let per = i64::try_from(per).unwrap();
    let step = prop_oneof![Just(0), 0..=per / 8 + 1, 0..=2 * per, -per..=0, Just(1)];
    prop::collection::vec((step, prop_oneof![4 => Just(1_u32), 1 => 0..6_u32, 1 => 0..200_u32]), 1..120)
}

fn figures() -> impl Strategy<Value = (u32, u64, u32)> {
    let limit = prop_oneof![1..12_u32, 1..5000_u32, Just(999_983)];
    let per = prop_oneof![1..50_u64, Just(1_000_000_000), Just(60_000_000_000), 1..10_000_000_000_u64];
    (limit, per, prop_oneof![1..12_u32, 1..5000_u32])
}

proptest! {
    #[test]
    fn decides_as_the_model((figures, steps) in figures().prop_flat_map(|f| (Just(f), steps(f.1)))) {
        let (limit, per, burst) = figures;
        let mut bucket = TokenBucket::new(limit, Duration::from_nanos(per), Some(burst)).unwrap();
        let mut model = Model::new(limit, per, burst);
        let mut now = 1_000_000_000_000_u64;
        for (step, cost) in steps {
            now = now.saturating_add_signed(step);
            let decision = bucket.check(Instant::from_nanos(now), cost);
            let (admitted, remaining) = model.check(now, cost);
            prop_assert_eq!((decision.admitted, u128::from(decision.remaining)), (admitted, remaining));
            if !admitted && cost <= burst {
                let wait = u64::try_from(decision.retry_after.as_nanos()).unwrap();
                let enough = |at| model.refilled(at) >= u128::from(cost) * model.per;
                prop_assert!(enough(now + wait));
                prop_assert!(!enough(now + wait - 1), "no longer than needed");
            }
            let whole = u64::try_from(decision.reset.as_nanos()).unwrap();
            prop_assert_eq!(model.refilled(now + whole), model.capacity * model.per);
        }
    }
}

#[test]
fn the_end_of_the_clock_is_no_way_in() {
    let mut bucket = TokenBucket::new(3, Duration::from_secs(1), None).unwrap();
    let end = Instant::from_nanos(u64::MAX);
    assert!(bucket.check(Instant::default(), 3).admitted);
    assert!(!bucket.check(end, 1).admitted);
    assert!(!bucket.check(Instant::default(), 1).admitted);
}

#[test]
fn figures_are_checked() {
    let second = Duration::from_secs(1);
    assert_eq!(TokenBucket::new(0, second, None).unwrap_err(), LimitError::Zero);
    assert_eq!(TokenBucket::new(1, Duration::ZERO, None).unwrap_err(), LimitError::Zero);
    assert_eq!(TokenBucket::new(1, second, Some(0)).unwrap_err(), LimitError::Zero);
    assert_eq!(TokenBucket::new(1, second, Some(u32::MAX)).unwrap_err(), LimitError::TooLong);
    assert_eq!(TokenBucket::new(1, Duration::MAX, None).unwrap_err(), LimitError::TooLong);
    assert_eq!(LimitShape::new(LimitAlgorithm::FixedWindow, 1, second, Some(1)).unwrap_err(), LimitError::Burst);
    let mut bucket = TokenBucket::new(u32::MAX, super::super::LONGEST, None).unwrap();
    assert!(bucket.check(Instant::default(), u32::MAX).admitted);
    assert!(!bucket.check(Instant::default(), 1).admitted);
}
