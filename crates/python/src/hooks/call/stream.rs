//! Passes a response body through async generators on the loop. Defines the two ends of a [`Pipe`].

use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use pylae_core::hook::{HookFailed, HookStream, On};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::called::Called;
use super::failure::end_if_forked;
use super::job::Job;
use super::pipe::{MAX_QUEUED, Pipe, update};
use crate::hooks::message::made::PyResponse;

/// The worker's end of a pipe.
pub(crate) struct Piped {
    pub(crate) job: Arc<Job>,
    pub(crate) pipe: Arc<Mutex<Pipe>>,
}

impl HookStream for Piped {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pipe = self.pipe.lock();
        if pipe.input.len() < MAX_QUEUED || pipe.finished || pipe.failed {
            return Poll::Ready(());
        }
        pipe.register_waker(cx);
        Poll::Pending
    }

    fn push(&mut self, piece: &[u8], end: bool) {
        {
            let mut pipe = self.pipe.lock();
            // After the generators have ended, the rest of the body is discarded.
            if !piece.is_empty() && !pipe.finished {
                pipe.input.push_back(piece.to_vec());
            }
            pipe.input_ended |= end;
        }
        self.job.notify_body();
    }

    fn poll_pull(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<bool, HookFailed>> {
        let mut pipe = self.pipe.lock();
        if let Some(piece) = pipe.output.pop_front() {
            let was_full = pipe.output.len() + 1 >= MAX_QUEUED;
            drop(pipe);
            out.extend_from_slice(&piece);
            if was_full {
                self.job.notify_body();
            }
            return Poll::Ready(Ok(true));
        }
        if pipe.failed {
            return Poll::Ready(Err(HookFailed));
        }
        // The instance's body is still read to its end, so that its connection can be reused.
        if pipe.finished && pipe.input_ended {
            return Poll::Ready(Ok(false));
        }
        pipe.register_waker(cx);
        Poll::Pending
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let finished = {
            let pipe = self.pipe.lock();
            pipe.finished || pipe.failed
        };
        if !finished {
            self.job.abandon();
        }
        self.job.handle.end();
    }
}

/// The loop's end of a pipe.
#[pyclass(frozen, module = "pylae.hooks")]
pub(crate) struct Pieces {
    pub(crate) job: Arc<Job>,
    pub(crate) pipe: Arc<Mutex<Pipe>>,
    pub(crate) hooks: Vec<Arc<Called>>,
}

#[pymethods]
impl Pieces {
    /// Returns the next piece, None at the end, or False if no piece is available yet.
    fn read<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let mut piece = None;
        let mut ended = false;
        update(&self.pipe, |pipe| {
            piece = pipe.input.pop_front();
            ended = pipe.input_ended;
        });
        match piece {
            Some(piece) => PyBytes::new(py, &piece).into_any(),
            None if ended => py.None().into_bound(py),
            None => pyo3::types::PyBool::new(py, false).to_owned().into_any(),
        }
    }

    /// Writes a piece to the worker. Returns True if there is room for another.
    fn write(&self, py: Python<'_>, piece: &Bound<'_, PyBytes>) -> bool {
        end_if_forked(py);
        let bytes = piece.as_bytes().to_vec();
        let mut has_room = true;
        update(&self.pipe, |pipe| {
            if !bytes.is_empty() {
                pipe.output.push_back(bytes);
            }
            has_room = pipe.output.len() < MAX_QUEUED;
        });
        has_room
    }

    /// True if there is room for another piece.
    #[getter]
    fn has_room(&self) -> bool {
        self.pipe.lock().output.len() < MAX_QUEUED
    }

    /// Chains the hooks in response order: each receives the pieces that the one before it yields.
    fn call<'py>(
        &self,
        py: Python<'py>,
        pieces: Bound<'py, PyAny>,
        adapt: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = self.job.handle.request(py)?;
        let mut pieces = pieces;
        for hook in &self.hooks {
            hook.count_call();
            let response = PyResponse::of(request.clone().unbind());
            let events = hook.call.on == On::Events;
            pieces = adapt.call1((&hook.function, &request, response, pieces, events))?;
        }
        Ok(pieces)
    }

    /// Ends the body.
    fn finish(&self, py: Python<'_>) {
        end_if_forked(py);
        update(&self.pipe, |pipe| pipe.finished = true);
    }

    /// Aborts the body and logs the exception that a hook raised.
    fn fail(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        if !self.job.is_abandoned() {
            self.job.called.record_failure(py, &self.job.handle, &PyErr::from_value(error));
        }
        update(&self.pipe, |pipe| pipe.failed = true);
    }
}
