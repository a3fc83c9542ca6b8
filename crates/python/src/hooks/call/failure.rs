//! Failures of hooks: their description for the log, the rejection for the client, and forks.

use std::cell::Cell;

use pylae_core::Rejection;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

thread_local! {
    /// True while a hook runs on this thread.
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
    /// True in a child process that a hook forked. It must not continue as the gateway.
    static FORKED: Cell<bool> = const { Cell::new(false) };
}

/// Marks a child process that a hook forked. Registered with `os.register_at_fork`.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    if IN_HOOK.get() {
        FORKED.set(true);
    }
}

/// Runs `call` as a hook. If the hook forked and the child returns here, the child exits: the sockets belong to the
/// parent.
pub(crate) fn guarded<T>(py: Python<'_>, call: impl FnOnce() -> T) -> T {
    IN_HOOK.set(true);
    let value = call();
    IN_HOOK.set(false);
    end_if_forked(py);
    value
}

/// Marks this thread as one that runs only hooks.
pub(crate) fn mark_hook_thread() {
    IN_HOOK.set(true);
}

/// Exits if this is a child process that a hook forked.
pub(crate) fn end_if_forked(py: Python<'_>) {
    if FORKED.get() {
        let _ = py.import("os").and_then(|os| os.call_method1("_exit", (0,)));
        std::process::abort();
    }
}

/// Returns the answer that a hook has raised as `pylae.HTTPError`, or None for any other exception.
pub(crate) fn refusal_of(py: Python<'_>, error: &PyErr) -> Option<Box<Rejection>> {
    static HTTP_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let kind = HTTP_ERROR.import(py, "pylae.errors", "HTTPError").ok()?;
    let error = error.value(py);
    if !error.is_instance(kind).ok()? {
        return None;
    }
    // Its constructor has checked all of them.
    let message: String = error.getattr(intern!(py, "detail")).ok()?.extract().ok()?;
    let headers: Vec<(String, String)> = error.getattr(intern!(py, "headers")).ok()?.extract().ok()?;
    Some(Box::new(Rejection {
        status: error.getattr(intern!(py, "status")).ok()?.extract().ok()?,
        code: "http_error",
        message: message.into(),
        headers: headers.into_iter().map(|(name, value)| (name.into(), value)).collect(),
    }))
}

/// Maximum bytes of a description, because the log keeps many.
const MAX_LENGTH: usize = 16 * 1024;

/// Removes the middle of a long text. The start of a traceback tells where it failed, the end why.
fn truncate_middle(text: &str) -> String {
    if text.len() <= MAX_LENGTH {
        return text.to_owned();
    }
    let boundary = |place: usize| (0..=place).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
    let (head, tail) = (boundary(MAX_LENGTH / 2), boundary(text.len() - MAX_LENGTH / 2));
    format!("{}\n[{} bytes left out]\n{}", &text[..head], tail - head, &text[tail..])
}

/// Formats an exception with its traceback.
pub(crate) fn describe(py: Python<'_>, error: &PyErr) -> String {
    let formatted = py.import("traceback").and_then(|traceback| {
        let exception = (error.get_type(py), error.value(py), error.traceback(py));
        let lines = traceback.call_method1("format_exception", exception)?;
        lines.extract::<Vec<String>>()
    });
    match formatted {
        Ok(lines) => truncate_middle(lines.concat().trim_end()),
        Err(_) => truncate_middle(&error.to_string()),
    }
}
