//! `call_next`, and coroutines driven on a worker.

use std::ptr;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use pyo3::{ffi, wrap_pyfunction};

use super::job::{Job, JobOutcome};
use crate::errors::hook_error;
use crate::gil;
use crate::hooks::executor::watchdog::{self, WatchedHook};
use crate::hooks::message::made::PyResponse;

/// The callable with which a middleware passes the request on.
#[pyclass(frozen, module = "pylae.hooks")]
pub(crate) struct CallNext {
    /// The call of a blocking hook; None for a coroutine on a worker.
    job: Option<Arc<Job>>,
    called: Mutex<bool>,
}

impl CallNext {
    pub(crate) fn blocking(job: Arc<Job>) -> Self {
        Self { job: Some(job), called: Mutex::new(false) }
    }

    pub(crate) fn driven() -> Self {
        Self { job: None, called: Mutex::new(false) }
    }
}

#[pymethods]
impl CallNext {
    fn __call__(&self, py: Python<'_>, _request: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        if std::mem::replace(&mut *self.called.lock(), true) {
            return Err(hook_error(py, "call_next can be called once"));
        }
        let Some(job) = &self.job else {
            return Ok(Bound::new(py, Next(Mutex::new(false)))?.into_any().unbind());
        };
        if !job.executors.pool.park() {
            return Err(hook_error(py, "too many middlewares wait for responses on threads; async ones need none"));
        }
        watchdog::pause();
        let responded = gil::detached(py, || {
            job.complete(JobOutcome::PassedOn);
            job.wait_for_response()
        });
        job.executors.pool.unpark();
        if !responded {
            return Err(hook_error(py, "the exchange is over: nobody waits for this response"));
        }
        watchdog::resume(job.called.timeout());
        let response = PyResponse::of(job.handle.request(py)?.unbind());
        Ok(Bound::new(py, response)?.into_any().unbind())
    }
}

/// The awaitable that `call_next` returns on a worker. It yields itself, and then returns the value that is sent.
#[pyclass(frozen, module = "pylae.hooks")]
pub(crate) struct Next(Mutex<bool>);

#[pymethods]
impl Next {
    fn __await__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[expect(clippy::self_named_constructors, reason = "the name is Python's")]
    fn __next__(this: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        this.get().step(&py.None().into_bound(py))?;
        Ok(this)
    }

    fn send(this: Py<Self>, value: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        this.get().step(value)?;
        Ok(this)
    }
}

impl Next {
    /// Does nothing the first time, then returns `value` by raising `StopIteration`.
    fn step(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if std::mem::replace(&mut *self.0.lock(), true) {
            return Err(PyStopIteration::new_err((value.clone().unbind(),)));
        }
        Ok(())
    }
}

/// A suspended coroutine, and the value it yielded.
#[pyclass(frozen, module = "pylae.hooks")]
pub(crate) struct Suspended {
    pub(crate) coroutine: Py<PyAny>,
    pub(crate) yielded: Py<PyAny>,
}

impl Suspended {
    /// Whether it has called `call_next`, and waits for the response.
    pub(crate) fn is_passed_on(&self, py: Python<'_>) -> bool {
        self.yielded.bind(py).is_instance_of::<Next>()
    }
}

/// Calls a coroutine function and drives the coroutine. Returns its value, or a `Suspended`.
#[pyfunction]
#[pyo3(signature = (function, *arguments))]
fn begin<'py>(function: &Bound<'py, PyAny>, arguments: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    resume(&function.call1(arguments)?, &py.None().into_bound(py))
}

/// Sends a value into a coroutine and drives it. Returns its value, or a `Suspended`.
#[pyfunction]
fn resume<'py>(coroutine: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = coroutine.py();
    let mut result = ptr::null_mut();
    // SAFETY: both objects are alive, and the result is a new reference unless there is an error.
    let sent = unsafe { ffi::PyIter_Send(coroutine.as_ptr(), value.as_ptr(), &raw mut result) };
    match sent {
        ffi::PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
        // SAFETY: see above.
        ffi::PySendResult::PYGEN_RETURN => Ok(unsafe { Bound::from_owned_ptr(py, result) }),
        ffi::PySendResult::PYGEN_NEXT => {
            // SAFETY: see above.
            let yielded = unsafe { Bound::from_owned_ptr(py, result) }.unbind();
            Ok(Bound::new(py, Suspended { coroutine: coroutine.clone().unbind(), yielded })?.into_any())
        }
    }
}

/// Returns `begin` and `resume` as Python functions, created once. They are called inside a context.
pub(crate) fn drivers(py: Python<'_>) -> PyResult<&(Py<PyAny>, Py<PyAny>)> {
    static DRIVERS: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    DRIVERS.get_or_try_init(py, || {
        let begin = wrap_pyfunction!(begin, py)?.into_any().unbind();
        let resume = wrap_pyfunction!(resume, py)?.into_any().unbind();
        Ok((begin, resume))
    })
}
