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

/// Runs `call` as a hook: if it comes back in a forked child, the child ends here. The gateway's sockets are the
/// parent's.
pub(crate) fn guarded<T>(py: Python<'_>, call: impl FnOnce() -> T) -> T {
    IN_HOOK.set(true);
    let value = call();
    IN_HOOK.set(false);
    end_if_forked(py);
    value
}

/// Says that this thread runs nothing but hooks from now on.
pub(crate) fn mark_hook_thread() {
    IN_HOOK.set(true);
}

/// Ends this process if it is the child of a fork that a hook has made.
pub(crate) fn end_if_forked(py: Python<'_>) {
    if FORKED.get() {
        let _ = py.import("os").and_then(|os| os.call_method1("_exit", (0,)));
        std::process::abort();
    }
}

/// What the client learns: nothing of the inside.
pub(crate) fn rejection() -> Rejection {
    let message = "the request could not be processed".into();
    Rejection { status: 500, code: "hook_failed", message, headers: Vec::new() }
}

/// Bytes of a description, of which the log keeps many.
const MAX_LENGTH: usize = 16 * 1024;

/// `text` without its middle if it is long: the beginning says where, the end says what.
fn truncate_middle(text: &str) -> String {
    if text.len() <= MAX_LENGTH {
        return text.to_owned();
    }
    let boundary = |place: usize| (0..=place).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
    let (head, tail) = (boundary(MAX_LENGTH / 2), boundary(text.len() - MAX_LENGTH / 2));
    format!("{}\n[{} bytes left out]\n{}", &text[..head], tail - head, &text[tail..])
}

/// An exception with its traceback.
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
