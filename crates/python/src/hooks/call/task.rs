//! The asyncio loop's interface to the executor: it takes calls and reports their outcomes.

use std::sync::Arc;

use pylae_core::hook::On;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::failure::{end_if_forked, mark_hook_thread};
use super::job::{Job, JobOutcome};
use super::stream::Pieces;
use crate::hooks::executor::Executors;
use crate::hooks::message::made::PyResponse;

/// The loop's side of the executor.
#[pyclass(name = "Executor", frozen, module = "pylae.hooks")]
pub(crate) struct PyExecutor(pub(crate) Arc<Executors<Job>>);

#[pymethods]
impl PyExecutor {
    /// Returns a file descriptor that becomes readable when there are calls.
    fn fileno(&self) -> i32 {
        self.0.loop_executor.fileno()
    }

    /// Takes the new calls, and the calls with news, since the last time.
    fn take_tasks(&self, py: Python<'_>) -> Vec<Task> {
        end_if_forked(py);
        mark_hook_thread();
        self.0.loop_executor.take_queued().into_iter().map(Task).collect()
    }

    /// Wakes the workers whose calls have completed since the last time.
    fn wake_workers(&self) {
        self.0.loop_executor.wake_workers();
    }

    /// True once the engine has stopped.
    #[getter]
    fn stopped(&self) -> bool {
        self.0.loop_executor.is_stopped()
    }
}

/// A call for the loop.
#[pyclass(frozen, module = "pylae.hooks")]
pub(crate) struct Task(pub(crate) Arc<Job>);

#[pymethods]
impl Task {
    /// Identifies the call.
    #[getter]
    fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// True once the worker no longer waits for the call.
    #[getter]
    fn abandoned(&self) -> bool {
        self.0.is_abandoned()
    }

    /// True once the response for `call_next` has arrived.
    #[getter]
    fn has_response(&self) -> bool {
        self.0.has_response()
    }

    /// Starts the call. Returns True, or the pieces if the call streams a body. Returns False if the call was abandoned
    /// or has started before.
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let truth = |value| PyBool::new(py, value).to_owned().into_any();
        if !self.0.claim() {
            return Ok(truth(false));
        }
        if !self.0.start(None) {
            self.0.executors.loop_executor.job_finished();
            return Ok(truth(false));
        }
        match self.0.body() {
            None => Ok(truth(true)),
            Some((pipe, hooks)) => Ok(Bound::new(py, Pieces { job: Arc::clone(&self.0), pipe, hooks })?.into_any()),
        }
    }

    /// The `contextvars.Context` in which the hook runs.
    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.0.handle.context(py)?.getattr("__self__")
    }

    /// Returns the response for `call_next`.
    fn response(&self, py: Python<'_>) -> PyResult<PyResponse> {
        Ok(PyResponse::of(self.0.handle.request(py)?.unbind()))
    }

    /// Marks the call as finished without an outcome.
    fn end(&self) {
        self.0.executors.loop_executor.job_finished();
    }

    /// Calls the hook and returns its result. Returns the coroutine and the value it yielded instead if the hook was
    /// suspended on a worker.
    fn call<'py>(&self, py: Python<'py>, next: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let job = &self.0;
        if let Some(suspended) = job.take_coroutine() {
            return Ok(suspended.into_pyobject(py)?.into_any());
        }
        let next = (job.called.call.on == On::Around).then_some(next);
        job.called.count_call();
        job.called.invoke(&job.handle, py, job.half, next)
    }

    /// Reports that the hook called `call_next`.
    fn pass_on(&self, py: Python<'_>) {
        end_if_forked(py);
        self.0.complete(JobOutcome::PassedOn);
    }

    /// Reports what the hook returned.
    fn finish(&self, py: Python<'_>, value: Bound<'_, PyAny>) {
        end_if_forked(py);
        self.0.complete_with(py, Ok(value));
        self.0.executors.loop_executor.job_finished();
    }

    /// Reports what the hook raised.
    fn fail(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        end_if_forked(py);
        self.0.complete_with(py, Err(PyErr::from_value(error)));
        self.0.executors.loop_executor.job_finished();
    }
}
