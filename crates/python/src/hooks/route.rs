//! The hooks of one route, or of the early stage, called one after the other.

use std::sync::Arc;
use std::time::Instant;

use pylae_core::Exchange;
use pylae_core::hook::{self, HookStream, Hooks, On, OnError, Run, Step};
use pylae_proxy::{GateOpen, step_began};
use pyo3::prelude::*;

use super::call::called::Called;
use super::call::failure::{guarded, refusal_of};
use super::call::job::{Job, JobOutcome};
use super::call::next::{CallNext, Suspended, drivers};
use super::call::pipe;
use super::call::returned::answer_of;
use super::call::stream::Piped;
use super::executor::Executors;
use super::executor::watchdog::WatchedHook;
use super::message::handle::{About, ExchangeHandle};
use super::message::made::PyResponse;
use super::session::{
    Coroutine, HookTurn, Parked, Session, early_handle, lend_copy, pass, reclaim, record_call, store_session,
    take_session, wait_for,
};
use super::spans;
use crate::gil::{self, GATE};

/// The hooks of one route.
pub(crate) struct RouteHooks {
    about: Arc<About>,
    called: Box<[Arc<Called>]>,
    executors: Arc<Executors<Job>>,
    sees_responses: bool,
    /// Whether any hook streams response bodies.
    streams: bool,
}

/// The outcome of a call on the worker.
enum WorkerOutcome {
    /// Continue with the next hook.
    Next,
    /// The exchange is answered, or has failed.
    Done(Step),
    /// The call continues on an executor.
    Submit(Arc<Job>),
}

impl RouteHooks {
    pub(crate) fn new(about: About, called: Vec<Arc<Called>>, executors: Arc<Executors<Job>>) -> Self {
        let sees_responses = called.iter().any(|hook| !matches!(hook.call.on, On::Request | On::Authenticate));
        let streams = called.iter().any(|hook| matches!(hook.call.on, On::Chunks | On::Events));
        Self { about: Arc::new(about), called: called.into(), executors, sees_responses, streams }
    }

    /// Starts a half.
    fn begin(&self, exchange: &mut Exchange, half: On, refused: bool) -> Step {
        let mut session = take_session(&self.about, exchange).unwrap_or_else(|| {
            let handle = ExchangeHandle::new(&self.about, early_handle(exchange));
            Box::new(Session {
                handle,
                half,
                refused,
                next: 0,
                job: None,
                parked: Vec::new(),
                at_gate: None,
                gate_deadline: None,
                began: pylae_core::Instant::default(),
            })
        });
        session.half = half;
        session.next = if half == On::Request { 0 } else { self.called.len() };
        self.run_hooks(session, exchange)
    }

    /// Calls the remaining hooks of the half in order, until one answers, fails or has to wait.
    fn run_hooks(&self, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
        match self.advance(&mut session) {
            Some(turn) => self.run_from(turn, session, exchange),
            None => self.finish(session, exchange, Step::Continue),
        }
    }

    /// Calls the hooks of the half from this one on.
    fn run_from(&self, turn: HookTurn, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
        if !self.runs_on_worker(&turn) {
            return self.call_on_executor(turn, session, exchange);
        }
        let Some(pass) = pass(&self.executors) else { return self.wait_at_gate(turn, session, exchange) };
        session.gate_deadline = None;
        let step = gil::attached_worker(&pass, |py| {
            let (mut turn, mut session) = (turn, session);
            loop {
                match self.call_on_worker(py, turn, &mut session, exchange) {
                    WorkerOutcome::Next => {}
                    WorkerOutcome::Done(step) => return self.finish(session, exchange, step),
                    WorkerOutcome::Submit(job) => return self.submit(job, session, exchange),
                }
                match self.advance(&mut session) {
                    // Dropped here, where its objects cost least.
                    None if self.is_over(py, &session) => return Step::Continue,
                    None => return self.finish(session, exchange, Step::Continue),
                    Some(next) if self.runs_on_worker(&next) => turn = next,
                    Some(next) => return self.call_on_executor(next, session, exchange),
                }
            }
        });
        // The interpreter is shutting down, so no hook can decide.
        step.unwrap_or_else(reject)
    }

    /// Waits until the worker may enter the interpreter, as long as the call may take.
    fn wait_at_gate(&self, turn: HookTurn, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
        let now = Instant::now();
        let most = self.called[turn.0].timeout();
        let deadline = *session.gate_deadline.get_or_insert_with(|| now.checked_add(most).unwrap_or(now));
        session.at_gate = Some(turn);
        store_session(session, exchange);
        let executors = Arc::clone(&self.executors);
        let until = Box::pin(GateOpen::new(&GATE, move || executors.watchdog.is_held()));
        Step::Wait { until, timeout: deadline.saturating_duration_since(now) }
    }

    /// Does not make a call, because this hook or another one does not return.
    fn refuse(&self, index: usize, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
        let hook = &self.called[index];
        hook.record_refusal(exchange, &self.executors.watchdog.reason());
        session.gate_deadline = None;
        match hook.call.on_error {
            OnError::Fail => self.finish(session, exchange, Step::Reject(Box::new(hook::stuck()))),
            OnError::Skip => self.run_hooks(session, exchange),
        }
    }

    /// Returns the next hook of the running half.
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
                if matches!(on, On::Request | On::Around | On::Authenticate) {
                    return Some((index, None));
                }
            } else if on == On::Response {
                if !session.refused || self.called[index].call.malformed {
                    return Some((index, None));
                }
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

    /// Calls a hook on this thread, or resumes its coroutine.
    fn call_on_worker(
        &self,
        py: Python<'_>,
        (index, parked): HookTurn,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> WorkerOutcome {
        let hook = &self.called[index];
        let (half, resumed) = (session.half, parked.is_some());
        let began = step_began(exchange);
        spans::begin(exchange);
        let result = {
            let _lent = session.handle.lend(exchange);
            let (guard, started) = self.executors.watchdog.begin(py, &**hook);
            let result = guarded(py, || call(py, hook, &session.handle, half, parked));
            drop(guard);
            if !resumed {
                hook.count_call();
            }
            hook.record_duration(started.elapsed());
            result.and_then(|returned| match returned.cast::<Suspended>() {
                Ok(suspended) => Ok(Err(suspended.clone().unbind())),
                Err(_) => answer_of(&session.handle, half, hook.call.on, &returned).map(Ok),
            })
        };
        if !matches!(&result, Ok(Err(suspended)) if !suspended.get().is_passed_on(py)) {
            let failed = matches!(&result, Err(error) if refusal_of(py, error).is_none());
            record_call(&self.about, exchange, (index, half, failed), began);
        }
        match result {
            Ok(Ok(None)) => WorkerOutcome::Next,
            Ok(Ok(Some(answer))) => WorkerOutcome::Done(Step::Answer(Box::new(answer))),
            Ok(Err(suspended)) => {
                let Suspended { coroutine, yielded } = suspended.get();
                let coroutine = coroutine.clone_ref(py);
                if suspended.get().is_passed_on(py) {
                    let (called, executors) = (Arc::clone(hook), Arc::clone(&self.executors));
                    session.parked.push((index, Parked::Coroutine(Coroutine { object: coroutine, called, executors })));
                    return WorkerOutcome::Next;
                }
                session.began = began;
                let job = Job::new(hook, &session.handle, half, Run::Loop, &self.executors);
                job.set_coroutine(index, coroutine, yielded.clone_ref(py));
                WorkerOutcome::Submit(job)
            }
            Err(error) => {
                if let Some(refusal) = refusal_of(py, &error) {
                    return WorkerOutcome::Done(Step::Reject(refusal));
                }
                hook.record_failure_of(py, &String::from_utf8_lossy(&exchange.request.id), &error);
                failure_step(hook).map_or(WorkerOutcome::Next, WorkerOutcome::Done)
            }
        }
    }

    /// Calls or resumes a hook on an executor.
    fn call_on_executor(&self, (index, parked): HookTurn, mut session: Box<Session>, exchange: &mut Exchange) -> Step {
        let hook = &self.called[index];
        session.began = step_began(exchange);
        spans::begin(exchange);
        if let Some(Parked::Job(job)) = parked {
            session.handle.hold(lend_copy(exchange));
            job.deliver_response();
            return wait_for(job, session, exchange);
        }
        if hook.is_stuck() {
            return self.refuse(index, session, exchange);
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

    /// Returns true if neither the response nor later hooks need the session of early hooks.
    fn is_over(&self, py: Python<'_>, session: &Session) -> bool {
        self.about.is_early()
            && !self.sees_responses
            && session.half == On::Request
            && session.parked.is_empty()
            && session.handle.holds_nothing(py).unwrap_or(false)
    }

    /// Stores the session if the response needs it, and drops it otherwise.
    fn finish(&self, session: Box<Session>, exchange: &mut Exchange, step: Step) -> Step {
        // The state of early hooks is that of the others.
        let is_early = self.about.is_early();
        if ((self.sees_responses || is_early) && session.half == On::Request) || self.streams {
            store_session(session, exchange);
        }
        step
    }
}

impl Hooks for RouteHooks {
    fn on_request(&self, exchange: &mut Exchange) -> Step {
        self.begin(exchange, On::Request, false)
    }

    fn on_response(&self, exchange: &mut Exchange) -> Step {
        self.begin(exchange, On::Response, false)
    }

    fn on_refusal(&self, exchange: &mut Exchange) -> Step {
        self.begin(exchange, On::Response, true)
    }

    fn resume(&self, exchange: &mut Exchange, in_time: bool) -> Step {
        let Some(mut session) = take_session(&self.about, exchange) else { return reject() };
        if let Some((index, parked)) = session.at_gate.take() {
            if in_time {
                return self.run_from((index, parked), session, exchange);
            }
            // Kept, so that it is closed in the end.
            session.parked.extend(parked.map(|parked| (index, parked)));
            return self.refuse(index, session, exchange);
        }
        let Some(job) = session.job.take() else { return reject() };
        reclaim(&session, exchange);
        let outcome = job.take_outcome();
        let failed = matches!(outcome, None | Some(JobOutcome::Failed));
        record_call(&self.about, exchange, (job.index(), session.half, failed), session.began);
        match outcome {
            Some(JobOutcome::Pass) => {}
            Some(JobOutcome::PassedOn) => session.parked.push((job.index(), Parked::Job(job))),
            Some(JobOutcome::Answer(answer)) => return self.finish(session, exchange, Step::Answer(answer)),
            Some(JobOutcome::Refuse(refusal)) => return self.finish(session, exchange, Step::Reject(refusal)),
            failure => {
                if failure.is_none() {
                    session.handle.reset_context();
                    // The hook is not to blame if others have kept it from being called.
                    if !job.has_started() {
                        return self.refuse(job.index(), session, exchange);
                    }
                    job.called.record_timeout(exchange);
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
        // As in the response half, the last hook comes first.
        let hooks: Vec<Arc<Called>> = self.called.iter().rev().filter(wanted).cloned().collect();
        let first = hooks.first()?;
        let session = take_session(&self.about, exchange);
        let handle = session
            .and_then(|session| gil::attached_worker(&pass(&self.executors)?, |py| session.handle.sibling(py)))
            .unwrap_or_else(|| ExchangeHandle::new(&self.about, None));
        handle.show(exchange.detach_snapshot());
        let job = Job::new(first, &handle, On::Response, Run::Loop, &self.executors);
        let pipe = Arc::default();
        job.attach_body(&pipe, hooks);
        // If the executor is full, the body is aborted, which the worker sees at once.
        let accepted = self.executors.loop_executor.submit(Arc::clone(&job));
        if !accepted {
            job.called.record_overload(exchange);
            pipe::abort(&pipe);
        }
        Some(Box::new(Piped { job, pipe }))
    }
}

/// Calls a hook, or resumes its coroutine with the response.
fn call<'py>(
    py: Python<'py>,
    hook: &Called,
    handle: &Arc<ExchangeHandle>,
    half: On,
    parked: Option<Parked>,
) -> PyResult<Bound<'py, PyAny>> {
    // A function is never parked.
    if hook.call.run == Run::Worker {
        return hook.invoke(handle, py, half, None);
    }
    let (context, request) = (handle.context(py)?, handle.request(py)?);
    spans::enter(py, &context, handle)?;
    if let Some(Parked::Coroutine(coroutine)) = parked {
        let response = Bound::new(py, PyResponse::of(request.unbind()))?;
        return context.call1((&drivers(py)?.1, coroutine.object, response));
    }
    let begin = &drivers(py)?.0;
    match hook.call.on {
        On::Request | On::Authenticate => context.call1((begin, &hook.function, request)),
        On::Around => context.call1((begin, &hook.function, request, CallNext::driven())),
        _ => context.call1((begin, &hook.function, &request, PyResponse::of(request.clone().unbind()))),
    }
}

/// Rejects an exchange whose hook has failed.
fn reject() -> Step {
    Step::Reject(Box::new(hook::failure()))
}

/// Returns the step that follows a failure of this hook, or None if the exchange continues.
fn failure_step(hook: &Called) -> Option<Step> {
    (hook.call.on_error == OnError::Fail).then(reject)
}
