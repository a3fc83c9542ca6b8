//! The way from Python objects to the exchange that they speak of: open while a hook runs, closed otherwise. The
//! request is that way as Python holds it.

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

/// Requests that Python holds.
pub(crate) static LIVE: AtomicUsize = AtomicUsize::new(0);

const OVER: &str = "a request and its response can only be used while a hook of their exchange runs";
const SENT: &str = "a hook that sees the body pass cannot change the exchange: its head is sent already";

/// What is known of a route before any request comes.
pub(crate) struct About {
    pub(crate) route: Box<str>,
    /// Names of the values that its match captures.
    pub(crate) params: Box<[Box<str>]>,
    /// Name of its service.
    pub(crate) service: Option<Box<str>>,
    /// Names of all services.
    pub(crate) services: Arc<BTreeSet<Box<str>>>,
}

/// One exchange as its hooks share it.
pub(crate) struct ExchangeHandle {
    pub(crate) about: Arc<About>,
    access: Mutex<Access>,
    objects: Mutex<Objects>,
}

/// The way to the exchange.
enum Access {
    /// No hook runs.
    Closed,
    /// A hook runs on the worker, which does not touch the exchange meanwhile.
    Lent(NonNull<Exchange>),
    /// A hook runs elsewhere, on a copy.
    Held(Box<Exchange>),
    /// A hook sees the body pass: what it could change is sent already.
    Shown(Box<Exchange>),
}

/// Why the exchange cannot be looked at or changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shut {
    /// No hook runs.
    Over,
    /// What would be changed is sent already.
    Sent,
}

// SAFETY: the pointer is followed only under the lock, and only between `ExchangeHandle::lend` and the end of what it
// returns; for that time the worker that owns the exchange leaves it alone.
unsafe impl Send for Access {}

/// What is made when Python first needs it. It ends with the exchange, not when the collector finds the cycle.
#[derive(Default)]
struct Objects {
    request: Option<Py<PyRequest>>,
    /// The `run` of the `contextvars.Context` that all hooks of the exchange run in.
    context: Option<Py<PyAny>>,
    state: Option<Py<PyDict>>,
}

/// Takes the exchange back when it is dropped.
pub(crate) struct Lent<'h>(&'h ExchangeHandle);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.0.access.lock() = Access::Closed;
    }
}

impl ExchangeHandle {
    pub(crate) fn new(about: &Arc<About>) -> Arc<Self> {
        Arc::new(Self { about: Arc::clone(about), access: Mutex::new(Access::Closed), objects: Mutex::default() })
    }

    /// Another way to the same exchange, with the same state and context, for what goes on when this one has ended.
    pub(crate) fn sibling(&self, py: Python<'_>) -> Arc<Self> {
        let (state, context) = {
            let objects = self.objects.lock();
            let copy = |object: &Py<PyAny>| object.clone_ref(py);
            (objects.state.as_ref().map(|state| state.clone_ref(py)), objects.context.as_ref().map(copy))
        };
        let objects = Objects { request: None, context, state };
        Arc::new(Self {
            about: Arc::clone(&self.about),
            access: Mutex::new(Access::Closed),
            objects: Mutex::new(objects),
        })
    }

    /// Opens the way to the exchange until what is returned is dropped. The caller leaves `exchange` alone for that
    /// time.
    pub(crate) fn lend(&self, exchange: &mut Exchange) -> Lent<'_> {
        *self.access.lock() = Access::Lent(NonNull::from(exchange));
        Lent(self)
    }

    /// Gives the hooks an exchange of their own.
    pub(crate) fn hold(&self, exchange: Box<Exchange>) {
        *self.access.lock() = Access::Held(exchange);
    }

    /// Gives the hooks a copy of an exchange whose head is sent.
    pub(crate) fn show(&self, exchange: Box<Exchange>) {
        *self.access.lock() = Access::Shown(exchange);
    }

    /// Closes the way to the exchange, and takes back what was held.
    pub(crate) fn close(&self) -> Option<Box<Exchange>> {
        match std::mem::replace(&mut *self.access.lock(), Access::Closed) {
            Access::Held(exchange) | Access::Shown(exchange) => Some(exchange),
            Access::Closed | Access::Lent(_) => None,
        }
    }

    /// Looks at the exchange. `read` must not run Python code: the way is locked meanwhile.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&mut Exchange) -> T) -> Result<T, Shut> {
        match &mut *self.access.lock() {
            // SAFETY: see `Access`.
            Access::Lent(exchange) => Ok(read(unsafe { exchange.as_mut() })),
            Access::Held(exchange) | Access::Shown(exchange) => Ok(read(exchange)),
            Access::Closed => Err(Shut::Over),
        }
    }

    /// The same for what changes it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Exchange) -> T) -> Result<T, Shut> {
        match &mut *self.access.lock() {
            // SAFETY: see `Access`.
            Access::Lent(exchange) => Ok(change(unsafe { exchange.as_mut() })),
            Access::Held(exchange) => Ok(change(exchange)),
            Access::Shown(_) => Err(Shut::Sent),
            Access::Closed => Err(Shut::Over),
        }
    }

    /// The request as Python sees it, the same object for all hooks of the exchange.
    pub(crate) fn request<'py>(self: &Arc<Self>, py: Python<'py>) -> PyResult<Bound<'py, PyRequest>> {
        let existing = self.objects.lock().request.as_ref().map(|request| request.clone_ref(py));
        if let Some(existing) = existing {
            return Ok(existing.into_bound(py));
        }
        let request = Bound::new(py, PyRequest::new(Arc::clone(self)))?;
        self.objects.lock().request = Some(request.clone().unbind());
        Ok(request)
    }

    /// The `run` of the context that hooks of the exchange run in.
    pub(crate) fn context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static CONTEXT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let existing = self.objects.lock().context.as_ref().map(|context| context.clone_ref(py));
        if let Some(existing) = existing {
            return Ok(existing.into_bound(py));
        }
        let run = CONTEXT.import(py, "contextvars", "Context")?.call0()?.getattr(intern!(py, "run"))?;
        self.objects.lock().context = Some(run.clone().unbind());
        Ok(run)
    }

    /// Gives hooks that follow a new context: one that does not end is still in this one.
    pub(crate) fn reset_context(&self) {
        let context = self.objects.lock().context.take();
        drop(context);
    }

    /// What hooks keep for each other.
    pub(crate) fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        // Made outside the lock: making a dict may run the garbage collector, and that may run anything.
        let existing = self.objects.lock().state.as_ref().map(|state| state.clone_ref(py));
        if let Some(existing) = existing {
            return existing.into_bound(py);
        }
        let state = PyDict::new(py);
        self.objects.lock().state = Some(state.clone().unbind());
        state
    }

    /// Closes it for good: the exchange is over.
    pub(crate) fn end(&self) {
        let held = self.close();
        let objects = std::mem::take(&mut *self.objects.lock());
        drop((held, objects));
    }
}

/// A request on its way through the gateway. It can be used while a hook of its exchange runs, and not later.
#[pyclass(name = "Request", frozen, module = "pylae.hooks")]
pub(crate) struct PyRequest(pub(crate) Arc<ExchangeHandle>);

impl PyRequest {
    pub(crate) fn new(handle: Arc<ExchangeHandle>) -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self(handle)
    }

    /// Looks at the exchange. `read` must not run Python code: the way to the exchange is locked meanwhile.
    pub(crate) fn with<T>(&self, py: Python<'_>, read: impl FnOnce(&mut Exchange) -> T) -> PyResult<T> {
        self.0.with(read).map_err(|shut| refusal(py, shut))
    }

    /// The same for what changes the exchange.
    pub(crate) fn change<T>(&self, py: Python<'_>, change: impl FnOnce(&mut Exchange) -> T) -> PyResult<T> {
        self.0.change(change).map_err(|shut| refusal(py, shut))
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
