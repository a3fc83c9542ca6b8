//! By a key: the instance that a table has for it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::consistent_hash::{first_in_rank, has_moved, score};
use super::kind::Balance;
use super::view::{InstanceView, below};
use crate::service::hashing::mix;
use crate::service::instance::InstanceSlot;

/// Size of the table, a prime: the small one of the paper. Its memory and the time to fill it do not grow with the
/// service. Up to 655 instances have the same share within one hundredth, 4,096 have 15 to 17 places each.
const SIZE: usize = 65_537;
/// A place of the table that nobody has taken yet.
const FREE: u16 = u16::MAX;
/// Places that are looked up before all instances are compared.
const TRIES: usize = 8;

/// Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4): every instance takes places of a table in an order of its
/// own, in turn, so that all have equally many, and most places stay when an instance joins or leaves. A pick is one
/// look into the table, however many instances there are.
///
/// The table holds all instances of the plan. An instance that cannot be used keeps its places; its keys go to the
/// instances at other places, which the key alone determines, and come back.
#[derive(Debug)]
pub(super) struct Maglev {
    table: Box<[u16]>,
    equal: bool,
}

impl Balance for Maglev {
    fn build(slots: &[InstanceSlot], weights: &[u32]) -> Self {
        let keys: Vec<u64> = slots.iter().map(|slot| slot.instance.key).collect();
        Self { table: fill(&keys, weights), equal: weights.windows(2).all(|pair| pair[0] == pair[1]) }
    }

    fn select(&self, view: &InstanceView<'_>) -> Option<usize> {
        let Some(hash) = view.hash else { return view.at_random(&self.table) };
        let mut place = hash;
        for _ in 0..TRIES {
            let index = usize::from(self.table[below(place, SIZE)]);
            if view.allows(index) && has_moved(view, index, score(view, index, hash)) {
                return Some(index);
            }
            place = mix(place);
        }
        first_in_rank(view, hash, self.equal)
    }
}

/// An instance while the table is filled.
#[derive(PartialEq, Eq)]
struct Taker {
    /// Places that it has.
    taken: u64,
    weight: u64,
    /// Decides among those that have equally much for their weight; the same wherever an instance is listed.
    key: u64,
    index: u16,
    /// The next place that it wants.
    next: usize,
    /// From one place that it wants to the next.
    skip: usize,
}

impl Ord for Taker {
    /// The greatest has the least for its weight.
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (self.taken * other.weight, other.taken * self.weight);
        others.cmp(&own).then_with(|| other.key.cmp(&self.key)).then_with(|| other.index.cmp(&self.index))
    }
}

impl PartialOrd for Taker {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Fills the table for instances with these keys. An instance with more weight takes more turns; each takes at least
/// one place.
fn fill(keys: &[u64], weights: &[u32]) -> Box<[u16]> {
    let taker = |(index, (&key, &weight)): (usize, (&u64, &u32))| {
        let (start, step) = (mix(key), mix(!key));
        let (next, skip) = (below(start, SIZE), 1 + below(step, SIZE - 1));
        Taker { taken: 0, weight: weight.into(), key, index: index as u16, next, skip }
    };
    let mut takers: BinaryHeap<Taker> = keys.iter().zip(weights).enumerate().map(taker).collect();
    let mut table = vec![FREE; SIZE].into_boxed_slice();
    for _ in 0..SIZE {
        let Some(mut taker) = takers.peek_mut() else { break };
        // The size is a prime, so that the steps reach every place.
        while table[taker.next] != FREE {
            taker.next = (taker.next + taker.skip) % SIZE;
        }
        table[taker.next] = taker.index;
        taker.taken += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::plan;
    use crate::service::fixture::{assert_chi_square, at, build, checked, input, key, place, plan, seconds, spread};
    use crate::service::hashing::hash;
    use crate::service::{MAX_INSTANCES, PickInput, ServiceState};

    /// A count as a number with a fraction; all are small.
    fn real(count: usize) -> f64 {
        f64::from(u32::try_from(count).unwrap())
    }

    fn keys(count: usize) -> Vec<u64> {
        (0..count).map(|number| hash(format!("i{number}").as_bytes())).collect()
    }

    fn counts(table: &[u16], instances: usize) -> Vec<usize> {
        let mut counts = vec![0; instances];
        for &index in table {
            counts[usize::from(index)] += 1;
        }
        counts
    }

    /// The paper's pseudocode, with turns by weight: who has the least for its weight takes the next place it wants.
    fn model(keys: &[u64], weights: &[u32]) -> Vec<u16> {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|&index| keys[index]);
        let permutation = |index: usize| {
            let (offset, skip) = (below(mix(keys[index]), SIZE), 1 + below(mix(!keys[index]), SIZE - 1));
            (0..SIZE).map(move |turn| (offset + turn * skip) % SIZE)
        };
        let mut permutations: Vec<_> = (0..keys.len()).map(permutation).collect();
        let mut taken = vec![0_u64; keys.len()];
        let mut entry = vec![u16::MAX; SIZE];
        for _ in 0..SIZE {
            let mut best = order[0];
            for &other in &order {
                if taken[other] * u64::from(weights[best]) < taken[best] * u64::from(weights[other]) {
                    best = other;
                }
            }
            let place = permutations[best].find(|&place| entry[place] == u16::MAX).unwrap();
            entry[place] = best as u16;
            taken[best] += 1;
        }
        entry
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// The table is the paper's, complete, in proportion to the weights, and the same however instances are listed.
        #[test]
        fn the_table_is_that_of_the_paper(weights in prop::collection::vec(1_u32..100, 1..20), turn in 0_usize..20) {
            let mut keys = keys(weights.len());
            let table = fill(&keys, &weights);
            prop_assert_eq!(&*table, &*model(&keys, &weights));
            let sum = f64::from(weights.iter().sum::<u32>());
            for (count, &weight) in counts(&table, weights.len()).into_iter().zip(&weights) {
                let wanted = real(SIZE) * f64::from(weight) / sum;
                prop_assert!((real(count) - wanted).abs() <= wanted / 100.0 + 1.0, "{} of {}", count, wanted);
            }
            let count = keys.len();
            let mut turned = weights.clone();
            keys.rotate_left(turn % count);
            turned.rotate_left(turn % count);
            let other = fill(&keys, &turned);
            let same = |(&here, &there): (&u16, &u16)| (usize::from(there) + turn) % count == usize::from(here);
            prop_assert!(table.iter().zip(&other).all(same));
        }
    }

    #[test]
    fn shares_are_equal_as_far_as_the_table_goes() {
        for count in [1, 2, 3, 10, 100, 655, MAX_INSTANCES] {
            let counts = counts(&fill(&keys(count), &vec![1; count]), count);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{least} to {most} of {count}");
        }
        assert!(fill(&[], &[]).iter().all(|&index| index == FREE));
    }

    #[test]
    fn the_lightest_of_many_has_a_place() {
        let count = MAX_INSTANCES;
        let mut weights = vec![1; count];
        weights[0] = u32::MAX;
        let counts = counts(&fill(&keys(count), &weights), count);
        assert!(counts[0] > SIZE - count - 1 && counts.iter().all(|&count| count > 0));
    }

    #[test]
    fn few_places_move_needlessly_when_an_instance_joins_or_leaves() {
        for count in [2_usize, 3, 5, 10, 30, 100, 400] {
            for weights in [vec![1; count + 1], (1..=count as u32 + 1).collect()] {
                let keys = keys(count + 1);
                let (many, few) = (fill(&keys, &weights), fill(&keys[..count], &weights[..count]));
                let stays = |&(&before, &after): &(&u16, &u16)| usize::from(before) < count && before != after;
                let needless = many.iter().zip(&few).filter(stays).count();
                assert!(needless * 100 <= SIZE * 4, "{needless} of {count}");
            }
        }
    }

    #[test]
    fn keys_follow_weights() {
        for weights in [[1, 1, 1, 1, 1], [1, 2, 3, 4, 5]] {
            for workers in [1, 2, 4] {
                let service = build(&plan("maglev", &weights));
                assert_chi_square(&spread(&service, at(0.0), 40_000, workers), &weights);
            }
        }
        let service = build(&plan("maglev", &[1, 2]));
        let mut counts = [0; 2];
        for number in 0..10_000 {
            counts[service.pick(&input(at(0.0), mix(number))).unwrap().index] += 1;
        }
        assert_chi_square(&counts, &[1, 2]);
    }

    #[test]
    fn keys_of_a_lost_instance_go_to_all_others_and_come_back_and_no_others_move() {
        for weights in [vec![1; 4], vec![4, 3, 2, 1], vec![1; 30]] {
            let service = build(&checked("maglev", &weights));
            let places = || (0..9000).map(|number| place(&service, at(0.0), key(number))).collect::<Vec<_>>();
            let before = places();
            service.active_result(2, at(0.0), false, "refused");
            let during = places();
            let stayed = |(&before, &during): (&usize, &usize)| during != 2 && (before == 2 || before == during);
            assert!(before.iter().zip(&during).all(stayed));
            let heirs: Vec<u64> = (0..weights.len())
                .map(|heir| before.iter().zip(&during).filter(|&(&from, &to)| from == 2 && to == heir).count() as u64)
                .collect();
            let rest = |all: &[u32]| [&all[..2], &all[3..]].concat();
            assert_chi_square(&[&heirs[..2], &heirs[3..]].concat(), &rest(&weights));
            service.active_result(2, at(0.0), true, "200");
            assert_eq!(places(), before);
        }
    }

    #[test]
    fn a_key_stays_where_it_is_while_most_instances_are_lost() {
        let service = build(&checked("maglev", &[1; 40]));
        (2..40).for_each(|index| drop(service.active_result(index, at(0.0), false, "refused")));
        let places = || (0..1000).map(|number| place(&service, at(0.0), key(number))).collect::<Vec<_>>();
        let first = places();
        assert_eq!(first, places());
        let spread = first.iter().filter(|&&index| index == 0).count() as u64;
        assert_chi_square(&[spread, 1000 - spread], &[1, 1]);
    }

    #[test]
    fn keys_move_once_while_an_instance_ramps_up() {
        let slow = |weights: &[u32]| plan::ServicePlan { slow_start: Some(seconds(10.0)), ..plan("maglev", weights) };
        let first = build(&slow(&[1, 1]));
        let service = ServiceState::build(&slow(&[1, 1, 1]), Some(&first), at(0.0)).unwrap();
        let mut moved = HashSet::new();
        for (time, part) in [(0.0, 0.1), (2.5, 0.25), (5.0, 0.5), (7.5, 0.75), (10.0, 1.0)] {
            let now: HashSet<u64> = (0..9000).filter(|&number| place(&service, at(time), key(number)) == 2).collect();
            assert!(moved.is_subset(&now));
            assert!((real(now.len()) / 3000.0 - part).abs() < 0.05, "{} at {part}", now.len());
            moved = now;
        }
    }

    #[test]
    fn every_node_agrees_whatever_the_order_in_the_plan() {
        let straight = plan("maglev", &[1, 2, 3]);
        let mut turned = straight.clone();
        turned.instances.reverse();
        let (first, second) = (build(&straight), build(&turned));
        for number in 0..1000 {
            let input = |random| PickInput { hash: Some(key(number)), ..input(at(0.0), random) };
            let (here, there) = (first.pick(&input(1)).unwrap().index, second.pick(&input(2)).unwrap().index);
            assert_eq!(here, 2 - there);
        }
    }
}
