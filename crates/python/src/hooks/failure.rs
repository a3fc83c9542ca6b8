//! What becomes of a hook that fails: a record in the log, and the end of the exchange or not.

use std::cell::Cell;

use pylae_core::Rejection;
use pyo3::prelude::*;

thread_local! {
    /// A hook runs on this thread.
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
    /// This is the child of a fork that a hook has made: it must not go on as if it were the gateway.
    static FORKED: Cell<bool> = const { Cell::new(false) };
}

/// Notes a fork. Registered with `os.register_at_fork`.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    if IN_HOOK.get() {
        FORKED.set(true);
    }
}

/// Runs `call` as a hook: if it comes back in a forked child, the child ends here. The gateway's sockets are the parent's.
pub(crate) fn guarded<T>(py: Python<'_>, call: impl FnOnce() -> T) -> T {
    IN_HOOK.set(true);
    let value = call();
    IN_HOOK.set(false);
    if FORKED.get() {
        let _ = py.import("os").and_then(|os| os.call_method1("_exit", (0,)));
        std::process::abort();
    }
    value
}

/// What the client learns: nothing of the inside.
pub(crate) fn rejection() -> Box<Rejection> {
    let message = "the request could not be processed".into();
    Box::new(Rejection { status: 500, code: "hook_failed", message, headers: Vec::new() })
}

/// An exception with its traceback.
pub(crate) fn described(py: Python<'_>, error: &PyErr) -> String {
    let formatted = py.import("traceback").and_then(|traceback| {
        let lines = traceback.call_method1("format_exception", (error.value(py),))?;
        lines.extract::<Vec<String>>()
    });
    match formatted {
        Ok(lines) => lines.concat().trim_end().to_owned(),
        Err(_) => error.to_string(),
    }
}
