use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use pylae_core::limit::{Ledger, LedgerShape, LedgerTake, LimitShape};

use super::super::fixture::{Batch, Scripted, with_given_time};
use super::*;

const BASE: u64 = 1_795_000_000_000_000;
const TEN_YEARS: u64 = 10 * 366 * 86_400 * 1_000_000;
/// Keeps all times exact in the script.
const LAST: u64 = 7_000_000_000_000_000;

/// The script with a time that is given, and keys that stay.
static GIVEN_TIME: LazyLock<Script> = LazyLock::new(|| with_given_time(&LEDGER));

fn shape(algorithm: LimitAlgorithm, limit: u32, per: u64, burst: Option<u32>) -> LedgerShape {
    let burst = burst.filter(|_| algorithm == LimitAlgorithm::TokenBucket);
    let with = |burst| LimitShape::new(algorithm, limit, Duration::from_micros(per), burst);
    // A burst may take too long to refill.
    LedgerShape::from(&with(burst).or_else(|_| with(None)).unwrap())
}

fn any_algorithm() -> impl Strategy<Value = LimitAlgorithm> {
    prop_oneof![
        Just(LimitAlgorithm::TokenBucket),
        Just(LimitAlgorithm::SlidingWindow),
        Just(LimitAlgorithm::FixedWindow)
    ]
}

fn any_shape() -> impl Strategy<Value = LedgerShape> {
    let limit =
        prop_oneof![4 => 1..30_u32, 2 => 101..400_u32, 1 => Just(u32::MAX), 1 => any::<u32>().prop_map(|n| n.max(1))];
    let per = prop_oneof![
        2 => 1..50_u64,
        4 => Just(100_000),
        4 => Just(1_000_000),
        2 => Just(7_000_003),
        4 => Just(60_000_000),
        1 => Just(TEN_YEARS),
        1 => Just(TEN_YEARS - 1),
        1 => 1..TEN_YEARS,
    ];
    let burst = prop_oneof![6 => 1..40_u32, 1 => Just(u32::MAX), 1 => any::<u32>().prop_map(|n| n.max(1))];
    (any_algorithm(), limit, per, prop::option::of(burst))
        .prop_map(|(algorithm, limit, per, burst)| shape(algorithm, limit, per, burst))
}

/// A number of tokens.
#[derive(Clone, Copy, Debug)]
enum Amount {
    Few(u32),
    Thousandths(u32),
    Most,
}

impl Amount {
    fn of(self, shape: &LedgerShape) -> u32 {
        match self {
            Self::Few(count) => count,
            Self::Thousandths(part) => (u64::from(shape.capacity()) * u64::from(part) / 1000) as u32,
            Self::Most => u32::MAX,
        }
    }
}

fn any_amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        8 => (0..8_u32).prop_map(Amount::Few),
        8 => (0..1200_u32).prop_map(Amount::Thousandths),
        1 => Just(Amount::Most),
    ]
}

/// What happens to the key before the call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Nothing,
    /// The call clears it.
    Clear,
    /// The server has dropped it, if it was of no use any more.
    Expiry,
    /// Somebody else writes there.
    Overwritten,
}

#[derive(Clone, Debug)]
struct Step {
    wait: Wait,
    before: Before,
    /// Which of the figures.
    shape: usize,
    /// Which of the answers before, and how much.
    used: Vec<(usize, Amount)>,
    returned: Vec<(usize, Amount)>,
    credits: Option<(Amount, u64)>,
    debits: Option<Amount>,
    takes: Vec<(Amount, u32)>,
    hold: bool,
    lease: Option<(Amount, u32)>,
}

#[derive(Clone, Copy, Debug)]
enum Wait {
    Micros(u64),
    Periods {
        halves: u64,
        more: u64,
    },
    /// The clock is set back.
    Back(u64),
    BackPeriods(u64),
}

impl Wait {
    fn from(self, now: u64, shape: &LedgerShape) -> u64 {
        let then = match self {
            Self::Micros(time) => now + time,
            Self::Periods { halves, more } => now + halves * shape.per() / 2 + more,
            Self::Back(time) => now - time,
            Self::BackPeriods(periods) => now.saturating_sub(periods * shape.per()),
        };
        if (BASE / 2..LAST).contains(&then) { then } else { now }
    }
}

fn any_wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        6 => Just(Wait::Micros(0)),
        6 => prop_oneof![0..3_u64, 0..300_000_u64, 0..2_500_000_u64].prop_map(Wait::Micros),
        6 => (0..5_u64, 0..3_u64).prop_map(|(halves, more)| Wait::Periods { halves, more }),
        1 => (0..3_000_000_u64).prop_map(Wait::Back),
        1 => (1..4_u64).prop_map(Wait::BackPeriods),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let before = prop_oneof![
        40 => Just(Before::Nothing),
        40 => Just(Before::Expiry),
        2 => Just(Before::Clear),
        1 => Just(Before::Overwritten)
    ];
    let reports = || prop::collection::vec((0..6_usize, any_amount()), 0..3);
    let takes = prop::collection::vec((any_amount(), prop_oneof![8 => 0..4_u32, 1 => Just(u32::MAX)]), 0..4);
    let credits = prop::option::weighted(0.2, (any_amount(), 0..90_000_000_u64));
    let debits = prop::option::weighted(0.2, any_amount());
    (
        (any_wait(), before, prop_oneof![9 => Just(0_usize), 1 => 0..3_usize]),
        (reports(), reports()),
        (credits, debits),
        (takes, prop::bool::weighted(0.3), prop::option::of((any_amount(), 0..5_u32))),
    )
        .prop_map(|((wait, before, shape), (used, returned), (credits, debits), (takes, hold, lease))| Step {
            wait,
            before,
            shape,
            used,
            returned,
            credits,
            debits,
            takes,
            hold,
            lease,
        })
}

/// The ledger in Rust.
struct Model {
    ledger: Ledger,
    now: u64,
    idle_at: u64,
    generations: Vec<u64>,
}

impl Model {
    fn call(&self, step: &Step, shape: &LedgerShape) -> LedgerCall {
        let reports = |given: &[(usize, Amount)]| {
            let report = |(which, amount): &(usize, Amount)| LeaseReport {
                // The latest, those before, none that there was.
                generation: self.generations.iter().rev().nth(*which).map_or(self.now + 7, |name| *name),
                count: amount.of(shape),
            };
            given.iter().map(report).collect::<Vec<_>>()
        };
        let debits = |amount: Amount| match amount {
            Amount::Most => u64::MAX,
            _ => amount.of(shape).into(),
        };
        LedgerCall {
            shape: *shape,
            used: reports(&step.used),
            returned: reports(&step.returned),
            credits: step.credits.map_or(0, |credits| debits(credits.0)),
            credit_age: step.credits.map_or(0, |credits| credits.1),
            debits: step.debits.map_or(0, debits),
            takes: step.takes.iter().map(|(cost, count)| LedgerTake { cost: cost.of(shape), count: *count }).collect(),
            hold: step.hold,
            lease: step.lease.map_or(0, |lease| lease.0.of(shape)),
            share: step.lease.map_or(1, |lease| lease.1),
        }
    }

    /// Does a step, here and later on the server. Returns the call, the answer, and when the state is of no use.
    fn step(&mut self, step: &Step, shape: &LedgerShape, batch: &mut Batch) -> (LedgerCall, LedgerAnswer, u64) {
        self.now = step.wait.from(self.now, shape);
        let (mut replaced, mut kept) = (false, None);
        match step.before {
            Before::Clear => self.ledger = Ledger::default(),
            Before::Expiry if self.now >= self.idle_at => {
                batch.command(&[b"DEL", b"k"]);
                kept = Some(std::mem::take(&mut self.ledger));
            }
            Before::Overwritten => {
                batch.command(&[b"SET", b"k", b"hello"]);
                (self.ledger, replaced) = (Ledger::used_up(self.now, shape), true);
            }
            _ => {}
        }
        let asked = self.call(step, shape);
        let script = ScriptCall { script: &GIVEN_TIME, ..call(b"k".to_vec(), &asked, step.before == Before::Clear) };
        batch.call_at(self.now, script);
        let answered = LedgerAnswer { replaced, ..self.ledger.apply(self.now, &asked) };
        // What is reported of leases that the server has forgotten is charged.
        if let Some(mut kept) = kept.filter(|_| asked.used.is_empty()) {
            let without_lease = |answer| LedgerAnswer { generation: 0, valid_for: 0, ..answer };
            let kept = kept.apply(self.now, &asked);
            assert_eq!(without_lease(kept), without_lease(answered), "it was of use yet");
        }
        let idle_after = self.ledger.expires_after(self.now);
        self.idle_at = self.now + idle_after;
        if answered.generation != 0 && self.generations.last() != Some(&answered.generation) {
            self.generations.push(answered.generation);
        }
        (asked, answered, idle_after)
    }
}

#[test]
fn the_script_does_what_the_ledger_does() {
    let server = Scripted::start(&[&GIVEN_TIME]);
    let shapes = (any_algorithm(), any_shape(), any_shape(), any_shape(), prop::bool::weighted(0.5)).prop_map(
        |(algorithm, a, b, c, same)| {
            let alike = |other: &LedgerShape| shape(algorithm, other.limit(), other.per(), Some(other.capacity()));
            if same { [alike(&a), alike(&b), alike(&c)] } else { [a, b, c] }
        },
    );
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(shapes in shapes, steps in prop::collection::vec(any_step(), 1..80))| {
        let mut model = Model { ledger: Ledger::default(), now: BASE, idle_at: 0, generations: Vec::new() };
        let mut batch = Batch::default();
        batch.command(&[b"DEL", b"k"]);
        let expected: Vec<_> = steps.iter().map(|step| model.step(step, &shapes[step.shape], &mut batch)).collect();
        let answers = server.run(batch);
        prop_assert_eq!(answers.len(), expected.len());
        for (place, (value, (asked, answered, idle_after))) in answers.iter().zip(&expected).enumerate() {
            let (first, rest) = value.as_array().and_then(<[_]>::split_first).unwrap();
            let found = answer(asked, &StoreValue::Array(rest.to_vec()));
            prop_assert_eq!(found.as_ref(), Some(answered), "step {}: {:?} to {:?}", place, value, asked);
            prop_assert_eq!(first.as_integer(), Some(idle_after.cast_signed()), "step {}: {:?}", place, asked);
        }
    });
}

fn take(shape: &LedgerShape, cost: u32, count: u32) -> LedgerCall {
    LedgerCall { takes: vec![LedgerTake { cost, count }], ..LedgerCall::new(*shape) }
}

/// Calls the script itself.
fn run(server: &Scripted, asked: &LedgerCall, clear: bool) -> LedgerAnswer {
    let mut batch = Batch::default();
    batch.call(&call(b"k".to_vec(), asked, clear));
    answer(asked, &server.run(batch)[0]).unwrap()
}

fn run_command(server: &Scripted, words: &[&[u8]]) -> StoreValue {
    let mut batch = Batch::default();
    batch.question(words);
    server.run(batch).remove(0)
}

#[test]
fn keys_stay_until_they_are_of_no_use() {
    let server = Scripted::start(&[&LEDGER]);
    let hour = 3_600_000;
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow] {
        let shape = shape(algorithm, 10, 10 * hour * 1000, None);
        let answered = run(&server, &take(&shape, 1, 3), true);
        assert_eq!((answered.granted, answered.left, answered.replaced), (3, 7, false));
        let StoreValue::Integer(left) = run_command(&server, &[b"PTTL", b"k"]) else { panic!("no number") };
        let most = answered.full_after.cast_signed() / 1000 + 2;
        assert!((most - 600_000..=most).contains(&left), "{left} of {most}, {algorithm:?}");
        let credit = LedgerCall { credits: 3, ..LedgerCall::new(shape) };
        assert_eq!(run(&server, &LedgerCall { credit_age: 1_000_000_000, ..credit }, false).left, 10);
        assert_eq!(run_command(&server, &[b"EXISTS", b"k"]), StoreValue::Integer(0), "{algorithm:?}");
    }
}

#[test]
fn a_state_that_is_none_counts_as_used_up_and_is_replaced() {
    let server = Scripted::start(&[&LEDGER]);
    let figures = [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow];
    let shapes = figures.map(|algorithm| shape(algorithm, 10, 36_000_000_000, None));
    let head = |kind: u8, limit: u8| [b"pl1", &[kind, limit, 0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..]].concat();
    let written = [
        Vec::new(),
        b"10".to_vec(),
        [0xff; 100].to_vec(),
        [b"pl2", &head(1, 10)[3..], &[0; 11]].concat(),
        head(1, 10),
        [head(1, 0), vec![0; 11]].concat(),
        [head(4, 10), vec![0; 11]].concat(),
        [head(1, 10), vec![0; 12]].concat(),
        [head(2, 10), vec![0; 8 + 12]].concat(),
        [head(3, 10), vec![0; 13]].concat(),
        [head(5, 10), vec![0; 11 + 21]].concat(),
        [head(200, 10), vec![0; 200]].concat(),
    ];
    for shape in shapes {
        for bytes in &written {
            run_command(&server, &[b"SET", b"k", bytes]);
            let answered = run(&server, &take(&shape, 1, 1), false);
            assert_eq!((answered.granted, answered.left, answered.replaced), (0, 0, true), "{bytes:?}");
            assert!(!run(&server, &take(&shape, 1, 1), false).replaced, "{bytes:?}");
            assert_eq!(run(&server, &take(&shape, 1, 1), true).left, 9, "cleared");
        }
        run_command(&server, &[b"DEL", b"k"]);
        run_command(&server, &[b"HSET", b"k", b"a", b"b"]);
        assert!(run(&server, &take(&shape, 1, 1), false).replaced, "another type");
    }
}

/// A state that could be one, but holds what no ledger writes, hurts nobody but its key.
#[test]
fn absurd_states_are_answered() {
    let server = Scripted::start(&[&LEDGER]);
    let asked = LedgerCall {
        used: vec![LeaseReport { generation: 1, count: 1 }],
        credits: 1,
        debits: 1,
        lease: 1,
        ..take(&shape(LimitAlgorithm::TokenBucket, 10, 36_000_000_000, None), 1, 1)
    };
    for (kind, length) in [(1, 26), (2, 23 + 11 * 50), (3, 27), (5, 48), (6, 45 + 11 * 50), (7, 49)] {
        for filler in [0xff, 0x01, 0x7f] {
            for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
                let asked = LedgerCall { shape: shape(algorithm, 10, 36_000_000_000, None), ..asked.clone() };
                run_command(&server, &[b"SET", b"k", &[&b"pl1"[..], &[kind], &vec![filler; length]].concat()]);
                let mut batch = Batch::default();
                batch.call(&call(b"k".to_vec(), &asked, false));
                batch.call(&call(b"k".to_vec(), &asked, false));
                // The answers may be of no use, but there are some, and no errors.
                assert_eq!(server.run(batch).len(), 2);
            }
        }
    }
}

#[test]
fn an_answer_is_checked() {
    let asked = LedgerCall { lease: 5, ..take(&shape(LimitAlgorithm::TokenBucket, 10, 60_000_000, None), 1, 2) };
    let read = |numbers: &[i64]| {
        let items = numbers.iter().map(|number| StoreValue::Integer(*number)).collect();
        answer(&asked, &StoreValue::Array(items))
    };
    let good = [2, 5, 1_795_000_000_000_000, 2_000_000, 3, -1, 0, 0];
    let expected = LedgerAnswer {
        granted: 2,
        leased: 5,
        generation: 1_795_000_000_000_000,
        valid_for: 2_000_000,
        left: 3,
        ready_after: u64::MAX,
        full_after: 0,
        replaced: false,
    };
    assert_eq!(read(&good), Some(expected));
    for (place, number) in [(0, 3), (1, 6), (2, i64::MAX), (3, 2_000_001), (4, 11), (5, -2), (6, -1), (7, 2)] {
        let mut bad = good;
        bad[place] = number;
        assert_eq!(read(&bad), None, "{bad:?}");
    }
    assert_eq!(read(&good[..7]), None);
    assert_eq!(answer(&asked, &StoreValue::Nil), None);
    assert_eq!(answer(&asked, &StoreValue::Array(vec![StoreValue::Nil; 8])), None);
}
