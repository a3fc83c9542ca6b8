//! A call of a hook outside the worker.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};
use pylae_core::Answer;
use pylae_core::hook::{On, Run};
use pyo3::prelude::*;

use super::called::Called;
use super::pipe::Pipe;
use super::returned::answer_of;
use crate::hooks::executor::Executors;
use crate::hooks::executor::waker::WorkerWaker;
use crate::hooks::executor::watchdog::WatchedCall;
use crate::hooks::message::handle::ExchangeHandle;

/// What a call has come to.
pub(crate) enum JobOutcome {
    /// Nothing: the exchange goes on.
    Pass,
    /// The hook has called `call_next`, and waits for the response.
    PassedOn,
    /// An answer.
    Answer(Box<Answer>),
    /// A failure, which has been logged.
    Failed,
}

/// The pieces of a body, and the hooks that they pass.
pub(crate) type PipedBody = (Arc<Mutex<Pipe>>, Vec<Arc<Called>>);

/// One call.
pub(crate) struct Job {
    pub(crate) called: Arc<Called>,
    pub(crate) handle: Arc<ExchangeHandle>,
    /// Whether the hook sees the response.
    pub(crate) half: On,
    /// Where it runs.
    pub(crate) run: Run,
    pub(crate) executors: Arc<Executors<Self>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    outcome: Option<JobOutcome>,
    /// Who waits for it.
    waiter: Option<(Waker, Arc<WorkerWaker>)>,
    /// It was coroutine, or given up before.
    claimed: bool,
    /// Nobody waits for it any more.
    abandoned: bool,
    /// The response that `call_next` waits for is there.
    response_ready: bool,
    /// The hook's place among those of the route.
    index: usize,
    /// A coroutine that was suspended on the worker, and what it has yielded.
    coroutine: Option<(Py<PyAny>, Py<PyAny>)>,
    /// Its time on the thread that it runs on.
    watched: Option<WatchedCall>,
    /// The pieces of a body that it is about.
    body: Option<PipedBody>,
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
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Notes the hook's place, and a coroutine that was suspended on the worker.
    pub(crate) fn set_coroutine(&self, index: usize, coroutine: Py<PyAny>, yielded: Py<PyAny>) {
        self.set_index(index);
        self.state.lock().coroutine = Some((coroutine, yielded));
    }

    /// Notes the hook's place among those of the route.
    pub(crate) fn set_index(&self, index: usize) {
        self.state.lock().index = index;
    }

    pub(crate) fn index(&self) -> usize {
        self.state.lock().index
    }

    pub(crate) fn take_coroutine(&self) -> Option<(Py<PyAny>, Py<PyAny>)> {
        self.state.lock().coroutine.take()
    }

    /// Whether it is to be coroutine: the first time that this is asked.
    pub(crate) fn claim(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().claimed, true)
    }

    /// Says on which thread it runs. False: nobody waits for it any more.
    pub(crate) fn start(&self, watched: Option<WatchedCall>) -> bool {
        let mut state = self.state.lock();
        state.watched = watched;
        !state.abandoned
    }

    /// Says what it has come to. The worker is woken: by the loop for all calls that have come so far at the same time.
    pub(crate) fn complete(&self, outcome: JobOutcome) {
        let mut state = self.state.lock();
        if !matches!(outcome, JobOutcome::PassedOn) {
            state.watched = None;
        }
        state.outcome = Some(outcome);
        let Some((task, worker)) = state.waiter.take() else { return };
        // Under the lock: who waits either sees the outcome and wakes the others, or is noted there before it ends.
        worker.add(task);
        drop(state);
        if self.run == Run::Pool {
            worker.wake();
        } else {
            self.executors.loop_executor.wake_later(worker);
        }
    }

    /// What the hook has returned or raised.
    pub(crate) fn complete_with(&self, py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) {
        let answer = result.and_then(|returned| answer_of(&returned));
        self.complete(match answer {
            Ok(None) => JobOutcome::Pass,
            Ok(Some(answer)) => JobOutcome::Answer(Box::new(answer)),
            Err(error) => {
                if !self.is_abandoned() {
                    self.called.record_failure(py, &self.handle, &error);
                }
                JobOutcome::Failed
            }
        });
    }

    pub(crate) fn take_outcome(&self) -> Option<JobOutcome> {
        self.state.lock().outcome.take()
    }

    /// Gives `call_next` the response.
    pub(crate) fn deliver_response(self: &Arc<Self>) {
        self.state.lock().response_ready = true;
        self.notify();
    }

    /// Gives it up: what it comes to interests nobody.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let watched = {
            let mut state = self.state.lock();
            state.abandoned = true;
            state.watched.clone()
        };
        if let Some(watched) = watched {
            watched.expire();
        }
        self.notify();
    }

    /// Says that pieces have come, or that there is room for some.
    pub(crate) fn notify_body(self: &Arc<Self>) {
        self.executors.loop_executor.push(Arc::clone(self));
    }

    /// Notes the pieces of a body that it is about, and the hooks that they pass.
    pub(crate) fn attach_body(&self, pipe: &Arc<Mutex<Pipe>>, hooks: Vec<Arc<Called>>) {
        self.state.lock().body = Some((Arc::clone(pipe), hooks));
    }

    pub(crate) fn body(&self) -> Option<PipedBody> {
        self.state.lock().body.clone()
    }

    fn notify(self: &Arc<Self>) {
        self.changed.notify_all();
        if matches!(self.run, Run::Loop | Run::Coroutine) {
            self.executors.loop_executor.push(Arc::clone(self));
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state.lock().abandoned
    }

    pub(crate) fn has_response(&self) -> bool {
        self.state.lock().response_ready
    }

    /// Waits for the response on this thread. False: there will be none.
    pub(crate) fn wait_for_response(&self) -> bool {
        let mut state = self.state.lock();
        while !state.response_ready && !state.abandoned {
            self.changed.wait(&mut state);
        }
        state.response_ready && !state.abandoned
    }
}

/// Ready when a job has come to something. Dropped before that, it gives the job up.
pub(crate) struct Waiting {
    job: Arc<Job>,
    waker: Arc<WorkerWaker>,
}

impl Waiting {
    /// On the worker that waits.
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
        // Perhaps this was the one that was woken for all.
        self.waker.wake_all();
    }
}
