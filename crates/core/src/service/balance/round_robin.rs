//! In turn.

use super::kind::Balance;
use super::turns::Turns;
use super::view::InstanceView;
use crate::service::hashing::mix;
use crate::service::instance::InstanceSlot;

/// Picks the instances in turn, by weight.
#[derive(Debug)]
pub(super) struct RoundRobin(Turns);

impl Balance for RoundRobin {
    fn build(_slots: &[InstanceSlot], weights: &[u32]) -> Self {
        Self(Turns::build(weights))
    }

    /// A turn of an unusable instance is skipped, so that the others keep their proportions instead of the next in line
    /// getting a double share.
    #[inline]
    fn select(&self, view: &InstanceView<'_>) -> Option<usize> {
        let mut dice = view.random;
        for _ in 0..2 * view.slots.len() + 16 {
            let index = self.0.take(view.cursor);
            if view.accepts(index, dice) {
                return Some(index);
            }
            dice = mix(dice);
        }
        view.any_usable()
    }
}

#[cfg(test)]
mod tests {
    use crate::plan;
    use crate::service::fixture::{at, build, checked, input, plan, seconds, spread};
    use crate::service::hashing::mix;

    #[test]
    fn copies_take_no_turns() {
        let service = build(&plan("round_robin", &[1, 1]));
        let mut counts = [[0; 2]; 2];
        for number in 0..2000 {
            let request = service.pick(&input(at(0.0), mix(number))).unwrap();
            let copy = service.pick_for_mirror(&input(at(0.0), mix(number ^ 0x5555))).unwrap();
            counts[0][request.index] += 1;
            counts[1][copy.index] += 1;
        }
        assert_eq!(counts[0], [1000, 1000]);
        assert!(counts[1].iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn round_robin_is_exact_over_workers() {
        for workers in [1, 2, 4] {
            let service = build(&plan("round_robin", &[1, 5, 1]));
            assert_eq!(spread(&service, at(0.0), 12_000, workers), [4000, 4000, 4000], "weights are ignored");
        }
    }

    #[test]
    fn weighted_round_robin_is_exact_over_workers() {
        for workers in [1, 2, 4] {
            let service = build(&plan("weighted_round_robin", &[5, 2, 1]));
            assert_eq!(spread(&service, at(0.0), 16_000, workers), [10_000, 4000, 2000]);
        }
    }

    #[test]
    fn weighted_round_robin_is_within_one_percent_at_any_time() {
        let weights = [17, 13, 5, 2];
        let service = build(&plan("weighted_round_robin", &weights));
        for picks in [5003, 7001, 9999] {
            for (count, weight) in spread(&service, at(0.0), picks, 1).into_iter().zip(weights.map(u64::from)) {
                assert!((count * 37).abs_diff(picks * weight) <= picks * weight / 100 + 37);
            }
        }
    }

    #[test]
    fn turns_of_a_lost_instance_go_to_all_others() {
        for workers in [1, 2, 4] {
            let service = build(&checked("round_robin", &[1, 1, 1, 1]));
            service.active_result(1, at(0.0), false, "refused");
            let counts = spread(&service, at(0.0), 12_000, workers);
            assert_eq!(counts, [4000, 0, 4000, 4000]);
            service.active_result(1, at(0.0), true, "200");
            assert_eq!(spread(&service, at(0.0), 12_000, workers), [3000; 4]);
        }
    }

    #[test]
    fn nothing_ramps_when_the_service_starts() {
        let plan = plan::ServicePlan { slow_start: Some(seconds(10.0)), ..plan("round_robin", &[1, 1]) };
        assert_eq!(spread(&build(&plan), at(0.0), 1000, 1), [500, 500]);
    }
}
