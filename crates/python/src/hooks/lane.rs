//! Where hooks run that do not run on workers: an asyncio loop, and a pool of threads.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;

use super::failure::{always_in_hooks, end_if_forked, guarded};
use super::job::Job;
use super::next::CallNext;
use super::stream::Pieces;
use super::watch::Watch;
use crate::gil;

/// Calls on the loop that have not come to an end, those that were given up and do not stop among them; beyond it calls fail.
const MOST_ON_LOOP: usize = 10_000;
/// Threads of the pool that run hooks at once.
const THREADS: usize = 16;
/// Calls that may wait for a thread; beyond it they fail.
const WAITING: usize = 1024;
/// Threads that wait in `call_next`; beyond it calls of it fail.
const MOST_PARKED: usize = 256;

/// How long a stop waits for threads. They must not end while the interpreter does.
const FAREWELL: Duration = Duration::from_secs(2);

/// Both, and what looks after threads that run hooks.
pub(crate) struct Lanes {
    pub(crate) loop_lane: LoopLane,
    pub(crate) pool: Arc<Pool>,
    pub(crate) watch: Arc<Watch>,
}

impl Lanes {
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        let (bell, door) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        door.set_nonblocking(true)?;
        let loop_lane = LoopLane { state: Mutex::default(), bell, door };
        Ok(Arc::new(Self { loop_lane, pool: Arc::default(), watch: Arc::default() }))
    }

    /// Ends all threads, and waits for those that come back from their hooks soon.
    pub(crate) fn stop(&self) {
        self.loop_lane.stop();
        self.pool.stop(FAREWELL);
        self.watch.stop(FAREWELL);
    }
}

/// Calls on their way to the loop. Many are passed on at once: whoever comes first rings.
pub(crate) struct LoopLane {
    state: Mutex<OnLoop>,
    bell: UnixStream,
    door: UnixStream,
}

#[derive(Default)]
struct OnLoop {
    queue: Vec<Arc<Job>>,
    rung: bool,
    unfinished: usize,
    stopped: bool,
}

impl LoopLane {
    /// Has a call run. False: there are too many.
    pub(crate) fn submit(&self, job: Arc<Job>) -> bool {
        {
            let mut state = self.state.lock();
            if state.unfinished >= MOST_ON_LOOP || state.stopped {
                return false;
            }
            state.unfinished += 1;
        }
        self.push(job);
        true
    }

    /// Passes on a call, or news of one.
    pub(crate) fn push(&self, job: Arc<Job>) {
        let mut state = self.state.lock();
        state.queue.push(job);
        self.ring(&mut state);
    }

    fn ring(&self, state: &mut OnLoop) {
        if !std::mem::replace(&mut state.rung, true) {
            // A full pipe rings too.
            let _ = (&self.bell).write(&[1]);
        }
    }

    fn take(&self) -> Vec<Arc<Job>> {
        // Before the queue is looked at, so that what comes later rings again.
        let _ = (&self.door).read(&mut [0; 16]);
        let mut state = self.state.lock();
        state.rung = false;
        std::mem::take(&mut state.queue)
    }

    pub(crate) fn finished(&self) {
        let mut state = self.state.lock();
        state.unfinished = state.unfinished.saturating_sub(1);
    }

    fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        self.ring(&mut state);
    }
}

/// The loop's end of the lane.
#[pyclass(frozen, module = "pylae.hooks")]
pub(crate) struct Lane(pub(crate) Arc<Lanes>);

#[pymethods]
impl Lane {
    /// What becomes readable when there are calls.
    fn fileno(&self) -> i32 {
        self.0.loop_lane.door.as_raw_fd()
    }

    /// Calls and news of calls since it was last asked.
    fn take(&self, py: Python<'_>) -> Vec<Task> {
        end_if_forked(py);
        always_in_hooks();
        self.0.loop_lane.take().into_iter().map(Task).collect()
    }

    /// Whether the engine has stopped.
    #[getter]
    fn stopped(&self) -> bool {
        self.0.loop_lane.state.lock().stopped
    }
}

/// A call for the loop.
#[pyclass(frozen, module = "pylae.hooks")]
pub(crate) struct Task(pub(crate) Arc<Job>);

#[pymethods]
impl Task {
    /// The same number for the same call.
    #[getter]
    fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether nobody waits for it any more.
    #[getter]
    fn abandoned(&self) -> bool {
        self.0.is_abandoned()
    }

    /// Whether the response that `call_next` waits for is there.
    #[getter]
    fn answered(&self) -> bool {
        self.0.is_answered()
    }

    /// Says that it begins. False: nobody waits for it any more, and it is over.
    fn start(&self) -> bool {
        if !self.0.is_first() {
            return false;
        }
        let wanted = self.0.start(None);
        if !wanted {
            self.0.lanes.loop_lane.finished();
        }
        wanted
    }

    /// The `contextvars.Context` that it runs in.
    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.0.handle.context(py)?.getattr("__self__")
    }

    /// The response that `call_next` comes back with.
    fn response(&self, py: Python<'_>) -> PyResult<super::Response> {
        Ok(super::Response::of(self.0.handle.request(py)?.unbind()))
    }

    /// A coroutine that was suspended on a worker, and what it has yielded.
    fn begun(&self) -> Option<(Py<PyAny>, Py<PyAny>)> {
        self.0.take_begun()
    }

    /// The pieces of a body, if it is about one.
    fn pieces(&self) -> Option<Pieces> {
        let (pipe, hooks) = self.0.pieces()?;
        Some(Pieces { job: Arc::clone(&self.0), pipe, hooks })
    }

    /// Says that it is over, where that is all there is to say.
    fn end(&self) {
        self.0.lanes.loop_lane.finished();
    }

    /// Calls the hook.
    fn call<'py>(&self, py: Python<'py>, next: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let job = &self.0;
        let next = (job.called.call.on == pylae_core::hook::On::Around).then_some(next);
        job.called.count();
        job.called.enter(&job.handle, py, job.half, next)
    }

    /// Says that the hook has called `call_next`.
    fn pass_on(&self, py: Python<'_>) {
        end_if_forked(py);
        self.0.settle(super::job::Outcome::PassedOn);
    }

    /// Says what the hook has returned.
    fn finish(&self, py: Python<'_>, value: Bound<'_, PyAny>) {
        end_if_forked(py);
        self.0.conclude(py, Ok(value));
        self.0.lanes.loop_lane.finished();
    }

    /// Says what the hook has raised.
    fn fail(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        end_if_forked(py);
        self.0.conclude(py, Err(PyErr::from_value(error)));
        self.0.lanes.loop_lane.finished();
    }
}

/// Threads for hooks that block.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<Threads>,
    filled: Condvar,
}

#[derive(Default)]
struct Threads {
    queue: VecDeque<Arc<Job>>,
    idle: usize,
    /// Those that are idle or run hooks.
    running: usize,
    /// Those that wait in `call_next`.
    parked: usize,
    stopped: bool,
}

impl Pool {
    /// Has a call run. False: too many wait.
    pub(crate) fn submit(self: &Arc<Self>, job: Arc<Job>) -> bool {
        let mut state = self.state.lock();
        if state.queue.len() >= WAITING || state.stopped {
            return false;
        }
        state.queue.push_back(job);
        self.serve(&mut state);
        true
    }

    /// Sees to it that somebody takes the next call.
    fn serve(self: &Arc<Self>, state: &mut Threads) {
        // Those that were woken for other calls are still counted as idle until they have taken them.
        if state.idle >= state.queue.len() {
            self.filled.notify_one();
        } else if state.running < THREADS {
            let pool = Arc::clone(self);
            let thread = std::thread::Builder::new().name("pylae-hook".to_owned());
            // Without it the others take the call, or it times out.
            if thread.spawn(move || gil::kept(|| pool.work())).is_ok() {
                state.running += 1;
            }
        }
    }

    fn work(&self) {
        loop {
            let mut state = self.state.lock();
            let job = loop {
                if state.stopped {
                    state.running -= 1;
                    self.filled.notify_all();
                    return;
                }
                if let Some(job) = state.queue.pop_front() {
                    break job;
                }
                state.idle += 1;
                self.filled.wait(&mut state);
                state.idle -= 1;
            };
            drop(state);
            run(&job);
        }
    }

    /// Says that a thread waits in `call_next`. False: too many do.
    pub(crate) fn park(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        if state.parked >= MOST_PARKED {
            return false;
        }
        state.parked += 1;
        state.running = state.running.saturating_sub(1);
        if !state.queue.is_empty() {
            self.serve(&mut state);
        }
        true
    }

    /// Says that it goes on.
    pub(crate) fn unpark(&self) {
        let mut state = self.state.lock();
        state.parked -= 1;
        state.running += 1;
    }

    fn stop(&self, patience: Duration) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.queue.clear();
        self.filled.notify_all();
        self.filled.wait_while_for(&mut state, |state| state.running + state.parked > 0, patience);
    }
}

/// Runs a call on this thread.
fn run(job: &Arc<Job>) {
    gil::attached(|py| {
        let (duty, _) = job.lanes.watch.begin(py, job.called.timeout());
        if !job.start(Some(duty.turn())) {
            return;
        }
        job.called.count();
        let result = guarded(py, || {
            let around = job.called.call.on == pylae_core::hook::On::Around;
            let next = around.then(|| Bound::new(py, CallNext::blocking(Arc::clone(job)))).transpose()?;
            job.called.enter(&job.handle, py, job.half, next.as_ref().map(Bound::as_any))
        });
        drop(duty);
        job.conclude(py, result);
    });
}
