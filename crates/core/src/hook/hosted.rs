//! What hooks in a host have in the place of the gateway.

use std::sync::Arc;

use parking_lot::Mutex;

/// What stands for the gateway in a hook host.
#[derive(Clone, Debug, Default)]
pub struct HostedVisit {
    /// Name of the service that the split of the route has chosen.
    pub member: Option<Box<str>>,
    /// The true costs that hooks have told. A body that passes has a copy of the exchange, and the same costs.
    told: Arc<Mutex<Vec<ToldCost>>>,
}

/// A true cost that a hook has told: the index of a limit, or None for all, and the cost.
pub type ToldCost = (Option<usize>, u32);

impl HostedVisit {
    /// For a request for which the split of the route has chosen this service, if it has one.
    pub fn new(member: Option<Box<str>>) -> Self {
        Self { member, ..Self::default() }
    }

    /// Notes a true cost, in the place of what was told of the same limit.
    pub fn tell(&self, limit: Option<usize>, cost: u32) {
        let mut told = self.told.lock();
        told.retain(|(known, _)| *known != limit);
        told.push((limit, cost));
    }

    /// Takes what was told since the last time.
    pub fn take_told(&self) -> Vec<ToldCost> {
        std::mem::take(&mut *self.told.lock())
    }
}
