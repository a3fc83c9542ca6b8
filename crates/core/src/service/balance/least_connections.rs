//! The fewest exchanges in flight.

use super::kind::Balance;
use super::turns::Turns;
use super::view::InstanceView;
use crate::service::instance::InstanceSlot;

/// Picks the instance with the fewest exchanges in flight for its weight; among equals, they take turns.
#[derive(Debug)]
pub(super) struct LeastConnections(Turns);

impl Balance for LeastConnections {
    fn build(_slots: &[InstanceSlot], weights: &[u32]) -> Self {
        Self(Turns::build(weights))
    }

    fn select(&self, view: &InstanceView<'_>) -> Option<usize> {
        #[allow(clippy::cast_precision_loss)]
        let cost = |index| view.instance(index).in_flight() as f64 / view.weight(index);
        view.least(self.0.take(view.cursor), cost)
    }
}

#[cfg(test)]
mod tests {
    use crate::service::fixture::{at, build, input, plan, spread, threads};

    #[test]
    fn least_connections_counts_the_exchanges_of_all_workers() {
        for workers in [1, 2, 4] {
            let service = build(&plan("least_connections", &[1, 2, 3]));
            let hold = |_| (0..240 / workers).map(|_| service.pick(&input(at(0.0), 0)).unwrap()).collect::<Vec<_>>();
            let held = threads(workers, hold);
            for (instance, wanted) in service.instances().zip([40_u64, 80, 120]) {
                // Two workers at the same time may both pick the same one.
                assert!(instance.in_flight().abs_diff(wanted) <= 2 * (workers as u64 - 1), "{}", instance.in_flight());
            }
            drop(held);
            assert!(service.instances().all(|instance| instance.in_flight() == 0));
        }
    }

    #[test]
    fn least_connections_is_by_weight_when_idle() {
        let service = build(&plan("least_connections", &[3, 1]));
        assert_eq!(spread(&service, at(0.0), 4000, 1), [3000, 1000]);
    }
}
