use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limit::LimitShape;

const BASE: u64 = 1_795_000_000_000_000;

fn shape(algorithm: LimitAlgorithm, limit: u32, per: u64, burst: Option<u32>) -> LedgerShape {
    let burst = burst.filter(|_| algorithm == LimitAlgorithm::TokenBucket);
    LedgerShape::from(&LimitShape::new(algorithm, limit, Duration::from_micros(per), burst).unwrap())
}

fn take(shape: &LedgerShape, cost: u32, count: u32) -> LedgerCall {
    LedgerCall { takes: vec![LedgerTake { cost, count }], ..LedgerCall::new(*shape) }
}

fn lease(shape: &LedgerShape, lease: u32) -> LedgerCall {
    LedgerCall { lease, ..LedgerCall::new(*shape) }
}

fn left(ledger: &Ledger, now: u64, shape: &LedgerShape) -> u64 {
    ledger.clone().apply(now, &LedgerCall::new(*shape)).left.into()
}

/// The limiter that is charged at the moment of use, by the true time.
struct Ideal {
    shape: LedgerShape,
    /// Of a bucket, a token is `every`.
    debt: u128,
    /// Of a bucket.
    last: u64,
    /// Of the others.
    charges: Vec<(u64, u64)>,
}

impl Ideal {
    fn new(shape: LedgerShape) -> Self {
        Self { shape, debt: 0, last: 0, charges: Vec::new() }
    }

    fn is_bucket(&self) -> bool {
        self.shape.algorithm == LimitAlgorithm::TokenBucket
    }

    fn refill(&mut self, now: u64) {
        self.debt = self.debt.saturating_sub(u128::from(now - self.last) * u128::from(self.shape.refill));
        self.last = now;
    }

    fn charge(&mut self, now: u64, tokens: u64) {
        self.refill(now);
        let most = u128::from(self.shape.most_debt()) * u128::from(self.shape.every);
        self.debt = (self.debt + u128::from(tokens) * u128::from(self.shape.every)).min(most);
        self.charges.push((now, tokens));
    }

    fn credit(&mut self, now: u64, which: usize, tokens: u64) {
        self.refill(now);
        self.debt = self.debt.saturating_sub(u128::from(tokens) * u128::from(self.shape.every));
        self.charges[which].1 -= tokens;
    }

    fn left(&mut self, now: u64) -> u64 {
        self.refill(now);
        let per = self.shape.per;
        let counts = |at: u64| match self.shape.algorithm {
            LimitAlgorithm::FixedWindow => at / per == now / per,
            _ => now - at < per,
        };
        let used = if self.is_bucket() {
            self.debt.div_ceil(self.shape.every.into()) as u64
        } else {
            self.charges.iter().filter(|charge| counts(charge.0)).map(|charge| charge.1).sum()
        };
        u64::from(self.shape.capacity).saturating_sub(used)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Take { cost: u32, count: u32, hold: bool },
    Lease { tokens: u32, share: u32 },
    Use { which: usize, tokens: u64 },
    Report(usize),
    Return(usize),
    Lose(usize),
    Debit(u64),
    Credit { which: usize, tokens: u64 },
    SetBack(u64),
}

fn any_wait(per: u64) -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 0..=per / 8 + 1, 0..=2 * per, 0..300_000_u64, 0..2_500_000_u64]
}

fn any_step(per: u64) -> impl Strategy<Value = Step> {
    let index = any::<usize>;
    prop_oneof![
        4 => any_wait(per).prop_map(Step::Wait),
        4 => (0..4_u32, 1..4_u32, prop::bool::weighted(0.3)).prop_map(|(cost, count, hold)| Step::Take { cost, count, hold }),
        4 => (1..20_u32, 1..5_u32).prop_map(|(tokens, share)| Step::Lease { tokens, share }),
        6 => (index(), 1..5_u64).prop_map(|(which, tokens)| Step::Use { which, tokens }),
        3 => index().prop_map(Step::Report),
        2 => index().prop_map(Step::Return),
        1 => index().prop_map(Step::Lose),
        1 => (1..8_u64).prop_map(Step::Debit),
        1 => (index(), 1..4_u64).prop_map(|(which, tokens)| Step::Credit { which, tokens }),
        1 => any_wait(per).prop_map(Step::SetBack),
    ]
}

fn any_shape() -> impl Strategy<Value = LedgerShape> {
    let algorithm = prop_oneof![
        Just(LimitAlgorithm::TokenBucket),
        Just(LimitAlgorithm::SlidingWindow),
        Just(LimitAlgorithm::FixedWindow)
    ];
    let limit = prop_oneof![4 => 1..30_u32, 1 => 101..400_u32];
    let per = prop_oneof![1..50_u64, Just(100_000), Just(1_000_000), Just(7_000_003), Just(60_000_000)];
    (algorithm, limit, per, prop::option::of(1..40_u32))
        .prop_map(|(algorithm, limit, per, burst)| shape(algorithm, limit, per, burst))
}

/// A lease of a node.
struct Out {
    generation: u64,
    unused: u64,
    unreported: u64,
    valid_until: u64,
}

/// Nodes, the store, and the ideal limiter beside it.
struct World {
    ledger: Ledger,
    ideal: Ideal,
    now: u64,
    /// How much the store's clock is behind.
    behind: u64,
    out: Vec<Out>,
    /// The charges of the ideal limiter that can be given back.
    charged: Vec<usize>,
    debited: bool,
}

fn pick<T>(which: usize, of: &mut [T]) -> &mut T {
    let which = which % of.len();
    &mut of[which]
}

impl World {
    fn new(shape: LedgerShape) -> Self {
        Self {
            ledger: Ledger::default(),
            ideal: Ideal::new(shape),
            now: BASE,
            behind: 0,
            out: Vec::new(),
            charged: Vec::new(),
            debited: false,
        }
    }

    fn call(&mut self, change: impl FnOnce(&mut LedgerCall)) -> LedgerAnswer {
        let mut call = LedgerCall::new(self.ideal.shape);
        change(&mut call);
        let answer = self.ledger.apply(self.now - self.behind, &call);
        if answer.leased > 0 {
            self.lease(&answer, answer.leased.into());
        }
        answer
    }

    fn lease(&mut self, answer: &LedgerAnswer, tokens: u64) {
        let valid_until = self.now + answer.valid_for;
        self.out.push(Out { generation: answer.generation, unused: tokens, unreported: 0, valid_until });
    }

    fn report(&mut self, which: usize, unused: bool) {
        if self.out.is_empty() {
            return;
        }
        let out = pick(which, &mut self.out);
        if self.now >= out.valid_until {
            return;
        }
        let report = |count: &mut u64| LeaseReport { generation: out.generation, count: std::mem::take(count) as u32 };
        let used = vec![report(&mut out.unreported)];
        let returned = if unused { vec![report(&mut out.unused)] } else { Vec::new() };
        self.call(|call| (call.used, call.returned) = (used, returned));
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Wait(time) => self.now += time,
            Step::Take { cost, count, hold } => {
                let answer = self.call(|call| (call.takes, call.hold) = (vec![LedgerTake { cost, count }], hold));
                let tokens = u64::from(answer.granted * cost);
                if hold && tokens > 0 {
                    self.lease(&answer, tokens);
                } else if tokens > 0 {
                    prop_assert!(tokens <= self.ideal.left(self.now), "granted what was not there");
                    self.ideal.charge(self.now, tokens);
                    self.charged.push(self.ideal.charges.len() - 1);
                }
            }
            Step::Lease { tokens, share } => {
                self.call(|call| (call.lease, call.share) = (tokens, share));
            }
            Step::Use { which, tokens } if !self.out.is_empty() => {
                let out = pick(which, &mut self.out);
                let tokens = tokens.min(out.unused);
                if self.now < out.valid_until && tokens > 0 {
                    (out.unused, out.unreported) = (out.unused - tokens, out.unreported + tokens);
                    prop_assert!(self.debited || tokens <= self.ideal.left(self.now), "leased what was not there");
                    self.ideal.charge(self.now, tokens);
                }
            }
            Step::Report(which) => self.report(which, false),
            Step::Return(which) => self.report(which, true),
            Step::Lose(which) if !self.out.is_empty() => drop(self.out.swap_remove(which % self.out.len())),
            Step::Debit(tokens) => {
                self.debited = true;
                // Beyond the largest debt what is charged and what is given back are not the same.
                let charged =
                    |state: &LedgerState| state.charged.debt(self.now - self.behind, &state.shape) + state.held();
                let charged = self.ledger.0.as_ref().map_or(0, charged);
                if charged + tokens <= self.ideal.shape.most_debt() {
                    self.call(|call| call.debits = tokens);
                    self.ideal.charge(self.now, tokens);
                    self.charged.push(self.ideal.charges.len() - 1);
                }
            }
            Step::Credit { which, tokens } if !self.charged.is_empty() => {
                let charge = *pick(which, &mut self.charged);
                let (at, charged) = self.ideal.charges[charge];
                let (age, tokens) = (self.now - at, tokens.min(charged));
                self.call(|call| (call.credits, call.credit_age) = (tokens, age));
                self.ideal.credit(self.now, charge, tokens);
            }
            Step::SetBack(time) => self.behind += time,
            _ => {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn grants_nothing_that_one_limiter_would_refuse(
        (shape, steps) in any_shape().prop_flat_map(|shape| {
            (Just(shape), prop::collection::vec(any_step(shape.per), 1..120))
        })
    ) {
        let mut world = World::new(shape);
        for step in steps {
            let aligned = shape.algorithm == LimitAlgorithm::FixedWindow;
            if aligned && matches!(step, Step::SetBack(_)) {
                continue; // windows of another clock begin at other times
            }
            world.step(&step)?;
            let (there, now) = (left(&world.ledger, world.now - world.behind, &shape), world.now);
            prop_assert!(there <= world.ideal.left(now), "{} left of {}", there, world.ideal.left(now));
            let kept = world.ledger.0.as_ref().map_or(0, |state| match &state.charged {
                Charged::Log(log) => log.runs.len() as u64,
                _ => 0,
            });
            prop_assert!(kept <= log::MOST_RUNS + 2);
        }
    }

    /// What nodes report at once, or return, is as if it had been taken one by one.
    #[test]
    fn loses_nothing(
        (shape, steps) in any_shape().prop_flat_map(|shape| {
            (Just(shape), prop::collection::vec((any_wait(shape.per), 0..20_u32, 0..20_u32, any::<bool>()), 1..60))
        })
    ) {
        let (mut world, all) = (World::new(shape), 0);
        let exact = shape.algorithm != LimitAlgorithm::SlidingWindow || u64::from(shape.limit) <= log::MOST_RUNS;
        for (wait, tokens, used, hold) in steps {
            world.now += wait;
            let answer = if hold {
                world.step(&Step::Take { cost: 1, count: tokens, hold })?;
                None
            } else {
                Some(world.call(|call| call.lease = tokens))
            };
            if exact && let Some(answer) = answer {
                let before = world.ideal.left(world.now);
                prop_assert_eq!(u64::from(answer.leased), u64::from(tokens).min(before));
                prop_assert_eq!(u64::from(answer.left), before - u64::from(answer.leased));
            }
            if world.out.is_empty() {
                continue;
            }
            world.step(&Step::Use { which: all, tokens: used.into() })?;
            world.step(&Step::Return(all))?;
            world.out.clear();
            if exact {
                prop_assert_eq!(left(&world.ledger, world.now, &shape), world.ideal.left(world.now));
            }
        }
        let idle = world.now + world.ledger.expires_after(world.now);
        prop_assert_eq!(left(&world.ledger, idle, &shape), u64::from(shape.capacity));
        prop_assert_eq!(world.ideal.left(idle), u64::from(shape.capacity));
    }

    #[test]
    fn says_when_a_take_fits_and_when_all_is_left(
        (shape, steps) in any_shape().prop_flat_map(|shape| {
            (Just(shape), prop::collection::vec((any_wait(shape.per), 0..12_u32, 1..4_u32), 1..60))
        })
    ) {
        let (mut ledger, mut now) = (Ledger::default(), BASE);
        for (wait, cost, count) in steps {
            now += wait;
            let answer = ledger.apply(now, &take(&shape, cost, count));
            let fits = |at: u64| ledger.clone().apply(at, &take(&shape, cost, 1)).granted == 1;
            if answer.granted == count {
                prop_assert!(answer.left == 0 || answer.ready_after == 0);
            } else if cost > shape.capacity {
                prop_assert_eq!(answer.ready_after, u64::MAX);
            } else {
                prop_assert!(answer.ready_after > 0);
                prop_assert!(fits(now + answer.ready_after) && !fits(now + answer.ready_after - 1));
            }
            let full = now + answer.full_after;
            prop_assert_eq!(left(&ledger, full, &shape), u64::from(shape.capacity));
            if answer.full_after > 0 {
                prop_assert!(left(&ledger, full - 1, &shape) < u64::from(shape.capacity));
                prop_assert!(ledger.expires_after(now) >= answer.full_after);
            }
            if shape.algorithm == LimitAlgorithm::TokenBucket {
                let viewed = u64::from(shape.capacity).saturating_sub(shape.missing(answer.full_after));
                prop_assert!(viewed <= u64::from(answer.left), "a view is not more than there is");
            }
        }
    }

    /// Nodes with other figures that take turns use up nothing by that.
    #[test]
    fn turns_of_other_figures_use_up_nothing(a in any_shape(), b in any_shape(), used in 1..50_u32) {
        let capacity = if a.algorithm == LimitAlgorithm::TokenBucket { b.capacity } else { b.limit };
        let b = LedgerShape { algorithm: a.algorithm, capacity, ..b };
        let mut ledger = Ledger::default();
        ledger.apply(BASE, &take(&a, 1, used));
        let start = left(&ledger, BASE, &a);
        for _ in 0..50 {
            ledger.apply(BASE, &LedgerCall::new(b));
            ledger.apply(BASE, &LedgerCall::new(a));
        }
        // The share is rounded once, to whole tokens, or to a microsecond of the bucket that refills sooner.
        let whole = |shape: &LedgerShape| match shape.algorithm {
            LimitAlgorithm::TokenBucket => shape.refill_time(shape.capacity.into()),
            _ => shape.limit.into(),
        };
        let lost = u64::from(a.capacity).div_ceil(whole(&a).min(whole(&b))) + a.missing(2) + 1;
        prop_assert!(left(&ledger, BASE, &a) + lost >= start, "{} of {}", left(&ledger, BASE, &a), start);
    }
}

#[test]
fn a_lease_that_nobody_reports_is_written_off_when_it_ends() {
    let shape = shape(LimitAlgorithm::TokenBucket, 10, 10_000_000, None);
    let mut ledger = Ledger::default();
    let answer = ledger.apply(BASE, &lease(&shape, 8));
    assert_eq!((answer.leased, answer.left, answer.valid_for), (8, 2, 2 * GENERATION));
    assert_eq!(ledger.apply(BASE + 1_999_999, &take(&shape, 3, 1)).granted, 0, "held, not refilled");
    // From now on it refills; one token a second.
    assert_eq!(left(&ledger, BASE + 2_000_000, &shape), 2);
    assert_eq!(left(&ledger, BASE + 3_000_000, &shape), 3);
    let late = LeaseReport { generation: answer.generation, count: 8 };
    let reports = LedgerCall { used: vec![late], returned: vec![late], ..LedgerCall::new(shape) };
    assert_eq!(ledger.apply(BASE + 3_000_000, &reports).left, 3, "late reports change nothing");
    assert_eq!(left(&ledger, BASE + 9_999_999, &shape), 9);
    assert_eq!(left(&ledger, BASE + 10_000_000, &shape), 10);
}

#[test]
fn leases_of_two_generations_are_kept_apart() {
    let shape = shape(LimitAlgorithm::TokenBucket, 10, 1_000_000_000, None);
    let mut ledger = Ledger::default();
    let first = ledger.apply(BASE, &lease(&shape, 4));
    let second = ledger.apply(BASE + GENERATION, &lease(&shape, 4));
    assert_eq!((second.generation, second.valid_for), (first.generation + 1, 2 * GENERATION));
    let back = LeaseReport { generation: first.generation, count: 3 };
    let call = LedgerCall { returned: vec![back], ..LedgerCall::new(shape) };
    assert_eq!(ledger.apply(BASE + GENERATION, &call).left, 5);
    let unknown = LeaseReport { generation: second.generation + 7, count: 2 };
    let call = LedgerCall { used: vec![unknown], ..LedgerCall::new(shape) };
    assert_eq!(ledger.apply(BASE + GENERATION, &call).left, 3, "of a state that the store has lost");
}

#[test]
fn a_lease_ends_with_its_window() {
    let shape = shape(LimitAlgorithm::FixedWindow, 10, 60_000_000, None);
    let end = BASE - BASE % shape.per + shape.per;
    let mut ledger = Ledger::default();
    let answer = ledger.apply(end - 300_000, &lease(&shape, 8));
    assert_eq!((answer.leased, answer.valid_for), (8, 300_000));
    let next = ledger.apply(end, &lease(&shape, 6));
    assert_eq!(next.left, 4);
    let late = LeaseReport { generation: answer.generation, count: 6 };
    let reports = LedgerCall { used: vec![late], returned: vec![late], ..LedgerCall::new(shape) };
    assert_eq!(ledger.apply(end + 1, &reports).left, 4);
}

#[test]
fn debts_are_repaid() {
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
        let shape = shape(algorithm, 10, 60_000_000, None);
        let start = BASE - BASE % shape.per;
        let mut ledger = Ledger::default();
        let answer = ledger.apply(start, &LedgerCall { debits: 14, ..LedgerCall::new(shape) });
        assert_eq!((answer.left, answer.full_after >= shape.per), (0, true), "{algorithm:?}");
        assert_eq!(left(&ledger, start + 60_000_000, &shape), 6, "{algorithm:?}");
        // No more than one limit is owed.
        let answer = ledger.apply(start + 60_000_000, &LedgerCall { debits: 5000, ..LedgerCall::new(shape) });
        assert!(answer.full_after <= 120_000_000, "{algorithm:?}");
        assert_eq!(left(&ledger, start + 120_000_000, &shape), 0, "{algorithm:?}");
        assert_eq!(left(&ledger, start + 180_000_000, &shape), 10, "{algorithm:?}");
    }
}

#[test]
fn what_is_given_back_late_does_not_free_what_was_charged_since() {
    for algorithm in [LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
        let shape = shape(algorithm, 10, 60_000_000, None);
        let mut ledger = Ledger::default();
        let start = BASE - BASE % shape.per;
        ledger.apply(start + 1, &take(&shape, 10, 1));
        ledger.apply(start + 60_000_001, &take(&shape, 10, 1));
        let credit = |age| LedgerCall { credits: 4, credit_age: age, ..LedgerCall::new(shape) };
        assert_eq!(ledger.apply(start + 60_000_002, &credit(60_000_001)).left, 0, "{algorithm:?}");
        assert_eq!(ledger.apply(start + 60_000_002, &credit(1)).left, 4, "{algorithm:?}");
    }
}

#[test]
fn a_clock_set_back_far_opens_no_window_and_stops_none_for_long() {
    let shape = shape(LimitAlgorithm::FixedWindow, 2, 1_000_000, None);
    let mut ledger = Ledger::default();
    assert_eq!(ledger.apply(BASE, &take(&shape, 1, 3)).granted, 2);
    let back = BASE - 3_600_000_000;
    assert_eq!(ledger.apply(back + 999_999, &take(&shape, 1, 1)).granted, 0);
    assert_eq!(ledger.apply(back + 1_999_999, &take(&shape, 1, 1)).granted, 0);
    assert_eq!(ledger.apply(back + 2_000_000, &take(&shape, 1, 1)).granted, 1);
}

#[test]
fn large_figures_stay_whole() {
    let ten_years = 10 * 366 * 86_400 * 1_000_000_u64;
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
        let shape = shape(algorithm, u32::MAX, ten_years, None);
        let mut ledger = Ledger::default();
        let answer = ledger.apply(BASE, &take(&shape, u32::MAX - 1, 2));
        assert_eq!((answer.granted, answer.left), (1, 1), "{algorithm:?}");
        let answer = ledger.apply(BASE, &LedgerCall { debits: u64::MAX, ..LedgerCall::new(shape) });
        assert_eq!((answer.left, ledger.expires_after(BASE) <= 2 * ten_years), (0, true), "{algorithm:?}");
    }
}

/// The figures may change while much is held; what is held is more than can be owed then.
#[test]
fn held_tokens_of_other_figures_stay_within_bounds() {
    let ten_years = 10 * 366 * 86_400 * 1_000_000_u64;
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
        let (large, small) = (shape(algorithm, u32::MAX, ten_years, None), shape(algorithm, 1, ten_years, None));
        let mut ledger = Ledger::default();
        assert_eq!(ledger.apply(BASE, &lease(&large, u32::MAX)).leased, u32::MAX, "{algorithm:?}");
        let answer = ledger.apply(BASE, &LedgerCall::new(small));
        assert_eq!((answer.left, answer.full_after <= 3 * ten_years), (0, true), "{algorithm:?}");
        assert!(ledger.expires_after(BASE) <= 3 * ten_years, "{algorithm:?}");
    }
}

/// The tokens that such a bucket gains in two hours do not fit a number.
#[test]
fn a_bucket_that_refills_at_once_is_full_long_after() {
    let shape = shape(LimitAlgorithm::TokenBucket, u32::MAX, 1, None);
    let mut ledger = Ledger::default();
    ledger.apply(BASE, &take(&shape, u32::MAX - 1, 1));
    assert_eq!(left(&ledger, BASE + (1 << 33) + 3, &shape), u64::from(u32::MAX));
}

#[test]
fn a_ledger_that_is_not_trusted_counts_as_used_up() {
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
        let shape = shape(algorithm, 10, 60_000_000, None);
        assert_eq!(left(&Ledger::used_up(BASE, &shape), BASE, &shape), 0);
    }
}
