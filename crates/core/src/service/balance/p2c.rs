//! The better of two.

use super::kind::Balance;
use super::view::{InstanceView, below};
use crate::service::hashing::mix;
use crate::service::instance::InstanceSlot;

/// Picks the better of two random instances (Mitzenmacher 2001), by load over weight.
#[derive(Debug)]
pub(super) struct P2c;

impl Balance for P2c {
    fn build(_slots: &[InstanceSlot], _weights: &[u32]) -> Self {
        Self
    }

    fn select(&self, view: &InstanceView<'_>) -> Option<usize> {
        let count = view.slots.len();
        let cost = |index| view.instance(index).load(view.now) / view.weight(index);
        let mut dice = view.random;
        let mut first = None;
        for _ in 0..8 {
            let index = below(dice, count);
            dice = mix(dice);
            match first {
                _ if !view.allows(index) => {}
                None => first = Some(index),
                Some(other) if other == index => {}
                Some(other) => return Some(if cost(index) < cost(other) { index } else { other }),
            }
        }
        view.least(below(dice, count), cost)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::service::fixture::{assert_chi_square, at, build, input, plan, spread, threads};
    use crate::service::hashing::mix;
    use crate::service::{AttemptOutcome, ServiceState};

    #[test]
    fn p2c_is_even_among_equals() {
        let service = build(&plan("p2c", &[1, 1, 1, 1]));
        // The first few measure how fast the instances are.
        spread(&service, at(0.0), 16, 1);
        assert_chi_square(&spread(&service, at(0.0), 20_000, 1), &[1; 4]);
    }

    #[test]
    fn p2c_counts_the_exchanges_of_all_workers() {
        for workers in [1, 2, 4] {
            let service = build(&plan("p2c", &[1, 1, 1, 1]));
            spread(&service, at(0.0), 16, 1);
            let hold = |worker: usize| {
                let random = |number| mix((number * 4 + worker) as u64);
                (0..2000 / workers)
                    .map(|number| service.pick(&input(at(0.0), random(number))).unwrap())
                    .collect::<Vec<_>>()
            };
            let held = threads(workers, hold);
            assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 2000);
            assert!(service.instances().all(|instance| instance.in_flight().abs_diff(500) < 20));
        }
    }

    #[test]
    fn p2c_prefers_the_faster() {
        let service = build(&plan("p2c", &[1, 1, 1, 1]));
        let mut counts = [0_u32; 4];
        for number in 0..4000_u32 {
            let now = at(f64::from(number) / 1000.0);
            let picked = service.pick(&input(now, mix(u64::from(number)))).unwrap();
            counts[picked.index] += 1;
            let latency = Duration::from_millis(if picked.index == 2 { 50 } else { 5 });
            picked.finish(now, AttemptOutcome::Status(200), latency);
        }
        assert!(counts[2] < 100, "{counts:?}");
        assert!([0, 1, 3].iter().all(|&other| counts[other] > 900), "{counts:?}");
    }

    #[test]
    fn p2c_is_not_attracted_by_fast_failures() {
        let service = build(&plan("p2c", &[1, 1]));
        let mut failed = 0_u32;
        for number in 0..1000_u32 {
            let now = at(f64::from(number) / 1000.0);
            let picked = service.pick(&input(now, mix(u64::from(number)))).unwrap();
            let bad = picked.index == 1;
            failed += u32::from(bad);
            let (outcome, millis) = if bad { (AttemptOutcome::Reset, 0) } else { (AttemptOutcome::Status(200), 5) };
            picked.finish(now, outcome, Duration::from_millis(millis));
        }
        assert!(failed < 50, "{failed}");
    }

    #[test]
    fn an_unmeasured_instance_gets_one_exchange_until_it_answers() {
        let service = build(&plan("p2c", &[1, 1]));
        for index in [0, 1] {
            let mut picked = service.pick(&input(at(0.0), 1)).unwrap();
            picked.report(at(0.0), AttemptOutcome::Status(200), Duration::from_millis(1));
            assert!(picked.index < 2, "{index}");
        }
        let joined = ServiceState::build(&plan("p2c", &[1, 1, 1]), Some(&service), at(1.0)).unwrap();
        let held: Vec<_> = (0..100).map(|number| joined.pick(&input(at(1.0), mix(number))).unwrap()).collect();
        assert_eq!(held.iter().filter(|picked| picked.index == 2).count(), 1);
    }
}
