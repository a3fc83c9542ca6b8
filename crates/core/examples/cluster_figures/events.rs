//! What happens in a simulation, in the order of time.

use std::cmp::Reverse;

use pylae_core::limit::LedgerAnswer;

use crate::setup::Fault;
use crate::store::Order;

/// Something that happens.
pub(crate) enum Event {
    Request(usize),
    Flush(usize),
    Urgent(usize),
    AtStore(u64, usize, Vec<Order>),
    Back(u64, Vec<(LedgerAnswer, u64)>),
    Timeout(u64),
    Fault(Fault),
    Heal(usize),
    Probe(usize),
    /// From here on it is measured.
    Measure,
}

/// An event in the queue; events of the same time come in the order in which they were made.
pub(crate) struct Timed<T>(pub(crate) Reverse<(u64, u64)>, pub(crate) T);

impl<T> PartialEq for Timed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Timed<T> {}

impl<T> PartialOrd for Timed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Timed<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
