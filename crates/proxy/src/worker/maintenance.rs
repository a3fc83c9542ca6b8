//! What is switched to maintenance now, for all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pylae_core::Rejection;
use pylae_core::maintenance::Maintenance;

/// The switches in force. While nothing is switched, an exchange costs one read of a value that never changes.
#[derive(Debug, Default)]
#[repr(align(128))] // apart from what workers write
pub(crate) struct MaintenanceSwitches {
    any: AtomicBool,
    in_force: Mutex<Arc<Maintenance>>,
}

impl MaintenanceSwitches {
    /// Replaces them all, for exchanges that reach their route from now on.
    pub(crate) fn set(&self, maintenance: Maintenance) {
        let mut in_force = self.in_force.lock();
        self.any.store(!maintenance.is_empty(), Ordering::Release);
        *in_force = Arc::new(maintenance);
    }

    /// The switches, or None if nothing is switched.
    #[inline]
    pub(crate) fn in_force(&self) -> Option<Arc<Maintenance>> {
        if self.any.load(Ordering::Acquire) { Some(Arc::clone(&self.in_force.lock())) } else { None }
    }

    /// The answer to a request of this route to the service that is called, if either is switched.
    #[inline]
    pub(crate) fn rejection<'s>(
        &self,
        route: Option<&str>,
        service: impl FnOnce() -> Option<&'s str>,
    ) -> Option<Box<Rejection>> {
        self.in_force()?.rejection(route, service()).map(Box::new)
    }
}
