//! Executors for hooks that do not run on workers: an asyncio loop and a pool of threads. They are generic over calls.

mod loop_executor;
mod pool;
pub(crate) mod waker;
pub(crate) mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use pyo3::Python;

use loop_executor::LoopExecutor;
use pool::Pool;
use watchdog::Watchdog;

/// How long a stop waits for threads, which must not end while the interpreter shuts down.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Both executors, and the watchdog of threads that run hooks. `J` is the type of a call.
pub(crate) struct Executors<J> {
    pub(crate) loop_executor: LoopExecutor<J>,
    pub(crate) pool: Arc<Pool<J>>,
    pub(crate) watchdog: Arc<Watchdog>,
}

impl<J: Send + Sync + 'static> Executors<J> {
    /// `run` executes a call on a thread of the pool.
    pub(crate) fn new(run: fn(Python<'_>, &Arc<J>)) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { loop_executor: LoopExecutor::new()?, pool: Pool::new(run), watchdog: Arc::default() }))
    }

    /// Stops all threads, and waits for those whose hooks return soon.
    pub(crate) fn stop(&self) {
        self.loop_executor.stop();
        self.pool.stop(STOP_TIMEOUT);
        self.watchdog.stop(STOP_TIMEOUT);
    }
}
