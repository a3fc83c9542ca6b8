//! At random.

use super::kind::Balance;
use super::turns::Turns;
use super::view::InstanceView;
use crate::service::instance::InstanceSlot;

/// Picks any instance, by weight.
#[derive(Debug)]
pub(super) struct Random(Turns);

impl Balance for Random {
    fn build(_slots: &[InstanceSlot], weights: &[u32]) -> Self {
        Self(Turns::build(weights))
    }

    fn select(&self, view: &InstanceView<'_>) -> Option<usize> {
        view.at_random(&self.0.positions)
    }
}

#[cfg(test)]
mod tests {
    use crate::service::fixture::{assert_chi_square, at, build, plan, spread};

    #[test]
    fn random_follows_weights() {
        for workers in [1, 2, 4] {
            let service = build(&plan("random", &[3, 2, 2, 1]));
            assert_chi_square(&spread(&service, at(0.0), 40_000, workers), &[3, 2, 2, 1]);
        }
    }
}
