//! The hooks of one route, and how they are called one after the other.

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

/// The hooks of one route.
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
            let (duty, _) = self.executors.watchdog.begin(py, self.called.timeout());
            let closed = guarded(py, || {
                let close = self.object.bind(py).getattr(intern!(py, "close"))?;
                handle.context(py)?.call1((close,))
            });
            drop(duty);
            if let Err(error) = closed {
                self.called.note_failure(py, handle, &error);
            }
        });
    }
}

/// A hook that is to be called, or goes on with the response.
type HookTurn = (usize, Option<Parked>);

/// What a call on the worker has come to.
enum Local {
    /// The next hook is to be called.
    Next,
    /// The exchange is answered, or fails.
    Over(Step),
    /// It goes on elsewhere.
    Away(Arc<Job>),
}

impl RouteHooks {
    pub(crate) fn new(about: About, called: Vec<Arc<Called>>, executors: Arc<Executors<Job>>) -> Self {
        let sees_responses = called.iter().any(|one| one.call.on != On::Request);
        let streams = called.iter().any(|one| matches!(one.call.on, On::Chunks | On::Events));
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
        self.go_on(session, exchange)
    }

    /// Calls one hook after the other, as far as it goes.
    fn go_on(&self, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
        let Some(turn) = self.advance(&mut session) else { return self.finish(session, exchange, Step::Continue) };
        if !self.runs_here(&turn) {
            return self.away(turn, session, exchange);
        }
        let step = gil::attached(|py| {
            let (mut turn, mut session) = (turn, session);
            loop {
                match self.here(py, turn, &mut session, exchange) {
                    Local::Next => {}
                    Local::Over(step) => return self.finish(session, exchange, step),
                    Local::Away(job) => return self.submit(job, session, exchange),
                }
                match self.advance(&mut session) {
                    None => return self.finish(session, exchange, Step::Continue),
                    Some(next) if self.runs_here(&next) => turn = next,
                    Some(next) => return self.away(next, session, exchange),
                }
            }
        });
        // The interpreter is shutting down: what a hook would say is not known.
        step.unwrap_or_else(failed)
    }

    /// The next hook of the half that runs.
    fn advance(&self, session: &mut Session) -> Option<HookTurn> {
        loop {
            let place = if session.half == On::Request {
                session.next += 1;
                session.next - 1
            } else {
                session.next = session.next.checked_sub(1)?;
                session.next
            };
            let on = self.called.get(place)?.call.on;
            if session.half == On::Request {
                if matches!(on, On::Request | On::Around) {
                    return Some((place, None));
                }
            } else if on == On::Response {
                return Some((place, None));
            } else if let Some(index) = session.parked.iter().position(|(parked, _)| *parked == place) {
                let (_, parked) = session.parked.swap_remove(index);
                return Some((place, Some(parked)));
            }
        }
    }

    fn runs_here(&self, (place, parked): &HookTurn) -> bool {
        match parked {
            None => matches!(self.called[*place].run(), Run::Worker | Run::Coroutine),
            Some(parked) => matches!(parked, Parked::Coroutine(_)),
        }
    }

    /// Calls a hook on this thread, or goes on with its coroutine.
    fn here(&self, py: Python<'_>, (place, parked): HookTurn, session: &mut Session, exchange: &mut Exchange) -> Local {
        let one = &self.called[place];
        let half = session.half;
        let result = {
            let _lent = session.handle.lend(exchange);
            let (duty, began) = self.executors.watchdog.begin(py, one.timeout());
            let result = guarded(py, || call(py, one, &session.handle, half, parked));
            drop(duty);
            one.count();
            one.took(began.elapsed());
            result.and_then(|returned| match returned.cast::<Suspended>() {
                Ok(suspended) => Ok(Err(suspended.clone().unbind())),
                Err(_) => answer_of(&returned).map(Ok),
            })
        };
        match result {
            Ok(Ok(None)) => Local::Next,
            Ok(Ok(Some(answer))) => Local::Over(Step::Answer(Box::new(answer))),
            Ok(Err(suspended)) => {
                let Suspended { coroutine, yielded } = suspended.get();
                let coroutine = coroutine.clone_ref(py);
                if yielded.bind(py).is_instance_of::<Next>() {
                    let (called, executors) = (Arc::clone(one), Arc::clone(&self.executors));
                    session.parked.push((place, Parked::Coroutine(Coroutine { object: coroutine, called, executors })));
                    return Local::Next;
                }
                let job = Job::new(one, &session.handle, half, Run::Loop, &self.executors);
                job.begin_with(place, coroutine, yielded.clone_ref(py));
                Local::Away(job)
            }
            Err(error) => {
                one.note(py, &String::from_utf8_lossy(&exchange.request.id), &error);
                fate(one).map_or(Local::Next, Local::Over)
            }
        }
    }

    /// Has a hook called elsewhere, or go on there.
    fn away(&self, (place, parked): HookTurn, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
        let one = &self.called[place];
        if let Some(Parked::Job(job)) = parked {
            session.handle.hold(lend(exchange));
            job.answer();
            return wait(job, session, exchange);
        }
        let job = Job::new(one, &session.handle, session.half, one.run(), &self.executors);
        job.at(place);
        session.job = None;
        self.submit(job, session, exchange)
    }

    fn submit(&self, job: Arc<Job>, session: Box<Session>, exchange: &mut Exchange) -> Step {
        session.handle.hold(lend(exchange));
        let taken = match job.run {
            Run::Pool => self.executors.pool.submit(Arc::clone(&job)),
            _ => self.executors.loop_executor.submit(Arc::clone(&job)),
        };
        if taken {
            return wait(job, session, exchange);
        }
        take_back(&session, exchange);
        job.called.note_crowd(exchange);
        match fate(&job.called) {
            Some(step) => self.finish(session, exchange, step),
            None => self.go_on(session, exchange),
        }
    }

    /// Keeps the session for the response, or ends it.
    fn finish(&self, session: Box<Session>, exchange: &mut Exchange, step: Step) -> Step {
        if (self.sees_responses && session.half == On::Request) || self.streams {
            keep(session, exchange);
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
        let Some(mut session) = take_session(exchange) else { return failed() };
        let Some(job) = session.job.take() else { return failed() };
        take_back(&session, exchange);
        match job.take_outcome() {
            Some(JobOutcome::Pass) => {}
            Some(JobOutcome::PassedOn) => session.parked.push((job.place(), Parked::Job(job))),
            Some(JobOutcome::Answer(answer)) => return self.finish(session, exchange, Step::Answer(answer)),
            failure => {
                if failure.is_none() {
                    job.called.note_timeout(exchange);
                    session.handle.leave_context();
                }
                if let Some(step) = fate(&job.called) {
                    return self.finish(session, exchange, step);
                }
            }
        }
        self.go_on(session, exchange)
    }

    fn sees_responses(&self) -> bool {
        self.sees_responses
    }

    fn stream(&self, exchange: &mut Exchange) -> Option<Box<dyn HookStream>> {
        let events = exchange.response.is_event_stream();
        let wanted = |one: &&Arc<Called>| match one.call.on {
            On::Chunks => true,
            On::Events => events,
            _ => false,
        };
        // As with responses: who comes last sees it first.
        let hooks: Vec<Arc<Called>> = self.called.iter().rev().filter(wanted).cloned().collect();
        let first = hooks.first()?;
        let session = take_session(exchange);
        let handle = session
            .and_then(|session| gil::attached(|py| session.handle.beside(py)))
            .unwrap_or_else(|| ExchangeHandle::new(&self.about));
        handle.show(exchange.shown());
        let job = Job::new(first, &handle, On::Response, Run::Loop, &self.executors);
        let pipe = Arc::default();
        job.about(&pipe, hooks);
        // Without room for it the body breaks off, which the worker sees at once.
        let taken = self.executors.loop_executor.submit(Arc::clone(&job));
        if !taken {
            job.called.note_crowd(exchange);
            pipe::refuse(&pipe);
        }
        Some(Box::new(Piped { job, pipe }))
    }
}

/// Calls a hook, or goes on with its coroutine.
fn call<'py>(
    py: Python<'py>,
    one: &Called,
    handle: &Arc<ExchangeHandle>,
    half: On,
    parked: Option<Parked>,
) -> PyResult<Bound<'py, PyAny>> {
    let (context, request) = (handle.context(py)?, handle.request(py)?);
    if let Some(Parked::Coroutine(coroutine)) = parked {
        let response = Bound::new(py, PyResponse::of(request.unbind()))?;
        return context.call1((&drivers(py)?.1, coroutine.object, response));
    }
    if one.call.run == Run::Worker {
        return one.enter(handle, py, half, None);
    }
    let begin = &drivers(py)?.0;
    match one.call.on {
        On::Request => context.call1((begin, &one.function, request)),
        On::Around => context.call1((begin, &one.function, request, CallNext::driven())),
        _ => context.call1((begin, &one.function, &request, PyResponse::of(request.clone().unbind()))),
    }
}

/// The end of an exchange whose hook has failed.
fn failed() -> Step {
    Step::Reject(Box::new(rejection()))
}

/// What the failure of a hook means; none: the exchange goes on.
fn fate(one: &Called) -> Option<Step> {
    (one.call.on_error == OnError::Fail).then(failed)
}

/// Waits for a call.
fn wait(job: Arc<Job>, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
    let patience = job.called.timeout();
    session.job = Some(Arc::clone(&job));
    keep(session, exchange);
    Step::Wait { until: Box::pin(Waiting::new(job)), patience }
}

/// Makes a copy of the exchange for hooks elsewhere. Its session, which is in nobody's hands now, is not among it.
fn lend(exchange: &mut Exchange) -> Box<Exchange> {
    let lent = exchange.lend();
    exchange.meet_hooks();
    lent
}

fn take_back(session: &Session, exchange: &mut Exchange) {
    if let Some(mut held) = session.handle.close() {
        exchange.take_back(&mut held);
    }
}

fn keep(session: Box<Session>, exchange: &mut Exchange) {
    exchange.meet_hooks().session = Some(session);
}

fn take_session(exchange: &mut Exchange) -> Option<Box<Session>> {
    exchange.hooks_mut()?.session.take()?.downcast().ok()
}
