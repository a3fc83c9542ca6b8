//! The Python class of the thread that receives signals.

use std::sync::Arc;
use std::time::Duration;

use pylae_proxy::SignalEvent;
use pyo3::prelude::*;

use crate::engine::PyEngine;
use crate::gil;

/// Receives signals on a thread of its own, and has the engine stop without the interpreter.
#[pyclass(name = "Signals", frozen)]
pub(crate) struct PySignals(pylae_proxy::Signals);

#[pymethods]
impl PySignals {
    #[new]
    fn start() -> PyResult<Self> {
        Ok(Self(pylae_proxy::Signals::start()?))
    }

    /// Returns the file descriptor for `signal.set_wakeup_fd`.
    fn fileno(&self) -> i32 {
        self.0.descriptor()
    }

    /// Sets the engine that signals stop.
    fn attach(&self, py: Python<'_>, engine: &PyEngine) {
        let engine = Arc::clone(&engine.plane);
        gil::detached(py, || self.0.attach(&engine));
    }

    /// Returns the next event, or None if there is none for `patience` seconds.
    fn wait(&self, py: Python<'_>, patience: f64) -> Option<&'static str> {
        let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
        gil::detached(py, || self.0.wait(patience)).map(name)
    }

    /// Tells the one who waits that the gateway has stopped.
    fn stopped(&self) {
        self.0.push(SignalEvent::Stopped);
    }

    /// Ends the process if a stop was asked for and a hook does not return.
    fn finish(&self) {
        self.0.finish();
    }

    /// Ends the thread. A stop that was asked for no longer ends the process then.
    fn end(&self) {
        self.0.end();
    }
}

fn name(event: SignalEvent) -> &'static str {
    match event {
        SignalEvent::Stop => "stop",
        SignalEvent::StopAtOnce => "stop_at_once",
        SignalEvent::Reload => "reload",
        SignalEvent::Upgrade => "upgrade",
        SignalEvent::Stopped => "stopped",
    }
}
