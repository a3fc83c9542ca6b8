//! Calls on threads of the pool.

use std::sync::Arc;

use pylae_core::hook::On;
use pyo3::prelude::*;

use super::failure::guarded;
use super::job::Job;
use super::next::CallNext;

/// Runs a call on this thread of the pool.
pub(crate) fn run(py: Python<'_>, job: &Arc<Job>) {
    let (guard, _) = job.executors.watchdog.begin(py, &*job.called);
    if !job.start(Some(guard.watched_call())) {
        return;
    }
    job.called.count_call();
    let result = guarded(py, || {
        let around = job.called.call.on == On::Around;
        let next = around.then(|| Bound::new(py, CallNext::blocking(Arc::clone(job)))).transpose()?;
        job.called.invoke(&job.handle, py, job.half, next.as_ref().map(Bound::as_any))
    });
    drop(guard);
    job.complete_with(py, result);
}
