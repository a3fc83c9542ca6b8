//! Gives Python objects access to their exchange while a hook runs, and none otherwise. Python holds the handle as the
//! request.

use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use pylae_core::Exchange;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::errors::hook_error;

/// Number of requests that Python holds.
pub(crate) static LIVE: AtomicUsize = AtomicUsize::new(0);

const OVER: &str = "a request and its response can only be used while a hook of their exchange runs";
const READ_ONLY: &str = "an authenticator changes nothing of the request: it returns who the client is, or a Response";
const SENT: &str = "a hook that sees the body pass cannot change the exchange: its head is sent already";

/// What hooks may do with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestAccess {
    /// Read and change it.
    Change,
    /// Read it.
    Read,
    /// Read the parts of it that are credentials.
    Key,
}

/// The static properties of a route, of the early stage, or of an authenticator.
pub(crate) struct About {
    /// What hooks may do with the request.
    pub(crate) access: RequestAccess,
    /// Name of the route; None in the early stage, and for an authenticator.
    pub(crate) route: Option<Box<str>>,
    /// Names of all routes, in the order of the plan.
    pub(crate) routes: Arc<[Box<str>]>,
    /// Names of the values that the route's match captures.
    pub(crate) params: Box<[Box<str>]>,
    /// Names of the route's limits that are settled.
    pub(crate) settled: Box<[Box<str>]>,
    /// Name of the route's service.
    pub(crate) service: Option<Box<str>>,
    /// Names of all services.
    pub(crate) services: Arc<BTreeSet<Box<str>>>,
}

/// The handle of one exchange, shared by its hooks.
pub(crate) struct ExchangeHandle {
    pub(crate) about: Arc<About>,
    outer: Option<Arc<ExchangeHandle>>,
    access: Mutex<Access>,
    objects: Mutex<Objects>,
}

/// How the exchange can be accessed.
enum Access {
    /// Not at all: no hook is running.
    Closed,
    /// Through a pointer: a hook runs on the worker, which does not touch the exchange meanwhile.
    Lent(NonNull<Exchange>),
    /// As a copy: a hook runs on an executor.
    Held(Box<Exchange>),
    /// As a read-only copy: a hook streams the body, and the head has been sent.
    Shown(Box<Exchange>),
}

/// Why the exchange cannot be read or changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shut {
    /// No hook is running.
    Over,
    /// The head has been sent.
    Sent,
}

// SAFETY: the pointer is dereferenced only under the lock, and only between `ExchangeHandle::lend` and the drop of the
// guard it returns; during that time the worker that owns the exchange does not access it.
unsafe impl Send for Access {}

/// Python objects that are created on first use. They are dropped with the exchange, rather than when the garbage
/// collector finds the cycle.
#[derive(Default)]
struct Objects {
    request: Option<Py<PyRequest>>,
    /// The `run` method of the `contextvars.Context` in which all hooks of the exchange run.
    context: Option<Py<PyAny>>,
    state: Option<Py<PyDict>>,
    /// What hooks have put under the keys of the request that stand for the answer.
    answer: Option<Py<PyDict>>,
    /// The exchange is over. Nothing is kept from then on: a request here would keep itself.
    over: bool,
}

/// Revokes access to the exchange when dropped.
pub(crate) struct Lent<'h>(&'h ExchangeHandle);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.0.access.lock() = Access::Closed;
    }
}

impl About {
    /// True before the hooks of a route: in the early stage, and for an authenticator.
    pub(crate) fn is_early(&self) -> bool {
        self.route.is_none()
    }
}

impl ExchangeHandle {
    /// `outer` is the handle of the early stage, whose state and context are those of all hooks of the exchange.
    pub(crate) fn new(about: &Arc<About>, outer: Option<Arc<Self>>) -> Arc<Self> {
        let (access, objects) = (Mutex::new(Access::Closed), Mutex::default());
        Arc::new(Self { about: Arc::clone(about), outer, access, objects })
    }

    /// Creates another handle with the same state and context, for hooks that continue after this handle has ended.
    pub(crate) fn sibling(&self, py: Python<'_>) -> Arc<Self> {
        let (state, context) = {
            let objects = self.outermost().objects.lock();
            let copy = |object: &Py<PyAny>| object.clone_ref(py);
            (objects.state.as_ref().map(|state| state.clone_ref(py)), objects.context.as_ref().map(copy))
        };
        let objects = Objects { context, state, ..Objects::default() };
        Arc::new(Self {
            about: Arc::clone(&self.about),
            outer: None,
            access: Mutex::new(Access::Closed),
            objects: Mutex::new(objects),
        })
    }

    /// The handle whose state and context are used.
    fn outermost(&self) -> &Self {
        self.outer.as_deref().unwrap_or(self)
    }

    /// Gives the hooks access to the exchange until the guard is dropped. The caller must not access `exchange`
    /// meanwhile.
    pub(crate) fn lend(&self, exchange: &mut Exchange) -> Lent<'_> {
        *self.access.lock() = Access::Lent(NonNull::from(exchange));
        Lent(self)
    }

    /// Gives the hooks a copy of the exchange, which they may change.
    pub(crate) fn hold(&self, exchange: Box<Exchange>) {
        *self.access.lock() = Access::Held(exchange);
    }

    /// Gives the hooks a read-only copy of an exchange whose head has been sent.
    pub(crate) fn show(&self, exchange: Box<Exchange>) {
        *self.access.lock() = Access::Shown(exchange);
    }

    /// Ends access to the exchange and returns the copy, if there was one.
    pub(crate) fn close(&self) -> Option<Box<Exchange>> {
        match std::mem::replace(&mut *self.access.lock(), Access::Closed) {
            Access::Held(exchange) | Access::Shown(exchange) => Some(exchange),
            Access::Closed | Access::Lent(_) => None,
        }
    }

    /// Reads the exchange. `read` must not run Python code, because the handle is locked meanwhile.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&mut Exchange) -> T) -> Result<T, Shut> {
        match &mut *self.access.lock() {
            // SAFETY: see `Access`.
            Access::Lent(exchange) => Ok(read(unsafe { exchange.as_mut() })),
            Access::Held(exchange) | Access::Shown(exchange) => Ok(read(exchange)),
            Access::Closed => Err(Shut::Over),
        }
    }

    /// Changes the exchange. `change` must not run Python code, because the handle is locked meanwhile.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Exchange) -> T) -> Result<T, Shut> {
        match &mut *self.access.lock() {
            // SAFETY: see `Access`.
            Access::Lent(exchange) => Ok(change(unsafe { exchange.as_mut() })),
            Access::Held(exchange) => Ok(change(exchange)),
            Access::Shown(_) => Err(Shut::Sent),
            Access::Closed => Err(Shut::Over),
        }
    }

    /// Returns the Python request, which is the same object for all hooks of the exchange.
    pub(crate) fn request<'py>(self: &Arc<Self>, py: Python<'py>) -> PyResult<Bound<'py, PyRequest>> {
        let existing = self.objects.lock().request.as_ref().map(|request| request.clone_ref(py));
        if let Some(existing) = existing {
            return Ok(existing.into_bound(py));
        }
        let request = Bound::new(py, PyRequest::new(Arc::clone(self)))?;
        self.keep(|objects| objects.request = Some(request.clone().unbind()));
        Ok(request)
    }

    /// Returns the `run` method of the context in which hooks of the exchange run.
    pub(crate) fn context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static CONTEXT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let existing = self.outermost().objects.lock().context.as_ref().map(|context| context.clone_ref(py));
        if let Some(existing) = existing {
            return Ok(existing.into_bound(py));
        }
        let run = CONTEXT.import(py, "contextvars", "Context")?.call0()?.getattr(intern!(py, "run"))?;
        self.outermost().keep(|objects| objects.context = Some(run.clone().unbind()));
        Ok(run)
    }

    /// Gives later hooks a new context, because a hook that has timed out may still be in this one.
    pub(crate) fn reset_context(&self) {
        let context = self.outermost().objects.lock().context.take();
        drop(context);
    }

    /// Returns the dict that the hooks of the exchange share.
    pub(crate) fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        // Created outside the lock: creating a dict may run the garbage collector, which may run any code.
        let existing = self.outermost().objects.lock().state.as_ref().map(|state| state.clone_ref(py));
        if let Some(existing) = existing {
            return existing.into_bound(py);
        }
        let state = PyDict::new(py);
        self.outermost().keep(|objects| objects.state = Some(state.clone().unbind()));
        state
    }

    /// Returns the dict for what hooks put under the keys of the request that stand for the answer; unless `create`,
    /// None if there is none.
    pub(crate) fn answer<'py>(&self, py: Python<'py>, create: bool) -> Option<Bound<'py, PyDict>> {
        let existing = self.outermost().objects.lock().answer.as_ref().map(|answer| answer.clone_ref(py));
        if existing.is_some() || !create {
            return existing.map(|answer| answer.into_bound(py));
        }
        let answer = PyDict::new(py);
        self.outermost().keep(|objects| objects.answer = Some(answer.clone().unbind()));
        Some(answer)
    }

    /// Returns true if hooks have left nothing for those that come later: no state, no answer, no context variable.
    pub(crate) fn holds_nothing(&self, py: Python<'_>) -> PyResult<bool> {
        let run = {
            let objects = self.objects.lock();
            if self.outer.is_some() || objects.state.is_some() || objects.answer.is_some() {
                return Ok(false);
            }
            objects.context.as_ref().map(|run| run.clone_ref(py))
        };
        let Some(run) = run else { return Ok(true) };
        run.bind(py).getattr(intern!(py, "__self__"))?.is_empty()
    }

    /// Keeps an object that was created on first use. A call that has timed out may create one when the exchange is
    /// over.
    fn keep(&self, put: impl FnOnce(&mut Objects)) {
        let mut objects = self.objects.lock();
        if !objects.over {
            put(&mut objects);
        }
    }

    /// Ends access for good and drops all objects, because the exchange is over.
    pub(crate) fn end(&self) {
        let held = self.close();
        let objects = std::mem::replace(&mut *self.objects.lock(), Objects { over: true, ..Objects::default() });
        drop((held, objects));
    }
}

/// A request on its way through the gateway. It can be used only while a hook of its exchange runs.
#[pyclass(name = "Request", frozen, module = "pylae.hooks")]
pub(crate) struct PyRequest(pub(crate) Arc<ExchangeHandle>);

impl PyRequest {
    pub(crate) fn new(handle: Arc<ExchangeHandle>) -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self(handle)
    }

    /// Reads the exchange. `read` must not run Python code, because the handle is locked meanwhile.
    pub(crate) fn with<T>(&self, py: Python<'_>, read: impl FnOnce(&mut Exchange) -> T) -> PyResult<T> {
        self.0.with(read).map_err(|shut| refusal(py, shut))
    }

    /// Changes the exchange. `change` must not run Python code, because the handle is locked meanwhile.
    pub(crate) fn change<T>(&self, py: Python<'_>, change: impl FnOnce(&mut Exchange) -> T) -> PyResult<T> {
        if self.0.about.access != RequestAccess::Change {
            return Err(hook_error(py, READ_ONLY));
        }
        self.0.change(change).map_err(|shut| refusal(py, shut))
    }

    /// Raises `HookError` if the function that asks for the attribute `name` sees only credentials.
    pub(crate) fn refuse_hidden(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        if self.0.about.access != RequestAccess::Key {
            return Ok(());
        }
        let why = format!(
            "request.{name} is hidden from this authenticator: it sees only what its `key` names, because what it says \
             is remembered by that"
        );
        Err(hook_error(py, &why))
    }
}

fn refusal(py: Python<'_>, shut: Shut) -> PyErr {
    hook_error(
        py,
        match shut {
            Shut::Over => OVER,
            Shut::Sent => SENT,
        },
    )
}

impl Drop for PyRequest {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}
