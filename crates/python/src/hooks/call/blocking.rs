//! A call on a thread of the pool.

use std::sync::Arc;

use pylae_core::hook::On;
use pyo3::prelude::*;

use super::failure::guarded;
use super::job::Job;
use super::next::CallNext;

/// Runs a call on this thread.
pub(crate) fn run(py: Python<'_>, job: &Arc<Job>) {
    let (duty, _) = job.executors.watchdog.begin(py, job.called.timeout());
    if !job.start(Some(duty.turn())) {
        return;
    }
    job.called.count();
    let result = guarded(py, || {
        let around = job.called.call.on == On::Around;
        let next = around.then(|| Bound::new(py, CallNext::blocking(Arc::clone(job)))).transpose()?;
        job.called.enter(&job.handle, py, job.half, next.as_ref().map(Bound::as_any))
    });
    drop(duty);
    job.conclude(py, result);
}
