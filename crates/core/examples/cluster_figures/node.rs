//! A node of the simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pylae_core::clock::Instant;
use pylae_core::limit::shared::Due;
use pylae_core::limit::{Clocks, Limit, SharedCounterStore};

use crate::setup::{SECOND, Setup};

/// A node: the product's code, with a network and clocks of its own.
pub(crate) struct SimulatedNode {
    pub(crate) store: SharedCounterStore,
    pub(crate) limit: Limit,
    pub(crate) hurry: Arc<AtomicBool>,
    pub(crate) rate: f64,
    pub(crate) alive: bool,
    pub(crate) cut_off: bool,
    pub(crate) available: bool,
    pub(crate) losses: u32,
    /// Its monotonic clock: so much ahead, and so much faster.
    pub(crate) ahead: u64,
    pub(crate) drift: f64,
    /// Its wall clock.
    pub(crate) skew: i64,
}

impl SimulatedNode {
    /// Its clocks at a time of the simulation.
    pub(crate) fn clocks(&self, now: u64) -> Clocks {
        let monotonic = self.ahead + (now as f64 * self.drift) as u64;
        let wall = (now + 1_700_000_000 * SECOND).saturating_add_signed(self.skew);
        Clocks { now: Instant::from_nanos(monotonic), wall: Duration::from_nanos(wall) }
    }
}

/// Creates a node with so many requests a second.
pub(crate) fn node(setup: &Setup, rate: f64, random: &mut fastrand::Rng) -> SimulatedNode {
    let hurry = Arc::new(AtomicBool::new(false));
    let wake = Arc::clone(&hurry);
    let store =
        SharedCounterStore::new(1_000_000, Duration::from_nanos(setup.flush), setup.on_store_error, move |due| {
            wake.fetch_or(due == Due::Urgent, Ordering::Relaxed);
        });
    store.set_nodes(setup.nodes());
    let limit = store.register_with("limit", setup.shape, setup.mode, setup.on_store_error);
    SimulatedNode {
        store,
        limit,
        hurry,
        rate,
        alive: true,
        cut_off: false,
        available: true,
        losses: 0,
        ahead: random.u64(SECOND..1_000_000 * SECOND),
        drift: 1.0 + (random.f64() - 0.5) * 2e-4,
        skew: random.i64(-5..=5) * SECOND as i64,
    }
}
