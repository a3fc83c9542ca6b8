//! Queues calls for an asyncio loop.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use parking_lot::Mutex;

use super::waker::WorkerWaker;

/// Maximum number of unfinished calls on the loop, including abandoned ones that do not stop. Further calls fail.
const MAX_UNFINISHED: usize = 10_000;

/// The queue of the loop. The loop takes many calls at once; only the first one after that wakes it.
pub(crate) struct LoopExecutor<J> {
    state: Mutex<OnLoop<J>>,
    waker: UnixStream,
    woken: UnixStream,
}

struct OnLoop<J> {
    queue: Vec<Arc<J>>,
    signalled: bool,
    unfinished: usize,
    stopped: bool,
    /// Workers whose calls have completed.
    to_wake: Vec<Arc<WorkerWaker>>,
}

impl<J> LoopExecutor<J> {
    pub(super) fn new() -> io::Result<Self> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let state = OnLoop { queue: Vec::new(), signalled: false, unfinished: 0, stopped: false, to_wake: Vec::new() };
        Ok(Self { state: Mutex::new(state), waker, woken })
    }

    /// Submits a call. Returns false if there are too many.
    pub(crate) fn submit(&self, job: Arc<J>) -> bool {
        {
            let mut state = self.state.lock();
            if state.unfinished >= MAX_UNFINISHED || state.stopped {
                return false;
            }
            state.unfinished += 1;
        }
        self.push(job);
        true
    }

    /// Queues a call, or news of one.
    pub(crate) fn push(&self, job: Arc<J>) {
        let mut state = self.state.lock();
        state.queue.push(job);
        self.signal(&mut state);
    }

    fn signal(&self, state: &mut OnLoop<J>) {
        if !std::mem::replace(&mut state.signalled, true) {
            // A full socket buffer wakes the loop too.
            let _ = (&self.waker).write(&[1]);
        }
    }

    /// Returns a file descriptor that becomes readable when there are calls.
    pub(crate) fn fileno(&self) -> i32 {
        self.woken.as_raw_fd()
    }

    /// Takes all queued calls.
    pub(crate) fn take_queued(&self) -> Vec<Arc<J>> {
        // Before the queue is taken, so that later calls wake the loop again.
        let _ = (&self.woken).read(&mut [0; 16]);
        let mut state = self.state.lock();
        state.signalled = false;
        std::mem::take(&mut state.queue)
    }

    /// Registers a worker to be woken by [`Self::wake_workers`].
    pub(crate) fn wake_later(&self, waker: Arc<WorkerWaker>) {
        let mut state = self.state.lock();
        if !state.to_wake.iter().any(|known| Arc::ptr_eq(known, &waker)) {
            state.to_wake.push(waker);
        }
    }

    /// Wakes the registered workers.
    pub(crate) fn wake_workers(&self) {
        let to_wake = std::mem::take(&mut self.state.lock().to_wake);
        for waker in to_wake {
            waker.wake();
        }
    }

    pub(crate) fn job_finished(&self) {
        let mut state = self.state.lock();
        state.unfinished = state.unfinished.saturating_sub(1);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        self.signal(&mut state);
    }
}
