//! Executors for hooks that do not run on workers: an asyncio loop and a pool of threads. They are generic over calls.

mod loop_executor;
mod pool;
pub(crate) mod waker;
pub(crate) mod watchdog;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;

use pyo3::Python;

use loop_executor::LoopExecutor;
use pool::Pool;
use watchdog::Watchdog;

/// How long a stop waits for each kind of thread, which must not end while the interpreter shuts down.
const STOP_TIMEOUT: Duration = Duration::from_millis(400);

/// Both executors, and the watchdog of threads that run hooks. `J` is the type of a call.
pub(crate) struct Executors<J> {
    pub(crate) loop_executor: LoopExecutor<J>,
    pub(crate) pool: Arc<Pool<J>>,
    pub(crate) watchdog: Arc<Watchdog>,
}

impl<J: Send + Sync + 'static> Executors<J> {
    /// `run` executes a call on a thread of the pool.
    pub(crate) fn new(run: fn(Python<'_>, &Arc<J>)) -> std::io::Result<Arc<Self>> {
        let stuck = Arc::<AtomicUsize>::default();
        let pool = Pool::new(run, &stuck);
        let relieved: Weak<Pool<J>> = Arc::downgrade(&pool);
        let watchdog = Watchdog::new(&stuck, move || {
            if let Some(pool) = relieved.upgrade() {
                pool.relieve();
            }
        });
        Ok(Arc::new(Self { loop_executor: LoopExecutor::new()?, pool, watchdog }))
    }

    /// Stops all threads, and waits for those whose hooks return soon. Returns false if some are left.
    pub(crate) fn stop(&self) -> bool {
        self.loop_executor.stop();
        let pool = self.pool.stop(STOP_TIMEOUT);
        self.watchdog.stop(STOP_TIMEOUT) && pool
    }
}
