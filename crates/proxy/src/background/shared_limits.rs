//! Limits that a process shares with others through a store, without being a gateway.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::Problem;
use pylae_core::limit::{Clocks, CounterStore};
use pylae_core::plan::ClusterPlan;

use crate::background::counters::ClusterCounters;
use crate::background::store::StoreThread;
use crate::io::clock;
use crate::store::Store;
use crate::telemetry::log::{Log, Record};
use crate::telemetry::panics;

/// What a wait may take beyond the time-outs of its calls, on a machine that is busy.
const GRACE: Duration = Duration::from_secs(1);

/// Counters in a store, and the thread that drives it.
///
/// **Fork.** A child process has no such thread, and another thread may have held any lock when it was forked. So it
/// must not use what it has inherited, see [`is_inherited`](Self::is_inherited). Dropping it there does nothing.
pub struct SharedLimits {
    store: Arc<Store>,
    counters: Arc<ClusterCounters>,
    shared: Arc<dyn CounterStore>,
    thread: Mutex<Option<StoreThread>>,
    process: u32,
}

impl std::fmt::Debug for SharedLimits {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("SharedLimits").field("store", &self.store).finish_non_exhaustive()
    }
}

impl SharedLimits {
    /// Starts the thread, with counters of at most `max_keys` keys. Waits until the store is connected or cannot be for
    /// now, a second at most.
    pub fn start(plan: &ClusterPlan, max_keys: usize) -> Result<Self, Vec<Problem>> {
        let log = Arc::<Log>::default();
        panics::install(&log);
        // A forked process goes on with the random numbers of its parent, and must not be the same node.
        let (process, now) = (std::process::id(), clock::wall().subsec_nanos());
        fastrand::seed(fastrand::u64(..) ^ (u64::from(process) << 32) ^ u64::from(now));
        let store = Store::new(plan, &log)?;
        let counters = ClusterCounters::new(&store, max_keys);
        let thread = StoreThread::start(Arc::clone(&store), Arc::clone(&counters), None)
            .map_err(|error| vec![Problem::at("", format!("the thread of the store cannot be started: {error}"))])?;
        let shared = counters.counters();
        Ok(Self { store, counters, shared, thread: Mutex::new(Some(thread)), process })
    }

    /// Reports the problems of `plan` that can be seen without its servers.
    pub fn check(plan: &ClusterPlan) -> Result<(), Vec<Problem>> {
        Store::check(plan)
    }

    /// The counters.
    pub fn counters(&self) -> &dyn CounterStore {
        &*self.shared
    }

    /// The clocks by which this process counts what the store does not know yet.
    pub fn clocks(&self) -> Clocks {
        Clocks { now: clock::now(), wall: clock::wall() }
    }

    /// How long a charge may wait: for a call that is on its way, and for its own.
    pub fn patience(&self) -> Duration {
        2 * self.store.timeout() + GRACE
    }

    /// Returns true while the store answers.
    pub fn is_available(&self) -> bool {
        self.store.is_available()
    }

    /// Why the store is not available, or None if it is.
    pub fn problem(&self) -> Option<String> {
        self.store.stats().problem
    }

    /// Number of keys with a view, including idle ones.
    pub fn keys(&self) -> usize {
        self.counters.size().0
    }

    /// Number of live processes that share the limits, this one included.
    pub fn nodes(&self) -> usize {
        self.store.nodes()
    }

    /// Returns true in a child process that was forked after the start.
    pub fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }

    /// Waits up to `patience` for records of the log, and takes them. Returns None once it is closed and empty.
    pub fn read_log(&self, patience: Duration) -> Option<Vec<Record>> {
        self.store.log().wait(patience);
        self.store.log().take()
    }

    /// Tells the store the rest, and ends the thread. Charges must not wait any more.
    pub fn close(&self) {
        if !self.is_inherited() {
            drop(self.thread.lock().take());
            self.store.log().close();
        }
    }
}

impl Drop for SharedLimits {
    fn drop(&mut self) {
        if self.is_inherited() {
            // Whatever has to be locked or joined for their end may never be.
            mem::forget((Arc::clone(&self.store), Arc::clone(&self.counters), self.thread.get_mut().take()));
            return;
        }
        self.close();
    }
}
