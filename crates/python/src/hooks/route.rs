//! The hooks of hook route, and how they are called hook after the other.

use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::hook::{HookStream, Hooks, On, OnError, Run, Step};
use pyo3::intern;
use pyo3::prelude::*;

use super::call::called::Called;
use super::call::failure::{guarded, rejection};
use super::call::job::{Job, JobOutcome, Waiting};
use super::call::next::{CallNext, Next, Suspended, drivers};
use super::call::pipe;
use super::call::returned::answer_of;
use super::call::stream::Piped;
use super::executor::Executors;
use super::message::handle::{About, ExchangeHandle};
use super::message::made::PyResponse;
use crate::gil;

/// The hooks of hook route.
pub(crate) struct RouteHooks {
    about: Arc<About>,
    called: Box<[Arc<Called>]>,
    executors: Arc<Executors<Job>>,
    sees_responses: bool,
    /// Whether there are hooks that see bodies piece by piece.
    streams: bool,
}

/// What hooks keep of an exchange between their calls.
struct Session {
    handle: Arc<ExchangeHandle>,
    /// Which half runs.
    half: On,
    /// The next hook: counts up with requests, and down with responses.
    next: usize,
    /// The call that is waited for.
    job: Option<Arc<Job>>,
    /// Middlewares that wait for the response, by their places.
    parked: Vec<(usize, Parked)>,
}

/// A middleware that waits for the response.
enum Parked {
    /// A coroutine that was driven on the worker.
    Coroutine(Coroutine),
    /// Any other.
    Job(Arc<Job>),
}

/// A coroutine that was driven on the worker, and whose it is.
struct Coroutine {
    object: Py<PyAny>,
    called: Arc<Called>,
    executors: Arc<Executors<Job>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        for (_, parked) in self.parked.drain(..) {
            match parked {
                Parked::Job(job) => job.abandon(),
                Parked::Coroutine(coroutine) => coroutine.close(&self.handle),
            }
        }
        self.handle.end();
    }
}

impl Coroutine {
    /// Ends it where it waits: there will be no response. What it has to put in order it does now.
    fn close(&self, handle: &Arc<ExchangeHandle>) {
        gil::attached(|py| {
            let (guard, _) = self.executors.watchdog.begin(py, self.called.timeout());
            let closed = guarded(py, || {
                let close = self.object.bind(py).getattr(intern!(py, "close"))?;
                handle.context(py)?.call1((close,))
            });
            drop(guard);
            if let Err(error) = closed {
                self.called.record_failure(py, handle, &error);
            }
        });
    }
}

/// A hook that is to be called, or goes on with the response.
type HookTurn = (usize, Option<Parked>);

/// What a call on the worker has come to.
enum WorkerOutcome {
    /// The next hook is to be called.
    Next,
    /// The exchange is answered, or fails.
    Done(Step),
    /// It goes on elsewhere.
    Submit(Arc<Job>),
}

impl RouteHooks {
    pub(crate) fn new(about: About, called: Vec<Arc<Called>>, executors: Arc<Executors<Job>>) -> Self {
        let sees_responses = called.iter().any(|hook| hook.call.on != On::Request);
        let streams = called.iter().any(|hook| matches!(hook.call.on, On::Chunks | On::Events));
        Self { about: Arc::new(about), called: called.into(), executors, sees_responses, streams }
    }

    /// Begins a half.
    fn begin(&self, exchange: &mut Exchange, half: On) -> Step {
        let mut session = take_session(exchange).unwrap_or_else(|| {
            let handle = ExchangeHandle::new(&self.about);
            Box::new(Session { handle, half, next: 0, job: None, parked: Vec::new() })
        });
        session.half = half;
        session.next = if half == On::Request { 0 } else { self.called.len() };
        self.run_hooks(session, exchange)
    }

    /// Calls hook hook after the other, as far as it goes.
    fn run_hooks(&self, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
        let Some(turn) = self.advance(&mut session) else { return self.finish(session, exchange, Step::Continue) };
        if !self.runs_on_worker(&turn) {
            return self.call_on_executor(turn, session, exchange);
        }
        let step = gil::attached(|py| {
            let (mut turn, mut session) = (turn, session);
            loop {
                match self.call_on_worker(py, turn, &mut session, exchange) {
                    WorkerOutcome::Next => {}
                    WorkerOutcome::Done(step) => return self.finish(session, exchange, step),
                    WorkerOutcome::Submit(job) => return self.submit(job, session, exchange),
                }
                match self.advance(&mut session) {
                    None => return self.finish(session, exchange, Step::Continue),
                    Some(next) if self.runs_on_worker(&next) => turn = next,
                    Some(next) => return self.call_on_executor(next, session, exchange),
                }
            }
        });
        // The interpreter is shutting down: what a hook would say is not known.
        step.unwrap_or_else(reject)
    }

    /// The next hook of the half that runs.
    fn advance(&self, session: &mut Session) -> Option<HookTurn> {
        loop {
            let index = if session.half == On::Request {
                session.next += 1;
                session.next - 1
            } else {
                session.next = session.next.checked_sub(1)?;
                session.next
            };
            let on = self.called.get(index)?.call.on;
            if session.half == On::Request {
                if matches!(on, On::Request | On::Around) {
                    return Some((index, None));
                }
            } else if on == On::Response {
                return Some((index, None));
            } else if let Some(slot) = session.parked.iter().position(|(parked, _)| *parked == index) {
                let (_, parked) = session.parked.swap_remove(slot);
                return Some((index, Some(parked)));
            }
        }
    }

    fn runs_on_worker(&self, (index, parked): &HookTurn) -> bool {
        match parked {
            None => matches!(self.called[*index].run(), Run::Worker | Run::Coroutine),
            Some(parked) => matches!(parked, Parked::Coroutine(_)),
        }
    }

    /// Calls a hook on this thread, or goes on with its coroutine.
    fn call_on_worker(
        &self,
        py: Python<'_>,
        (index, parked): HookTurn,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> WorkerOutcome {
        let hook = &self.called[index];
        let half = session.half;
        let result = {
            let _lent = session.handle.lend(exchange);
            let (guard, started) = self.executors.watchdog.begin(py, hook.timeout());
            let result = guarded(py, || call(py, hook, &session.handle, half, parked));
            drop(guard);
            hook.count_call();
            hook.record_duration(started.elapsed());
            result.and_then(|returned| match returned.cast::<Suspended>() {
                Ok(suspended) => Ok(Err(suspended.clone().unbind())),
                Err(_) => answer_of(&returned).map(Ok),
            })
        };
        match result {
            Ok(Ok(None)) => WorkerOutcome::Next,
            Ok(Ok(Some(answer))) => WorkerOutcome::Done(Step::Answer(Box::new(answer))),
            Ok(Err(suspended)) => {
                let Suspended { coroutine, yielded } = suspended.get();
                let coroutine = coroutine.clone_ref(py);
                if yielded.bind(py).is_instance_of::<Next>() {
                    let (called, executors) = (Arc::clone(hook), Arc::clone(&self.executors));
                    session.parked.push((index, Parked::Coroutine(Coroutine { object: coroutine, called, executors })));
                    return WorkerOutcome::Next;
                }
                let job = Job::new(hook, &session.handle, half, Run::Loop, &self.executors);
                job.set_coroutine(index, coroutine, yielded.clone_ref(py));
                WorkerOutcome::Submit(job)
            }
            Err(error) => {
                hook.record_failure_of(py, &String::from_utf8_lossy(&exchange.request.id), &error);
                failure_step(hook).map_or(WorkerOutcome::Next, WorkerOutcome::Done)
            }
        }
    }

    /// Has a hook called elsewhere, or go on there.
    fn call_on_executor(&self, (index, parked): HookTurn, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
        let hook = &self.called[index];
        if let Some(Parked::Job(job)) = parked {
            session.handle.hold(lend_copy(exchange));
            job.deliver_response();
            return wait_for(job, session, exchange);
        }
        let job = Job::new(hook, &session.handle, session.half, hook.run(), &self.executors);
        job.set_index(index);
        session.job = None;
        self.submit(job, session, exchange)
    }

    fn submit(&self, job: Arc<Job>, session: Box<Session>, exchange: &mut Exchange) -> Step {
        session.handle.hold(lend_copy(exchange));
        let accepted = match job.run {
            Run::Pool => self.executors.pool.submit(Arc::clone(&job)),
            _ => self.executors.loop_executor.submit(Arc::clone(&job)),
        };
        if accepted {
            return wait_for(job, session, exchange);
        }
        reclaim(&session, exchange);
        job.called.record_overload(exchange);
        match failure_step(&job.called) {
            Some(step) => self.finish(session, exchange, step),
            None => self.run_hooks(session, exchange),
        }
    }

    /// Keeps the session for the response, or ends it.
    fn finish(&self, session: Box<Session>, exchange: &mut Exchange, step: Step) -> Step {
        if (self.sees_responses && session.half == On::Request) || self.streams {
            store_session(session, exchange);
        }
        step
    }
}

impl Hooks for RouteHooks {
    fn on_request(&self, exchange: &mut Exchange) -> Step {
        self.begin(exchange, On::Request)
    }

    fn on_response(&self, exchange: &mut Exchange) -> Step {
        self.begin(exchange, On::Response)
    }

    fn resume(&self, exchange: &mut Exchange, _in_time: bool) -> Step {
        let Some(mut session) = take_session(exchange) else { return reject() };
        let Some(job) = session.job.take() else { return reject() };
        reclaim(&session, exchange);
        match job.take_outcome() {
            Some(JobOutcome::Pass) => {}
            Some(JobOutcome::PassedOn) => session.parked.push((job.index(), Parked::Job(job))),
            Some(JobOutcome::Answer(answer)) => return self.finish(session, exchange, Step::Answer(answer)),
            failure => {
                if failure.is_none() {
                    job.called.record_timeout(exchange);
                    session.handle.reset_context();
                }
                if let Some(step) = failure_step(&job.called) {
                    return self.finish(session, exchange, step);
                }
            }
        }
        self.run_hooks(session, exchange)
    }

    fn sees_responses(&self) -> bool {
        self.sees_responses
    }

    fn stream(&self, exchange: &mut Exchange) -> Option<Box<dyn HookStream>> {
        let events = exchange.response.is_event_stream();
        let wanted = |hook: &&Arc<Called>| match hook.call.on {
            On::Chunks => true,
            On::Events => events,
            _ => false,
        };
        // As with responses: who comes last sees it first.
        let hooks: Vec<Arc<Called>> = self.called.iter().rev().filter(wanted).cloned().collect();
        let first = hooks.first()?;
        let session = take_session(exchange);
        let handle = session
            .and_then(|session| gil::attached(|py| session.handle.sibling(py)))
            .unwrap_or_else(|| ExchangeHandle::new(&self.about));
        handle.show(exchange.shown());
        let job = Job::new(first, &handle, On::Response, Run::Loop, &self.executors);
        let pipe = Arc::default();
        job.attach_body(&pipe, hooks);
        // Without room for it the body breaks off, which the worker sees at once.
        let accepted = self.executors.loop_executor.submit(Arc::clone(&job));
        if !accepted {
            job.called.record_overload(exchange);
            pipe::abort(&pipe);
        }
        Some(Box::new(Piped { job, pipe }))
    }
}

/// Calls a hook, or goes on with its coroutine.
fn call<'py>(
    py: Python<'py>,
    hook: &Called,
    handle: &Arc<ExchangeHandle>,
    half: On,
    parked: Option<Parked>,
) -> PyResult<Bound<'py, PyAny>> {
    let (context, request) = (handle.context(py)?, handle.request(py)?);
    if let Some(Parked::Coroutine(coroutine)) = parked {
        let response = Bound::new(py, PyResponse::of(request.unbind()))?;
        return context.call1((&drivers(py)?.1, coroutine.object, response));
    }
    if hook.call.run == Run::Worker {
        return hook.invoke(handle, py, half, None);
    }
    let begin = &drivers(py)?.0;
    match hook.call.on {
        On::Request => context.call1((begin, &hook.function, request)),
        On::Around => context.call1((begin, &hook.function, request, CallNext::driven())),
        _ => context.call1((begin, &hook.function, &request, PyResponse::of(request.clone().unbind()))),
    }
}

/// The end of an exchange whose hook has failed.
fn reject() -> Step {
    Step::Reject(Box::new(rejection()))
}

/// What the failure of a hook means; none: the exchange goes on.
fn failure_step(hook: &Called) -> Option<Step> {
    (hook.call.on_error == OnError::Fail).then(reject)
}

/// Waits for a call.
fn wait_for(job: Arc<Job>, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
    let timeout = job.called.timeout();
    session.job = Some(Arc::clone(&job));
    store_session(session, exchange);
    Step::Wait { until: Box::pin(Waiting::new(job)), patience: timeout }
}

/// Makes a copy of the exchange for hooks elsewhere. Its session, which is in nobody's hands now, is not among it.
fn lend_copy(exchange: &mut Exchange) -> Box<Exchange> {
    let lent = exchange.lend();
    exchange.meet_hooks();
    lent
}

fn reclaim(session: &Session, exchange: &mut Exchange) {
    if let Some(mut held) = session.handle.close() {
        exchange.take_back(&mut held);
    }
}

fn store_session(session: Box<Session>, exchange: &mut Exchange) {
    exchange.meet_hooks().session = Some(session);
}

fn take_session(exchange: &mut Exchange) -> Option<Box<Session>> {
    exchange.hooks_mut()?.session.take()?.downcast().ok()
}
