//! Interrupts a call by raising an exception in its thread. Code outside the interpreter (in C, or waiting) gets the
//! exception when it returns.

use pyo3::prelude::*;
use pyo3::{PyTypeInfo, create_exception, exceptions::PyBaseException, ffi};

create_exception!(
    _native,
    HookTimeout,
    PyBaseException,
    "Raised in a hook that takes longer than its `timeout`. Not an Exception, so that it is not caught by mistake."
);

/// Raises `exception` in a thread, or withdraws a pending one if it is null. The caller must be attached.
pub(super) fn interrupt(thread: std::ffi::c_ulong, exception: *mut ffi::PyObject) {
    // SAFETY: the caller is attached; the interpreter takes its own reference and checks that the thread exists.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread.cast_signed(), exception) };
}

/// Has an exception that may be pending in this thread raised, and discards it.
///
/// It cannot just be withdrawn: the interpreter remembers for all threads that there is one until one is raised
/// (`pending.async_exc` in its `ceval.c`), and checks for it at every call of a function until then. While calls are
/// traced Python 3.11 does nothing else.
pub(super) fn discard_interrupt(py: Python<'_>, ident: std::ffi::c_ulong) {
    // It may have been raised already: then this is the one that is discarded.
    interrupt(ident, HookTimeout::type_object(py).as_ptr());
    if py.eval(c"None", None, None).is_ok() {
        interrupt(ident, std::ptr::null_mut());
    }
}
