//! Every order of sending, executing, losing and answering, with as many nodes.

use proptest::prelude::*;

use super::super::{CallLoss, Due, OnStoreError};
use super::world::{MILLI, SECOND, World, shape};
use crate::clock::Instant;
use crate::limit::{FixedWindow, LimitAlgorithm, LimitMode, LimitShape, SlidingWindow};

#[derive(Clone, Debug)]
enum Event {
    /// A request at a node that costs so much of the first limit, and perhaps one of the second.
    Check(usize, u32, bool),
    Collect(usize, Due),
    Execute(usize),
    Arrive(usize),
    Lose(usize, CallLoss),
    Late(usize),
    /// A client that waits is gone.
    Leave(usize),
    Pass(u64),
    Burst(usize, u32),
}

fn event() -> impl Strategy<Value = Event> {
    let index = 0..1000_usize;
    let due = prop_oneof![Just(Due::Urgent), Just(Due::All)];
    let loss = prop_oneof![Just(CallLoss::Unsent), Just(CallLoss::Unanswered)];
    prop_oneof![
        8 => (index.clone(), 1..4_u32, prop::bool::weighted(0.2)).prop_map(|(n, cost, two)| Event::Check(n, cost, two)),
        6 => (index.clone(), due).prop_map(|(n, due)| Event::Collect(n, due)),
        4 => index.clone().prop_map(Event::Execute),
        8 => index.clone().prop_map(Event::Arrive),
        1 => (index.clone(), loss).prop_map(|(n, loss)| Event::Lose(n, loss)),
        1 => index.clone().prop_map(Event::Late),
        1 => index.clone().prop_map(Event::Leave),
        3 => (0..60_u64).prop_map(|milli| Event::Pass(milli * MILLI)),
        1 => (0..3000_u64).prop_map(|milli| Event::Pass(milli * MILLI)),
        2 => (index, 1..60_u32).prop_map(|(n, count)| Event::Burst(n, count)),
    ]
}

/// Plays the events, without some of them for fast limits: of a request with two limits it cannot be told from outside
/// when which part was charged, and what a client gives back that has waited for seconds was free for use meanwhile.
fn run(world: &mut World, events: &[Event], all: bool) {
    let nodes = world.nodes.len();
    for event in events {
        match *event {
            Event::Check(node, cost, true) if all => _ = world.check(node % nodes, &[(0, 0, cost), (1, 0, 1)]),
            Event::Check(node, cost, _) => _ = world.check(node % nodes, &[(0, 0, cost)]),
            Event::Burst(node, count) => (0..count).for_each(|_| _ = world.take(node % nodes, 1)),
            Event::Collect(node, due) => _ = world.collect(node % nodes, due),
            Event::Execute(call) if !world.calls.is_empty() => world.execute(call % world.calls.len()),
            Event::Arrive(call) if !world.calls.is_empty() => _ = world.arrive(call % world.calls.len()),
            Event::Lose(call, loss) if !world.calls.is_empty() => {
                let call = call % world.calls.len();
                let loss = if world.calls[call].is_executed() { CallLoss::Unanswered } else { loss };
                world.lose(call, loss);
            }
            Event::Late(call) if !world.late.is_empty() => world.execute_late(call % world.late.len()),
            Event::Leave(node) if all => _ = world.nodes[node % nodes].waits.pop(),
            Event::Pass(time) => world.now += time,
            _ => {}
        }
    }
}

/// The second limit is one that refuses often.
fn world(nodes: usize, first: LimitShape, mode: LimitMode) -> World {
    World::new(nodes, &[(first, mode), (shape(LimitAlgorithm::TokenBucket, 2, 1), mode)], OnStoreError::Deny)
}

fn token_bucket(limit: u32, millis: u64, burst: u32) -> LimitShape {
    LimitShape::new(LimitAlgorithm::TokenBucket, limit, std::time::Duration::from_millis(millis), Some(burst)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn exact_admits_at_most_one_bucket(
        nodes in 1..5_usize,
        limit in 1..200_u32,
        millis in 1..5000_u64,
        burst in 1..200_u32,
        events in prop::collection::vec(event(), 1..400),
    ) {
        let mut world = world(nodes, token_bucket(limit, millis, burst), LimitMode::Exact);
        run(&mut world, &events, true);
        prop_assert_eq!((world.excess(0, 0), world.excess(1, 0)), (0, 0));
    }

    #[test]
    fn fast_admits_at_most_its_debits_more(
        nodes in 1..5_usize,
        limit in 1..200_u32,
        millis in 1..5000_u64,
        burst in 1..200_u32,
        events in prop::collection::vec(event(), 1..400),
    ) {
        let shape = token_bucket(limit, millis, burst);
        let mut world = world(nodes, shape, LimitMode::Fast);
        run(&mut world, &events, false);
        let most = nodes as u32 * shape.most_debits(nodes as u32);
        prop_assert!(most <= shape.margin(nodes as u32).max(nodes as u32));
        prop_assert!(world.excess(0, 0) <= most.into(), "{} more than {}, of {most}", world.excess(0, 0), burst);
    }

    #[test]
    fn exact_windows_are_those_of_one_node(
        nodes in 1..4_usize,
        limit in 1..150_u32,
        sliding in any::<bool>(),
        events in prop::collection::vec(event(), 1..400),
    ) {
        let algorithm = if sliding { LimitAlgorithm::SlidingWindow } else { LimitAlgorithm::FixedWindow };
        let mut world = world(nodes, shape(algorithm, limit, 2), LimitMode::Exact);
        run(&mut world, &events, true);
        let mut admissions = world.admissions.remove(&(0, 0)).unwrap_or_default();
        admissions.sort_unstable();
        let per = std::time::Duration::from_secs(2);
        let mut log = SlidingWindow::new(limit, per).unwrap();
        let mut quota = FixedWindow::new(limit, per).unwrap();
        for (time, cost) in admissions {
            let admitted = if sliding {
                log.check(Instant::from_nanos(time), cost).admitted
            } else {
                quota.check(std::time::Duration::from_nanos(time), cost).admitted
            };
            prop_assert!(admitted, "{cost} at {time}");
        }
    }
}

#[test]
fn the_models_admit_something() {
    let events: Vec<Event> = (0..200)
        .flat_map(|n| {
            [Event::Check(n, 1, n % 5 == 0), Event::Collect(n, Due::All), Event::Arrive(0), Event::Pass(MILLI)]
        })
        .collect();
    for mode in [LimitMode::Fast, LimitMode::Exact] {
        let mut world = world(3, token_bucket(100, 1000, 50), mode);
        run(&mut world, &events, true);
        let admitted: u32 = world.admissions[&(0, 0)].iter().map(|(_, cost)| cost).sum();
        assert!((60..=72).contains(&admitted), "{admitted} in {} ms", 200);
        assert_eq!(world.excess(0, 0), 0);
        assert!(world.now > SECOND);
    }
}
