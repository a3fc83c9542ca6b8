//! By a key: the instance that ranks first for it.

use super::kind::Balance;
use super::turns::Turns;
use super::view::{InstanceView, unit};
use crate::service::hashing::mix;
use crate::service::instance::InstanceSlot;

/// Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights after Schindelhauer and Schomaker 2005): every key
/// ranks all instances, so an instance that drops out gives away only its own keys, spread over all others.
#[derive(Debug)]
pub(super) struct ConsistentHash {
    /// For requests without the key.
    turns: Turns,
    equal: bool,
}

impl Balance for ConsistentHash {
    fn build(_slots: &[InstanceSlot], weights: &[u32]) -> Self {
        Self { turns: Turns::build(weights), equal: weights.windows(2).all(|pair| pair[0] == pair[1]) }
    }

    fn select(&self, view: &InstanceView<'_>) -> Option<usize> {
        match view.hash {
            Some(hash) => first_in_rank(view, hash, self.equal),
            None => view.at_random(&self.turns.positions),
        }
    }
}

/// Returns the usable instance that ranks first for the key with this hash. `equal` says that all weights are.
pub(super) fn first_in_rank(view: &InstanceView<'_>, hash: u64, equal: bool) -> Option<usize> {
    let (mut best, mut warming) = (None, None);
    for index in 0..view.slots.len() {
        if !view.allows(index) {
            continue;
        }
        let score = score(view, index, hash);
        // A score is uniform over its range; dividing the logarithm by the weight makes the chance to win
        // proportional to the weight.
        let rank = if equal { unit(score) } else { f64::from(view.slots[index].weight) / -unit(score).ln() };
        let place = if has_moved(view, index, score) { &mut best } else { &mut warming };
        if place.is_none_or(|(_, most)| rank > most) {
            *place = Some((index, rank));
        }
    }
    best.or(warming).map(|(index, _)| index)
}

/// Returns how well the instance fits the key with this hash.
#[inline]
pub(super) fn score(view: &InstanceView<'_>, index: usize, hash: u64) -> u64 {
    mix(hash ^ view.instance(index).key)
}

/// Returns true unless the instance ramps up and the key with this score has not moved over yet: a growing part of its
/// keys does, each of them once.
#[inline]
pub(super) fn has_moved(view: &InstanceView<'_>, index: usize, score: u64) -> bool {
    view.ramp.is_none() || view.is_ready(index, mix(score))
}

#[cfg(test)]
mod tests {
    use crate::service::fixture::{assert_chi_square, at, build, checked, input, key, moved, place, plan, spread};
    use crate::service::hashing::mix;

    #[test]
    fn hashes_follow_weights() {
        for balancer in ["ip_hash", "consistent_hash"] {
            for weights in [[1, 1, 1, 1, 1], [1, 2, 3, 4, 5]] {
                for workers in [1, 2, 4] {
                    let service = build(&plan(balancer, &weights));
                    assert_chi_square(&spread(&service, at(0.0), 40_000, workers), &weights);
                }
            }
        }
    }

    #[test]
    fn a_hash_balancer_without_a_key_spreads_at_random() {
        let service = build(&plan("consistent_hash", &[1, 2]));
        let mut counts = [0; 2];
        for number in 0..10_000 {
            counts[service.pick(&input(at(0.0), mix(number))).unwrap().index] += 1;
        }
        assert_chi_square(&counts, &[1, 2]);
    }

    #[test]
    fn few_keys_move_when_an_instance_joins_or_leaves() {
        for balancer in ["ip_hash", "consistent_hash"] {
            for count in [1_u32, 2, 3, 5, 10, 30] {
                let (few, many) = (vec![1; count as usize], vec![1; count as usize + 1]);
                for (before, after) in [(&few, &many), (&many, &few)] {
                    let (share, needless) = moved(balancer, before, after);
                    assert!(share <= 1.0 / f64::from(count + 1) + 0.05, "{share} of {count}");
                    assert!(!needless);
                }
            }
            let (share, needless) = moved(balancer, &[2, 3, 1], &[2, 3, 1, 2]);
            assert!(share <= 0.25 + 0.05 && !needless, "{share}");
        }
    }

    #[test]
    fn keys_of_a_lost_instance_move_and_come_back_and_no_others() {
        for weights in [[1, 1, 1, 1], [4, 3, 2, 1]] {
            let service = build(&checked("ip_hash", &weights));
            let places = || (0..5000).map(|number| place(&service, at(0.0), key(number))).collect::<Vec<_>>();
            let before = places();
            service.active_result(2, at(0.0), false, "refused");
            let during = places();
            assert!(
                before.iter().zip(&during).all(|(&before, &during)| during != 2 && (before == 2 || before == during))
            );
            let heirs =
                |heir| before.iter().zip(&during).filter(|&(&from, &to)| from == 2 && to == heir).count() as u64;
            let rest: Vec<_> = [0, 1, 3].into_iter().map(|heir| weights[heir]).collect();
            assert_chi_square(&[heirs(0), heirs(1), heirs(3)], &rest);
            service.active_result(2, at(0.0), true, "200");
            assert_eq!(places(), before);
        }
    }

    #[test]
    fn order_in_the_plan_does_not_matter_to_keys() {
        let straight = plan("ip_hash", &[1, 1, 1]);
        let mut turned = straight.clone();
        turned.instances.reverse();
        let (first, second) = (build(&straight), build(&turned));
        assert!(
            (0..1000).all(|number| place(&first, at(0.0), key(number)) == 2 - place(&second, at(0.0), key(number)))
        );
    }
}
