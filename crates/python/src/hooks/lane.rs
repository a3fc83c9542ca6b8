//! Where hooks run that do not run on workers: an asyncio loop, and a pool of threads. What a call is they do not know.

pub(crate) mod bell;
mod loop_lane;
mod pool;
pub(crate) mod watch;

use std::sync::Arc;
use std::time::Duration;

use pyo3::Python;

use loop_lane::LoopLane;
use pool::Pool;
use watch::Watch;

/// How long a stop waits for threads. They must not end while the interpreter does.
const FAREWELL: Duration = Duration::from_secs(2);

/// Both, and what looks after threads that run hooks. `J` is a call.
pub(crate) struct Lanes<J> {
    pub(crate) loop_lane: LoopLane<J>,
    pub(crate) pool: Arc<Pool<J>>,
    pub(crate) watch: Arc<Watch>,
}

impl<J: Send + Sync + 'static> Lanes<J> {
    /// `run` runs a call on a thread of the pool.
    pub(crate) fn new(run: fn(Python<'_>, &Arc<J>)) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { loop_lane: LoopLane::new()?, pool: Pool::new(run), watch: Arc::default() }))
    }

    /// Ends all threads, and waits for those that come back from their hooks soon.
    pub(crate) fn stop(&self) {
        self.loop_lane.stop();
        self.pool.stop(FAREWELL);
        self.watch.stop(FAREWELL);
    }
}
