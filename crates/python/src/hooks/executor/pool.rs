//! A pool of threads for blocking hooks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use pylae_proxy::{Duty, supervise};
use pyo3::Python;

use crate::gil;

/// Maximum number of threads that run hooks at the same time, apart from those that are stuck.
const MAX_RUNNING: usize = 16;
/// Maximum number of stuck threads that are replaced.
const MAX_STUCK: usize = 64;
/// Maximum number of calls that wait for a thread. Further calls fail.
const MAX_QUEUED: usize = 1024;
/// Maximum number of threads that wait in `call_next`. Further calls of it fail.
const MAX_PARKED: usize = 256;

/// The queue of calls and the threads that run them.
pub(crate) struct Pool<J> {
    /// Runs a call on the current thread.
    run: fn(Python<'_>, &Arc<J>),
    state: Mutex<Threads<J>>,
    changed: Condvar,
    /// Number of threads whose calls do not return.
    stuck: Arc<AtomicUsize>,
}

/// Work for a thread.
enum PoolWork<J> {
    Call(Arc<J>),
    /// The end of a coroutine whose worker could not enter the interpreter.
    Close(Box<dyn FnOnce(Python<'_>) + Send>),
}

struct Threads<J> {
    queue: VecDeque<PoolWork<J>>,
    idle: usize,
    /// Threads that are idle or run hooks, stuck ones included.
    running: usize,
    /// Threads that wait in `call_next`.
    parked: usize,
    /// True while a thread is waking up and has not reached the queue yet.
    waking: bool,
    stopped: bool,
}

impl<J: Send + Sync + 'static> Pool<J> {
    /// `stuck` is the number of threads whose calls do not return.
    pub(super) fn new(run: fn(Python<'_>, &Arc<J>), stuck: &Arc<AtomicUsize>) -> Arc<Self> {
        let queue = VecDeque::new();
        let state = Threads { queue, idle: 0, running: 0, parked: 0, waking: false, stopped: false };
        Arc::new(Self { run, state: Mutex::new(state), changed: Condvar::new(), stuck: Arc::clone(stuck) })
    }

    /// Submits a call. Returns false if too many calls are queued.
    pub(crate) fn submit(self: &Arc<Self>, job: Arc<J>) -> bool {
        self.push(PoolWork::Call(job))
    }

    /// Has a coroutine closed. Does nothing if too many calls are queued.
    pub(crate) fn submit_close(self: &Arc<Self>, close: Box<dyn FnOnce(Python<'_>) + Send>) {
        self.push(PoolWork::Close(close));
    }

    fn push(self: &Arc<Self>, work: PoolWork<J>) -> bool {
        let mut state = self.state.lock();
        if state.queue.len() >= MAX_QUEUED || state.stopped {
            return false;
        }
        state.queue.push_back(work);
        self.wake_thread(&mut state);
        true
    }

    /// Wakes or spawns a thread for the next call. Only one thread wakes up at a time, and it wakes the next one: while
    /// no hook blocks, hooks run one at a time anyway, and more threads would only wait for the interpreter's lock.
    fn wake_thread(self: &Arc<Self>, state: &mut Threads<J>) {
        if state.waking {
            return;
        }
        if state.idle > 0 {
            state.waking = true;
            self.changed.notify_one();
        } else if state.running < self.most() {
            let pool = Arc::clone(self);
            let thread = std::thread::Builder::new().name("pylae-hook".to_owned());
            // If the thread cannot be spawned, another one takes the call, or the call times out.
            let body = move || supervise(None, Duty::Hook, || pool.run_thread());
            if thread.spawn(move || gil::with_thread_state(&body)).is_ok() {
                state.running += 1;
                state.waking = true;
            }
        }
    }

    /// Maximum number of threads now.
    fn most(&self) -> usize {
        MAX_RUNNING + self.stuck.load(Ordering::Relaxed).min(MAX_STUCK)
    }

    /// Starts a thread in the place of one that is stuck, if it is needed.
    pub(super) fn relieve(self: &Arc<Self>) {
        let mut state = self.state.lock();
        // The thread that was to wake the next one may be the one that is stuck.
        state.waking = false;
        if !state.queue.is_empty() {
            self.wake_thread(&mut state);
        }
    }

    fn run_thread(self: &Arc<Self>) {
        loop {
            {
                let mut state = self.state.lock();
                while state.queue.is_empty() && !state.stopped {
                    // Another thread has taken the call that this one was woken for.
                    state.waking = false;
                    state.idle += 1;
                    self.changed.wait(&mut state);
                    state.idle -= 1;
                }
                if state.stopped {
                    state.running -= 1;
                    self.changed.notify_all();
                    return;
                }
            }
            // The interpreter's lock is held from one call to the next.
            let attached = gil::attached(|py| {
                let mut arrived = true;
                while let Some(work) = self.next_work(std::mem::take(&mut arrived)) {
                    match work {
                        PoolWork::Call(job) => (self.run)(py, &job),
                        PoolWork::Close(close) => close(py),
                    }
                }
            });
            if attached.is_none() {
                // The interpreter is shutting down.
                self.state.lock().queue.clear();
            }
        }
    }

    /// Returns what to do next. `arrived` is true for a thread that has just woken up.
    fn next_work(self: &Arc<Self>, arrived: bool) -> Option<PoolWork<J>> {
        let mut state = self.state.lock();
        if arrived {
            state.waking = false;
        }
        let work = state.queue.pop_front()?;
        if !state.queue.is_empty() {
            self.wake_thread(&mut state);
        }
        Some(work)
    }

    /// Marks this thread as waiting in `call_next`. Returns false if too many threads do.
    pub(crate) fn park(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        if state.parked >= MAX_PARKED {
            return false;
        }
        state.parked += 1;
        state.running = state.running.saturating_sub(1);
        if !state.queue.is_empty() {
            self.wake_thread(&mut state);
        }
        true
    }

    /// Marks this thread as running again.
    pub(crate) fn unpark(&self) {
        let mut state = self.state.lock();
        state.parked -= 1;
        state.running += 1;
    }

    /// Stops the threads. Returns false if some have not ended after `timeout`.
    pub(super) fn stop(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        state.stopped = true;
        state.queue.clear();
        self.changed.notify_all();
        let are_left = |state: &mut Threads<J>| state.running + state.parked > self.stuck.load(Ordering::Relaxed);
        self.changed.wait_while_for(&mut state, are_left, timeout);
        state.running + state.parked == 0
    }
}
