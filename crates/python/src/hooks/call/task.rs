//! What the asyncio loop takes from the executor, and what it says of each call.

use std::sync::Arc;

use pylae_core::hook::On;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::failure::{end_if_forked, mark_hook_thread};
use super::job::{Job, JobOutcome};
use super::stream::Pieces;
use crate::hooks::executor::Executors;
use crate::hooks::message::made::PyResponse;

/// The loop's end of the executor.
#[pyclass(name = "Executor", frozen, module = "pylae.hooks")]
pub(crate) struct PyExecutor(pub(crate) Arc<Executors<Job>>);

#[pymethods]
impl PyExecutor {
    /// What becomes readable when there are calls.
    fn fileno(&self) -> i32 {
        self.0.loop_executor.fileno()
    }

    /// Calls and news of calls since it was last asked.
    fn take_tasks(&self, py: Python<'_>) -> Vec<Task> {
        end_if_forked(py);
        mark_hook_thread();
        self.0.loop_executor.take_queued().into_iter().map(Task).collect()
    }

    /// Wakes the workers whose calls have come to something since it was last called.
    fn wake_workers(&self) {
        self.0.loop_executor.wake_workers();
    }

    /// Whether the engine has stopped.
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
    /// The same number for the same call.
    #[getter]
    fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether nobody waits for it any more.
    #[getter]
    fn abandoned(&self) -> bool {
        self.0.is_abandoned()
    }

    /// Whether the response that `call_next` waits for is there.
    #[getter]
    fn has_response(&self) -> bool {
        self.0.has_response()
    }

    /// Says that it begins: True, or the pieces of a body if it is about one. False: nobody waits for it any more, and
    /// it is over.
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

    /// The `contextvars.Context` that it runs in.
    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.0.handle.context(py)?.getattr("__self__")
    }

    /// The response that `call_next` comes back with.
    fn response(&self, py: Python<'_>) -> PyResult<PyResponse> {
        Ok(PyResponse::of(self.0.handle.request(py)?.unbind()))
    }

    /// Says that it is over, where that is all there is to say.
    fn end(&self) {
        self.0.executors.loop_executor.job_finished();
    }

    /// Calls the hook: what it returns, or a coroutine that was suspended on a worker with what it has yielded.
    fn call<'py>(&self, py: Python<'py>, next: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let job = &self.0;
        if let Some(suspended) = job.take_coroutine() {
            return Ok(suspended.into_pyobject(py)?.into_any());
        }
        let next = (job.called.call.on == On::Around).then_some(next);
        job.called.count_call();
        job.called.invoke(&job.handle, py, job.half, next)
    }

    /// Says that the hook has called `call_next`.
    fn pass_on(&self, py: Python<'_>) {
        end_if_forked(py);
        self.0.complete(JobOutcome::PassedOn);
    }

    /// Says what the hook has returned.
    fn finish(&self, py: Python<'_>, value: Bound<'_, PyAny>) {
        end_if_forked(py);
        self.0.complete_with(py, Ok(value));
        self.0.executors.loop_executor.job_finished();
    }

    /// Says what the hook has raised.
    fn fail(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        end_if_forked(py);
        self.0.complete_with(py, Err(PyErr::from_value(error)));
        self.0.executors.loop_executor.job_finished();
    }
}
