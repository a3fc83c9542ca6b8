//! What the hooks of an exchange remember between their calls.

use std::sync::Arc;
use std::time::Instant;

use pylae_core::Exchange;
use pylae_core::hook::{On, Step};
use pylae_core::trace::{HookHalf, HookPlace, HookStep};
use pylae_proxy::{Pass, hook_ended};
use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::call::called::Called;
use super::call::failure::guarded;
use super::call::job::{Job, Waiting};
use super::executor::Executors;
use super::executor::watchdog::WatchedHook;
use super::message::handle::{About, ExchangeHandle};
use crate::gil::{self, GATE};

/// What a coroutine is told that waits for a response which will not come.
static CANCELLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// State of an exchange between calls of its hooks.
pub(super) struct Session {
    pub(super) handle: Arc<ExchangeHandle>,
    /// The half that is running.
    pub(super) half: On,
    /// There is no request: only hooks that say so see the answer.
    pub(super) refused: bool,
    /// Index of the next hook. Counts up for requests and down for responses.
    pub(super) next: usize,
    /// The call in progress.
    pub(super) job: Option<Arc<Job>>,
    /// Middlewares that wait for the response, by hook index.
    pub(super) parked: Vec<(usize, Parked)>,
    /// The call that waits until the worker may enter the interpreter.
    pub(super) at_gate: Option<HookTurn>,
    /// How long it waits.
    pub(super) gate_deadline: Option<Instant>,
    /// When the call on an executor began, if the exchange is recorded.
    pub(super) began: pylae_core::Instant,
}

/// A middleware that waits for the response.
pub(super) enum Parked {
    /// A coroutine driven on the worker.
    Coroutine(Coroutine),
    /// A call on an executor.
    Job(Arc<Job>),
}

/// A coroutine driven on the worker, and its hook.
pub(super) struct Coroutine {
    pub(super) object: Py<PyAny>,
    pub(super) called: Arc<Called>,
    pub(super) executors: Arc<Executors<Job>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let at_gate = self.at_gate.take().and_then(|(_, parked)| parked);
        for parked in self.parked.drain(..).map(|(_, parked)| parked).chain(at_gate) {
            match parked {
                Parked::Job(job) => job.abandon(),
                Parked::Coroutine(coroutine) => coroutine.close(&self.handle),
            }
        }
        self.handle.end();
    }
}

impl Coroutine {
    /// Cancels the coroutine where it waits, because there will be no response. Its cleanup runs now, or on a thread of
    /// the pool if the worker cannot enter the interpreter.
    fn close(self, handle: &Arc<ExchangeHandle>) {
        if let Some(pass) = pass(&self.executors) {
            gil::attached_worker(&pass, |py| self.close_now(py, handle));
        } else {
            let (pool, handle) = (Arc::clone(&self.executors.pool), Arc::clone(handle));
            pool.submit_close(Box::new(move |py| self.close_now(py, &handle)));
        }
    }

    fn close_now(&self, py: Python<'_>, handle: &Arc<ExchangeHandle>) {
        let (guard, _) = self.executors.watchdog.begin(py, &*self.called);
        let closed = guarded(py, || {
            let (context, object) = (handle.context(py)?, self.object.bind(py));
            let cancelled = CANCELLED.import(py, "asyncio", "CancelledError")?;
            match context.call1((object.getattr(intern!(py, "throw"))?, cancelled)) {
                // It went on to wait for something else.
                Ok(_) => context.call1((object.getattr(intern!(py, "close"))?,)).map(drop),
                Err(error) if error.matches(py, cancelled)? || error.is_instance_of::<PyStopIteration>(py) => Ok(()),
                Err(error) => Err(error),
            }
        });
        drop(guard);
        if let Err(error) = closed {
            self.called.record_failure(py, handle, &error);
        }
    }
}

/// The next hook to call, or to resume with the response.
pub(super) type HookTurn = (usize, Option<Parked>);

/// Passes the gate before the interpreter. Returns None if that would take long.
pub(super) fn pass(executors: &Executors<Job>) -> Option<Pass> {
    if executors.watchdog.is_held() { None } else { GATE.pass() }
}

/// Copies the exchange for hooks on an executor. The caller holds the session, so the copy has none.
pub(super) fn lend_copy(exchange: &mut Exchange) -> Box<Exchange> {
    let lent = exchange.detach();
    exchange.hook_visit();
    lent
}

pub(super) fn reclaim(session: &Session, exchange: &mut Exchange) {
    if let Some(mut held) = session.handle.close() {
        exchange.attach(&mut held);
    }
}

pub(super) fn store_session(session: Box<Session>, exchange: &mut Exchange) {
    let visit = exchange.hook_visit();
    let place = if session.handle.about.is_early() { &mut visit.early } else { &mut visit.session };
    *place = Some(session);
}

pub(super) fn take_session(about: &About, exchange: &mut Exchange) -> Option<Box<Session>> {
    let visit = exchange.hooks_mut()?;
    let place = if about.is_early() { &mut visit.early } else { &mut visit.session };
    place.take()?.downcast().ok()
}

/// Suspends the exchange until the call completes.
pub(super) fn wait_for(job: Arc<Job>, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
    let timeout = job.called.timeout();
    session.job = Some(Arc::clone(&job));
    store_session(session, exchange);
    Step::Wait { until: Box::pin(Waiting::new(job)), timeout }
}

/// Adds the step of a call that is over, if the exchange is recorded. Authenticators see a copy that is not.
pub(super) fn record_call(
    about: &About,
    exchange: &mut Exchange,
    (index, half, failed): (usize, On, bool),
    began: pylae_core::Instant,
) {
    let place = if about.is_early() { HookPlace::Early } else { HookPlace::Route };
    let half = if half == On::Request { HookHalf::Request } else { HookHalf::Response };
    hook_ended(exchange, HookStep { place, index, half, failed }, began);
}

/// The handle of the exchange's early hooks, if it has any.
pub(super) fn early_handle(exchange: &Exchange) -> Option<Arc<ExchangeHandle>> {
    let session: &Session = exchange.hooks()?.early.as_ref()?.downcast_ref()?;
    Some(Arc::clone(&session.handle))
}
