//! A service at run time: its instances, and every decision about which instance an exchange goes to, whether it is
//! admitted, and what its outcome means. Shared by all workers; nothing here waits, reads a clock or opens a socket.

mod admission;
mod affinity;
mod balance;
pub mod breaker;
mod build;
mod explain;
mod hashing;
mod health;
mod instance;
mod outcome;
mod pick;
pub mod retry;
pub mod sticky;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::clock::Instant as Now;
use crate::exchange::Exchange;
use crate::plan::{self, BreakerScope};
use admission::gate::Gate;
use affinity::Affinity;
use balance::Balancer;
use breaker::{Breaker, BreakerRules};
use instance::InstanceSlot;
use retry::budget::RetryAllowance;

pub use admission::{Admission, AdmissionPermit, QueueTicket};
pub use affinity::AffinityKey;
pub use balance::{BALANCERS, BalancerRole, BalancerRow, Tried};
pub use explain::{BreakerStats, Candidate, InstanceStats, PickExplanation, ServiceStats};
pub use hashing::hash;
pub use health::{Change, Changes, Event};
pub use instance::Instance;
pub use outcome::AttemptOutcome;
pub use pick::{PickInput, Picked, SuspendedPick, Unavailable};

/// Largest number of instances of one service.
pub const MAX_INSTANCES: usize = 4096;

/// An active service. Each plan builds a new one; state that must survive a reload is shared with its predecessor.
#[derive(Debug)]
pub struct ServiceState {
    name: Box<str>,
    slots: Box<[InstanceSlot]>,
    balancer: Balancer,
    /// Instance flags that this plan respects.
    mask: u32,
    ramp: Option<Duration>,
    rules: Option<BreakerRules>,
    health_check: Option<plan::HealthCheck>,
    passive: Option<plan::PassiveHealth>,
    panic_threshold: Option<f64>,
    budget: plan::RetryBudget,
    sticky: bool,
    affinity: Affinity,
    max_in_flight: Option<u32>,
    queue: u32,
    shared: Arc<ServiceShared>,
}

/// State that a service keeps over a reload, besides its instances.
#[derive(Debug)]
struct ServiceShared {
    cursor: AtomicU64,
    breaker: Breaker,
    budget: RetryAllowance,
    gate: Gate,
    /// Held while the health of an instance changes, so that the limit on ejections holds.
    changing: parking_lot::Mutex<()>,
}

impl ServiceShared {
    fn new(now: Now) -> Self {
        Self {
            cursor: AtomicU64::new(0),
            breaker: Breaker::default(),
            budget: RetryAllowance::new(now),
            gate: Gate::default(),
            changing: parking_lot::Mutex::new(()),
        }
    }
}

impl ServiceState {
    /// Name of the service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Instances by position.
    pub fn instances(&self) -> impl ExactSizeIterator<Item = &Arc<Instance>> {
        self.slots.iter().map(|slot| &slot.instance)
    }

    /// Breaker rules of the service and of its instances; at most one of the two is set.
    fn rules(&self) -> (Option<&BreakerRules>, Option<&BreakerRules>) {
        match &self.rules {
            Some(rules) if rules.scope == BreakerScope::Service => (Some(rules), None),
            Some(rules) => (None, Some(rules)),
            None => (None, None),
        }
    }

    fn breaker(&self, index: usize) -> &Breaker {
        if self.rules().1.is_some() { &self.slots[index].instance.breaker } else { &self.shared.breaker }
    }

    /// Returns what the request in `exchange` says about the instance to pick.
    #[inline]
    pub fn affinity_key(&self, exchange: &Exchange) -> AffinityKey {
        self.affinity.affinity_key(exchange)
    }

    /// Appends the value of a Set-Cookie that binds the client to the instance with `id`, which is [`Picked::sticky`].
    /// Scripts and other sites cannot read it; `secure` keeps it off unencrypted connections.
    pub fn write_cookie(&self, id: u64, secure: bool, out: &mut Vec<u8>) {
        self.affinity.write_cookie(id, secure, out);
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
