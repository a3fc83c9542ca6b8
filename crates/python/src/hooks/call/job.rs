//! A call of a hook on an executor.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use pylae_core::hook::{On, Run};
use pylae_core::{Answer, Rejection};
use pyo3::prelude::*;

use super::called::Called;
use super::failure::refusal_of;
use super::pipe::Pipe;
use super::returned::answer_of;
use crate::hooks::executor::Executors;
use crate::hooks::executor::waker::WorkerWaker;
use crate::hooks::executor::watchdog::WatchedCall;
use crate::hooks::message::handle::ExchangeHandle;

/// The outcome of a call.
pub(crate) enum JobOutcome {
    /// The hook returned None: the exchange continues.
    Pass,
    /// The hook called `call_next` and waits for the response.
    PassedOn,
    /// The hook answered.
    Answer(Box<Answer>),
    /// The hook raised `HTTPError`.
    Refuse(Box<Rejection>),
    /// The hook failed. The failure has been logged.
    Failed,
}

/// The pipe of a response body, and the hooks that it passes through.
pub(crate) type PipedBody = (Arc<Mutex<Pipe>>, Vec<Arc<Called>>);

/// One call of a hook.
pub(crate) struct Job {
    pub(crate) called: Arc<Called>,
    pub(crate) handle: Arc<ExchangeHandle>,
    /// The half of the exchange that the call belongs to.
    pub(crate) half: On,
    /// Where the hook runs.
    pub(crate) run: Run,
    pub(crate) executors: Arc<Executors<Self>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// When the call was submitted, or got its response.
    began: Instant,
    outcome: Option<JobOutcome>,
    /// The task that waits for the outcome, and its worker.
    waiter: Option<(Waker, Arc<WorkerWaker>)>,
    /// The loop or a thread of the pool has started the call, or dropped it because it was abandoned.
    claimed: bool,
    /// The worker no longer waits for the outcome.
    abandoned: bool,
    /// The response for `call_next` has arrived.
    response_ready: bool,
    /// The hook's index on the route.
    index: usize,
    /// A coroutine suspended on the worker, and the value it yielded.
    coroutine: Option<(Py<PyAny>, Py<PyAny>)>,
    /// The call as the watchdog knows it, while it runs on a thread.
    watched: Option<WatchedCall>,
    /// The response body, if the call streams one.
    body: Option<PipedBody>,
}

impl State {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            outcome: None,
            waiter: None,
            claimed: false,
            abandoned: false,
            response_ready: false,
            index: 0,
            coroutine: None,
            watched: None,
            body: None,
        }
    }
}

impl Job {
    pub(crate) fn new(
        called: &Arc<Called>,
        handle: &Arc<ExchangeHandle>,
        half: On,
        run: Run,
        executors: &Arc<Executors<Self>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            called: Arc::clone(called),
            handle: Arc::clone(handle),
            half,
            run,
            executors: Arc::clone(executors),
            state: Mutex::new(State::new()),
            changed: Condvar::new(),
        })
    }

    /// Sets the hook's index and a coroutine suspended on the worker, which the loop must resume.
    pub(crate) fn set_coroutine(&self, index: usize, coroutine: Py<PyAny>, yielded: Py<PyAny>) {
        self.set_index(index);
        self.state.lock().coroutine = Some((coroutine, yielded));
    }

    /// Sets the hook's index on the route.
    pub(crate) fn set_index(&self, index: usize) {
        self.state.lock().index = index;
    }

    pub(crate) fn index(&self) -> usize {
        self.state.lock().index
    }

    pub(crate) fn take_coroutine(&self) -> Option<(Py<PyAny>, Py<PyAny>)> {
        self.state.lock().coroutine.take()
    }

    /// Claims the call for the loop. Returns true the first time only.
    pub(crate) fn claim(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().claimed, true)
    }

    /// Marks the call as running. An abandoned call is interrupted through `watched`, if it runs on a thread. Returns
    /// false if it was abandoned already.
    pub(crate) fn start(&self, watched: Option<WatchedCall>) -> bool {
        let mut state = self.state.lock();
        state.watched = watched;
        state.claimed = true;
        !state.abandoned
    }

    /// Sets the outcome and wakes the worker. The loop wakes each worker once for all calls completed in one iteration.
    pub(crate) fn complete(&self, outcome: JobOutcome) {
        let mut state = self.state.lock();
        if !matches!(outcome, JobOutcome::PassedOn) {
            state.watched = None;
        }
        if !state.abandoned {
            self.record_time(&state);
        }
        state.outcome = Some(outcome);
        let Some((task, worker)) = state.waiter.take() else { return };
        // Under the lock: a waiting task either sees the outcome and wakes the others, or is registered before it is
        // dropped.
        worker.add(task);
        drop(state);
        if self.run == Run::Pool {
            worker.wake();
        } else {
            self.executors.loop_executor.wake_later(worker);
        }
    }

    /// Completes the call with what the hook returned or raised.
    pub(crate) fn complete_with(&self, py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) {
        let answer = result.and_then(|returned| answer_of(&self.handle, self.half, self.called.call.on, &returned));
        self.complete(match answer {
            Ok(None) => JobOutcome::Pass,
            Ok(Some(answer)) => JobOutcome::Answer(Box::new(answer)),
            Err(error) => {
                let refusal = refusal_of(py, &error);
                if refusal.is_none() && !self.is_abandoned() {
                    self.called.record_failure(py, &self.handle, &error);
                }
                refusal.map_or(JobOutcome::Failed, JobOutcome::Refuse)
            }
        });
    }

    pub(crate) fn take_outcome(&self) -> Option<JobOutcome> {
        self.state.lock().outcome.take()
    }

    /// Delivers the response to `call_next`.
    pub(crate) fn deliver_response(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            (state.response_ready, state.began) = (true, Instant::now());
        }
        self.notify();
    }

    /// Abandons the call: its outcome is no longer needed.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let watched = {
            let mut state = self.state.lock();
            if !std::mem::replace(&mut state.abandoned, true) {
                self.record_time(&state);
            }
            state.watched.clone()
        };
        if let Some(watched) = watched {
            watched.expire();
        }
        self.notify();
    }

    /// Notifies the loop that the pipe has new pieces or room.
    pub(crate) fn notify_body(self: &Arc<Self>) {
        self.executors.loop_executor.push(Arc::clone(self));
    }

    /// Attaches the response body that the call streams, and the hooks that it passes through.
    pub(crate) fn attach_body(&self, pipe: &Arc<Mutex<Pipe>>, hooks: Vec<Arc<Called>>) {
        self.state.lock().body = Some((Arc::clone(pipe), hooks));
    }

    pub(crate) fn body(&self) -> Option<PipedBody> {
        self.state.lock().body.clone()
    }

    /// Counts the time of the call, unless it lasts as long as a body.
    fn record_time(&self, state: &State) {
        if state.body.is_none() {
            self.called.record_away(state.began.elapsed());
        }
    }

    fn notify(self: &Arc<Self>) {
        self.changed.notify_all();
        if matches!(self.run, Run::Loop | Run::Coroutine) {
            self.executors.loop_executor.push(Arc::clone(self));
        }
    }

    /// True once the call was started.
    pub(crate) fn has_started(&self) -> bool {
        self.state.lock().claimed
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state.lock().abandoned
    }

    pub(crate) fn has_response(&self) -> bool {
        self.state.lock().response_ready
    }

    /// Blocks this thread until the response arrives. Returns false if the call was abandoned.
    pub(crate) fn wait_for_response(&self) -> bool {
        let mut state = self.state.lock();
        while !state.response_ready && !state.abandoned {
            self.changed.wait(&mut state);
        }
        state.response_ready && !state.abandoned
    }
}

/// Completes when the job has an outcome. Abandons the job if dropped before that.
pub(crate) struct Waiting {
    job: Arc<Job>,
    waker: Arc<WorkerWaker>,
}

impl Waiting {
    /// Must be created on the worker that waits.
    pub(crate) fn new(job: Arc<Job>) -> Self {
        Self { job, waker: WorkerWaker::current() }
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.job.state.lock();
        if state.outcome.is_some() {
            return Poll::Ready(());
        }
        state.waiter = Some((cx.waker().clone(), Arc::clone(&self.waker)));
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let completed = {
            let mut state = self.job.state.lock();
            state.waiter = None;
            state.outcome.is_some()
        };
        if !completed {
            self.job.abandon();
        }
        // This task may be the one that was woken for all.
        self.waker.wake_all();
    }
}
