//! The hooks of one route, and how they are called one after the other.

use std::sync::Arc;

use pylae_core::hook::{Call, Hooks, On, Step};
use pylae_core::{Answer, Exchange};
use pylae_proxy::Log;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;

use super::failure::{failed, guarded, rejection};
use super::request::{About, Request};
use super::response::Response;
use crate::gil;

/// A hook, ready to be called.
pub(crate) struct Called {
    pub(crate) call: Call,
    pub(crate) function: Py<PyAny>,
}

impl Called {
    pub(crate) fn new(call: Call, function: Py<PyAny>) -> Self {
        Self { call, function }
    }
}

/// The hooks of one route.
pub(crate) struct RouteHooks {
    about: Arc<About>,
    called: Box<[Called]>,
    log: Arc<Log>,
    sees_responses: bool,
}

/// What hooks keep of an exchange between their calls.
struct Session {
    request: Py<Request>,
    /// The `contextvars.Context` that all hooks of the exchange run in, as its `run`.
    context: Py<PyAny>,
    /// Which half runs.
    half: On,
    /// The next hook: counts up with requests, and down with responses.
    next: usize,
}

impl RouteHooks {
    pub(crate) fn new(about: About, called: Vec<Called>, log: Arc<Log>) -> Self {
        let sees_responses = called.iter().any(|one| one.call.on == On::Response);
        Self { about: Arc::new(about), called: called.into(), log, sees_responses }
    }

    fn open(&self, py: Python<'_>, half: On) -> PyResult<Session> {
        let next = if half == On::Request { 0 } else { self.called.len() };
        let context = py.import(intern!(py, "contextvars"))?.getattr(intern!(py, "Context"))?.call0()?;
        let context = context.getattr(intern!(py, "run"))?.unbind();
        Ok(Session { request: Py::new(py, Request::new(&self.about))?, context, half, next })
    }

    /// Calls one hook after the other, as far as it goes.
    fn go_on(&self, py: Python<'_>, mut session: Session, exchange: &mut Exchange) -> Step {
        let step = loop {
            let Some(one) = self.advance(&mut session) else { break Step::Continue };
            let result = {
                let request = session.request.bind(py);
                let _lent = request.get().lend(exchange);
                guarded(py, || one.run(&session.context.bind(py).clone(), request))
            };
            match result {
                Ok(None) => {}
                Ok(Some(answer)) => break Step::Answer(Box::new(answer)),
                Err(error) => {
                    if let Some(rejection) = failed(py, &self.log, &self.about.route, &one.call, exchange, &error) {
                        break Step::Reject(rejection);
                    }
                }
            }
        };
        self.put_away(py, session, exchange);
        step
    }

    /// The next hook of the half that runs.
    fn advance(&self, session: &mut Session) -> Option<&Called> {
        loop {
            let one = match session.half {
                On::Request => self.called.get(session.next)?,
                On::Response => &self.called[session.next.checked_sub(1)?],
            };
            match session.half {
                On::Request => session.next += 1,
                On::Response => session.next -= 1,
            }
            if one.call.on == session.half {
                return Some(one);
            }
        }
    }

    /// Keeps the session for the response, or ends it.
    fn put_away(&self, py: Python<'_>, session: Session, exchange: &mut Exchange) {
        if self.sees_responses && session.half == On::Request {
            exchange.hooks.get_or_insert_default().session = Some(Box::new(session));
        } else {
            let forgotten = session.request.get().forget();
            drop((py, forgotten, session));
        }
    }
}

impl Called {
    /// Calls it on this thread. An answer: it gives one.
    fn run<'py>(&self, context: &Bound<'py, PyAny>, request: &Bound<'py, Request>) -> PyResult<Option<Answer>> {
        let py = request.py();
        let returned = match self.call.on {
            On::Request => context.call1((&self.function, request))?,
            On::Response => context.call1((&self.function, request, Response::of(request.clone().unbind())))?,
        };
        answer_of(py, &returned)
    }
}

/// What a hook has returned: a response, or None.
fn answer_of(py: Python<'_>, returned: &Bound<'_, PyAny>) -> PyResult<Option<Answer>> {
    if returned.is_none() {
        return Ok(None);
    }
    if let Ok(response) = returned.cast::<Response>() {
        return Ok(response.get().answer());
    }
    let kind = returned.get_type().name()?;
    let _ = py;
    Err(PyTypeError::new_err(format!("a hook returns a Response or None, not {kind}")))
}

impl Hooks for RouteHooks {
    fn on_request(&self, exchange: &mut Exchange) -> Step {
        self.enter(exchange, On::Request)
    }

    fn on_response(&self, exchange: &mut Exchange) -> Step {
        self.enter(exchange, On::Response)
    }

    fn resume(&self, _exchange: &mut Exchange, _in_time: bool) -> Step {
        Step::Continue
    }

    fn sees_responses(&self) -> bool {
        self.sees_responses
    }
}

impl RouteHooks {
    /// Begins a half.
    fn enter(&self, exchange: &mut Exchange, half: On) -> Step {
        let kept = exchange.hooks.as_mut().and_then(|visit| visit.session.take());
        let kept = kept.and_then(|session| session.downcast::<Session>().ok());
        let entered = gil::attached(|py| {
            let session = match kept {
                Some(kept) => Session { half, next: self.called.len(), ..*kept },
                None => match self.open(py, half) {
                    Ok(session) => session,
                    Err(_) => return Step::Reject(rejection()),
                },
            };
            self.go_on(py, session, exchange)
        });
        entered.unwrap_or_else(|| Step::Reject(rejection()))
    }
}
