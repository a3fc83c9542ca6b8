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
pub(crate) type Passing = (Arc<Mutex<Pipe>>, Vec<Arc<Called>>);

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
    /// It was begun, or given up before.
    begun_once: bool,
    /// Nobody waits for it any more.
    abandoned: bool,
    /// The response that `call_next` waits for is there.
    answered: bool,
    /// The hook's place among those of the route.
    place: usize,
    /// A coroutine that was suspended on the worker, and what it has yielded.
    begun: Option<(Py<PyAny>, Py<PyAny>)>,
    /// Its time on the thread that it runs on.
    turn: Option<WatchedCall>,
    /// The pieces of a body that it is about.
    pieces: Option<Passing>,
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
    pub(crate) fn begin_with(&self, place: usize, coroutine: Py<PyAny>, yielded: Py<PyAny>) {
        self.at(place);
        self.state.lock().begun = Some((coroutine, yielded));
    }

    /// Notes the hook's place among those of the route.
    pub(crate) fn at(&self, place: usize) {
        self.state.lock().place = place;
    }

    pub(crate) fn place(&self) -> usize {
        self.state.lock().place
    }

    pub(crate) fn take_begun(&self) -> Option<(Py<PyAny>, Py<PyAny>)> {
        self.state.lock().begun.take()
    }

    /// Whether it is to be begun: the first time that this is asked.
    pub(crate) fn is_first(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().begun_once, true)
    }

    /// Says on which thread it runs. False: nobody waits for it any more.
    pub(crate) fn start(&self, turn: Option<WatchedCall>) -> bool {
        let mut state = self.state.lock();
        state.turn = turn;
        !state.abandoned
    }

    /// Says what it has come to. The worker is woken: by the loop for all calls that have come so far at the same time.
    pub(crate) fn settle(&self, outcome: JobOutcome) {
        let mut state = self.state.lock();
        if !matches!(outcome, JobOutcome::PassedOn) {
            state.turn = None;
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
    pub(crate) fn conclude(&self, py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) {
        let answer = result.and_then(|returned| answer_of(&returned));
        self.settle(match answer {
            Ok(None) => JobOutcome::Pass,
            Ok(Some(answer)) => JobOutcome::Answer(Box::new(answer)),
            Err(error) => {
                if !self.is_abandoned() {
                    self.called.note_failure(py, &self.handle, &error);
                }
                JobOutcome::Failed
            }
        });
    }

    pub(crate) fn take_outcome(&self) -> Option<JobOutcome> {
        self.state.lock().outcome.take()
    }

    /// Gives `call_next` the response.
    pub(crate) fn answer(self: &Arc<Self>) {
        self.state.lock().answered = true;
        self.tell();
    }

    /// Gives it up: what it comes to interests nobody.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let turn = {
            let mut state = self.state.lock();
            state.abandoned = true;
            state.turn.clone()
        };
        if let Some(turn) = turn {
            turn.hurry();
        }
        self.tell();
    }

    /// Says that pieces have come, or that there is room for some.
    pub(crate) fn news(self: &Arc<Self>) {
        self.executors.loop_executor.push(Arc::clone(self));
    }

    /// Notes the pieces of a body that it is about, and the hooks that they pass.
    pub(crate) fn about(&self, pipe: &Arc<Mutex<Pipe>>, hooks: Vec<Arc<Called>>) {
        self.state.lock().pieces = Some((Arc::clone(pipe), hooks));
    }

    pub(crate) fn pieces(&self) -> Option<Passing> {
        self.state.lock().pieces.clone()
    }

    fn tell(self: &Arc<Self>) {
        self.changed.notify_all();
        if matches!(self.run, Run::Loop | Run::Coroutine) {
            self.executors.loop_executor.push(Arc::clone(self));
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state.lock().abandoned
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.state.lock().answered
    }

    /// Waits for the response on this thread. False: there will be none.
    pub(crate) fn await_answer(&self) -> bool {
        let mut state = self.state.lock();
        while !state.answered && !state.abandoned {
            self.changed.wait(&mut state);
        }
        state.answered && !state.abandoned
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
        Self { job, waker: WorkerWaker::mine() }
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
        let settled = {
            let mut state = self.job.state.lock();
            state.waiter = None;
            state.outcome.is_some()
        };
        if !settled {
            self.job.abandon();
        }
        // Perhaps this was the one that was woken for all.
        self.waker.wake_all();
    }
}
