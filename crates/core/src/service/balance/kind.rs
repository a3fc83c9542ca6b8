//! What a balancer is.

use super::view::InstanceView;
use crate::service::instance::InstanceSlot;

/// A way to choose among the usable instances of a service. It is built anew whenever the instances change.
pub(super) trait Balance: Sized {
    /// Computes what can be computed once. `weights` has the weight of each instance, at least 1.
    fn build(slots: &[InstanceSlot], weights: &[u32]) -> Self;

    /// Returns the position of the instance to use, or None if none can be used. The service has at least one instance.
    fn select(&self, view: &InstanceView<'_>) -> Option<usize>;
}
