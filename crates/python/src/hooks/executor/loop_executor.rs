//! Calls on their way to an asyncio loop.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use parking_lot::Mutex;

use super::waker::WorkerWaker;

/// Calls on the loop that have not come to an end, those that were given up and do not stop among them; beyond it calls
/// fail.
const MAX_UNFINISHED: usize = 10_000;

/// Calls on their way to the loop. Many are passed on at once: whoever comes first rings.
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
    /// The bells of workers for which calls have come to something.
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

    /// Has a call run. False: there are too many.
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

    /// Passes on a call, or news of one.
    pub(crate) fn push(&self, job: Arc<J>) {
        let mut state = self.state.lock();
        state.queue.push(job);
        self.signal(&mut state);
    }

    fn signal(&self, state: &mut OnLoop<J>) {
        if !std::mem::replace(&mut state.signalled, true) {
            // A full pipe rings too.
            let _ = (&self.waker).write(&[1]);
        }
    }

    /// What becomes readable when there are calls.
    pub(crate) fn fileno(&self) -> i32 {
        self.woken.as_raw_fd()
    }

    /// Calls and news of calls since it was last asked.
    pub(crate) fn take_queued(&self) -> Vec<Arc<J>> {
        // Before the queue is looked at, so that what comes later rings again.
        let _ = (&self.woken).read(&mut [0; 16]);
        let mut state = self.state.lock();
        state.signalled = false;
        std::mem::take(&mut state.queue)
    }

    /// Notes that a worker is to be woken soon.
    pub(crate) fn wake_later(&self, waker: Arc<WorkerWaker>) {
        let mut state = self.state.lock();
        if !state.to_wake.iter().any(|known| Arc::ptr_eq(known, &waker)) {
            state.to_wake.push(waker);
        }
    }

    /// Wakes the workers that are to be woken.
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
