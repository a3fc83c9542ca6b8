use std::sync::LazyLock;

use proptest::prelude::*;
use pylae_core::limit::Places;

use super::super::fixture::{Batch, Scripted, with_given_time};
use super::*;

const BASE: u64 = 1_795_000_000_000_000;

/// The script with a time that is given, and keys that stay.
static GIVEN_TIME: LazyLock<Script> = LazyLock::new(|| with_given_time(&PLACES));

#[derive(Clone, Copy, Debug)]
struct Step {
    /// Microseconds; negative if the clock is set back.
    wait: i64,
    overwritten: bool,
    /// How many calls of the node have come between: one that is not above 0 comes late.
    later: i64,
    call: PlacesCall,
}

fn any_count() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..12_u32, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

fn any_step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![
        8 => 0..100_000_i64,
        4 => 0..6_000_000_i64,
        1 => Just(5_000_000),
        1 => Just(4_999_999),
        1 => -20_000_000..0_i64,
    ];
    let node = prop_oneof![12 => 1..4_u64, 4 => 1..400_u64, 1 => any::<u64>().prop_map(|node| node.max(1))];
    let limit = prop_oneof![12 => Just(10_u32), 3 => 0..30_u32, 1 => Just(u32::MAX)];
    let counts = (any_count(), any_count(), any_count(), 0..7_u32);
    (wait, prop::bool::weighted(0.02), -2..5_i64, node, limit, counts).prop_map(
        |(wait, overwritten, later, node, limit, (keep, need, extra, share))| {
            let call = PlacesCall { node, number: 0, limit, keep, need, extra, share };
            Step { wait, overwritten, later, call }
        },
    )
}

#[test]
fn the_script_does_what_places_do() {
    let server = Scripted::start(&[&GIVEN_TIME]);
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(any_step(), 1..120), many in prop::bool::weighted(0.05))| {
        let (mut places, mut now, mut number) = (Places::default(), BASE, 10_u64);
        let mut batch = Batch::default();
        batch.command(&[b"DEL", b"k"]);
        let crowd = (1..=if many { 255 } else { 0 }).map(|node| Step {
            wait: 1,
            overwritten: false,
            later: 1,
            call: PlacesCall { node, number: 0, limit: 5000, keep: 0, need: 9, extra: 9, share: 50 },
        });
        let mut expected = Vec::new();
        for step in crowd.chain(steps) {
            now = now.saturating_add_signed(step.wait);
            number = number.saturating_add_signed(step.later.max(0)).max(1);
            let asked = PlacesCall { number: number.saturating_add_signed(step.later.min(0)), ..step.call };
            if step.overwritten {
                batch.command(&[b"SET", b"k", b"hello"]);
                places = Places::used_up(now, asked.limit);
            }
            let answered = PlacesAnswer { replaced: step.overwritten, ..places.apply(now, &asked) };
            batch.call_at(now, ScriptCall { script: &GIVEN_TIME, ..call(b"k".to_vec(), &asked) });
            expected.push((asked, answered, places.expires_after(now)));
        }
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

fn ask(node: u64, number: u64, keep: u32, need: u32) -> PlacesCall {
    PlacesCall { node, number, limit: 10, keep, need, extra: 0, share: 1 }
}

fn run(server: &Scripted, asked: &PlacesCall) -> PlacesAnswer {
    let mut batch = Batch::default();
    batch.call(&call(b"k".to_vec(), asked));
    answer(asked, &server.run(batch)[0]).unwrap()
}

fn run_command(server: &Scripted, words: &[&[u8]]) -> StoreValue {
    let mut batch = Batch::default();
    batch.question(words);
    server.run(batch).remove(0)
}

#[test]
fn a_key_stays_as_long_as_somebody_has_places() {
    let server = Scripted::start(&[&PLACES]);
    assert_eq!(
        run(&server, &ask(1, 1, 0, 3)),
        PlacesAnswer { total: 3, left: 7, valid_for: 5_000_000, replaced: false }
    );
    let StoreValue::Integer(left) = run_command(&server, &[b"PTTL", b"k"]) else { panic!("no number") };
    assert!((1..=5002).contains(&left), "{left}");
    run(&server, &ask(1, 2, 0, 0));
    assert_eq!(run_command(&server, &[b"EXISTS", b"k"]), StoreValue::Integer(0));
}

#[test]
fn a_state_that_is_none_counts_as_used_up_and_is_replaced() {
    let server = Scripted::start(&[&PLACES]);
    let written = [&b""[..], b"10", b"pp1x", b"pp2", b"pl1", &[0xff; 100]];
    for (place, bytes) in written.iter().enumerate() {
        run_command(&server, &[b"SET", b"k", bytes]);
        let number = 1 + 2 * place as u64;
        let answered = run(&server, &ask(1, number, 0, 3));
        assert_eq!((answered.total, answered.left, answered.replaced), (0, 0, true), "{bytes:?}");
        assert!(!run(&server, &ask(1, number + 1, 0, 3)).replaced, "{bytes:?}");
    }
    run_command(&server, &[b"DEL", b"k"]);
    run_command(&server, &[b"HSET", b"k", b"a", b"b"]);
    assert!(run(&server, &ask(1, 100, 0, 3)).replaced, "another type");
}

#[test]
fn an_answer_is_checked() {
    let asked = ask(1, 1, 2, 3);
    let read = |numbers: [i64; 4]| answer(&asked, &StoreValue::Array(numbers.map(StoreValue::Integer).to_vec()));
    assert_eq!(read([5, 4, 7, 0]), Some(PlacesAnswer { total: 5, left: 4, valid_for: 7, replaced: false }));
    for wrong in [[6, 4, 7, 0], [-1, 4, 7, 0], [5, 11, 7, 0], [5, 4, 5_000_001, 0], [5, 4, 7, 2]] {
        assert_eq!(read(wrong), None, "{wrong:?}");
    }
    assert_eq!(answer(&asked, &StoreValue::Nil), None);
}
