//! Where hooks run that do not run on workers: an asyncio loop, and a pool of threads. What a call is they do not know.

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

/// How long a stop waits for threads. They must not end while the interpreter does.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Both, and what looks after threads that run hooks. `J` is a call.
pub(crate) struct Executors<J> {
    pub(crate) loop_executor: LoopExecutor<J>,
    pub(crate) pool: Arc<Pool<J>>,
    pub(crate) watchdog: Arc<Watchdog>,
}

impl<J: Send + Sync + 'static> Executors<J> {
    /// `run` runs a call on a thread of the pool.
    pub(crate) fn new(run: fn(Python<'_>, &Arc<J>)) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { loop_executor: LoopExecutor::new()?, pool: Pool::new(run), watchdog: Arc::default() }))
    }

    /// Ends all threads, and waits for those that come back from their hooks soon.
    pub(crate) fn stop(&self) {
        self.loop_executor.stop();
        self.pool.stop(STOP_TIMEOUT);
        self.watchdog.stop(STOP_TIMEOUT);
    }
}
