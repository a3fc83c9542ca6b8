//! Where hooks run that do not run on workers: an asyncio loop, and a pool of threads.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::bell::Bell;
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
    /// The bells of workers for which calls have come to something.
    owed: Vec<Arc<Bell>>,
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

    /// Notes that a worker is to be woken soon.
    pub(crate) fn owe(&self, bell: Arc<Bell>) {
        let mut state = self.state.lock();
        if !state.owed.iter().any(|known| Arc::ptr_eq(known, &bell)) {
            state.owed.push(bell);
        }
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

    /// Wakes the workers whose calls have come to something since it was last called.
    fn ring(&self) {
        let owed = std::mem::take(&mut self.0.loop_lane.state.lock().owed);
        for bell in owed {
            bell.ring();
        }
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

    /// Says that it begins: True, or the pieces of a body if it is about one. False: nobody waits for it any more, and it
    /// is over.
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let truth = |value| PyBool::new(py, value).to_owned().into_any();
        if !self.0.is_first() {
            return Ok(truth(false));
        }
        if !self.0.start(None) {
            self.0.lanes.loop_lane.finished();
            return Ok(truth(false));
        }
        match self.0.pieces() {
            None => Ok(truth(true)),
            Some((pipe, hooks)) => Ok(Bound::new(py, Pieces { job: Arc::clone(&self.0), pipe, hooks })?.into_any()),
        }
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

    /// Says that it is over, where that is all there is to say.
    fn end(&self) {
        self.0.lanes.loop_lane.finished();
    }

    /// Calls the hook: what it returns, or a coroutine that was suspended on a worker with what it has yielded.
    fn call<'py>(&self, py: Python<'py>, next: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let job = &self.0;
        if let Some(begun) = job.take_begun() {
            return Ok(begun.into_pyobject(py)?.into_any());
        }
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
    /// One is on its way to the queue.
    waking: bool,
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

    /// Sees to it that somebody takes the next call. One thread at a time is on its way, and it wakes the one behind it:
    /// hooks run one at a time while none of them blocks, and more threads would only wait for the interpreter's lock.
    fn serve(self: &Arc<Self>, state: &mut Threads) {
        if state.waking {
            return;
        }
        if state.idle > 0 {
            state.waking = true;
            self.filled.notify_one();
        } else if state.running < THREADS {
            let pool = Arc::clone(self);
            let thread = std::thread::Builder::new().name("pylae-hook".to_owned());
            // Without it the others take the call, or it times out.
            if thread.spawn(move || gil::kept(|| pool.work())).is_ok() {
                state.running += 1;
                state.waking = true;
            }
        }
    }

    fn work(self: &Arc<Self>) {
        loop {
            {
                let mut state = self.state.lock();
                while state.queue.is_empty() && !state.stopped {
                    // Whoever it was woken for has been served.
                    state.waking = false;
                    state.idle += 1;
                    self.filled.wait(&mut state);
                    state.idle -= 1;
                }
                if state.stopped {
                    state.running -= 1;
                    self.filled.notify_all();
                    return;
                }
            }
            // The lock is kept from one call to the next.
            let attached = gil::attached(|py| {
                let mut arrived = true;
                while let Some(job) = self.next(std::mem::take(&mut arrived)) {
                    run(py, &job);
                }
            });
            if attached.is_none() {
                // The interpreter is shutting down.
                self.state.lock().queue.clear();
            }
        }
    }

    /// The next call, for a thread that has just `arrived` or has done one.
    fn next(self: &Arc<Self>, arrived: bool) -> Option<Arc<Job>> {
        let mut state = self.state.lock();
        if arrived {
            state.waking = false;
        }
        let job = state.queue.pop_front()?;
        if !state.queue.is_empty() {
            self.serve(&mut state);
        }
        Some(job)
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
fn run(py: Python<'_>, job: &Arc<Job>) {
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
}
