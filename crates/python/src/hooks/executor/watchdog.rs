//! Interrupts hooks that exceed their timeout, by raising an exception in their thread. Code outside the interpreter
//! (in C, or waiting) gets the exception when it returns.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::{PyTypeInfo, create_exception, exceptions::PyBaseException, ffi};

use crate::gil;

create_exception!(
    _native,
    HookTimeout,
    PyBaseException,
    "Raised in a hook that takes longer than its `timeout`. Not an Exception, so that it is not caught by mistake."
);

/// Interval between checks.
const TICK: Duration = Duration::from_millis(25);

thread_local! {
    static THREAD: RefCell<Option<Arc<WatchedThread>>> = const { RefCell::new(None) };
}

/// Watches threads that run hooks. Its own thread starts with the first hook.
#[derive(Default)]
pub(crate) struct Watchdog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    threads: Vec<Weak<WatchedThread>>,
    running: bool,
    stopped: bool,
}

/// A thread that runs hooks.
pub(crate) struct WatchedThread(Mutex<ThreadState>);

#[derive(Default)]
struct ThreadState {
    /// The interpreter's identifier of the thread.
    ident: std::ffi::c_ulong,
    /// Counts the hooks that were started on the thread.
    sequence: u64,
    /// When the running hook must return.
    deadline: Option<Instant>,
    /// True once an exception was sent to the running hook.
    interrupted: bool,
}

/// Ends the watch of a hook on this thread when dropped.
pub(crate) struct HookGuard(Arc<WatchedThread>);

/// One call of a hook on a watched thread.
#[derive(Clone)]
pub(crate) struct WatchedCall {
    thread: Arc<WatchedThread>,
    sequence: u64,
}

impl Watchdog {
    /// Starts to watch a hook on this thread, which must be attached to the interpreter.
    pub(crate) fn begin(self: &Arc<Self>, _py: Python<'_>, timeout: Duration) -> (HookGuard, Instant) {
        let now = Instant::now();
        let thread =
            THREAD.with_borrow_mut(|registered| Arc::clone(registered.get_or_insert_with(|| self.register_thread())));
        {
            let mut state = thread.0.lock();
            state.sequence += 1;
            state.deadline = now.checked_add(timeout);
        }
        (HookGuard(thread), now)
    }

    fn register_thread(self: &Arc<Self>) -> Arc<WatchedThread> {
        // SAFETY: returns the identifier of the calling thread, and has no preconditions.
        let ident = unsafe { ffi::PyThread_get_thread_ident() };
        let thread = Arc::new(WatchedThread(Mutex::new(ThreadState { ident, ..ThreadState::default() })));
        let mut state = self.state.lock();
        state.threads.retain(|thread| thread.strong_count() > 0);
        state.threads.push(Arc::downgrade(&thread));
        if !state.running && !state.stopped {
            let watchdog = Arc::clone(self);
            let builder = std::thread::Builder::new().name("pylae-hook-watch".to_owned());
            state.running = builder.spawn(move || gil::with_thread_state(|| watchdog.run())).is_ok();
        }
        thread
    }

    /// Stops the watchdog's thread once no hook runs, and waits at most `timeout` for that.
    pub(crate) fn stop(&self, timeout: Duration) {
        let mut state = self.state.lock();
        state.stopped = true;
        self.changed.notify_all();
        self.changed.wait_while_for(&mut state, |state| state.running, timeout);
    }

    fn run(&self) {
        loop {
            let (threads, stopped): (Vec<Arc<WatchedThread>>, bool) = {
                let mut state = self.state.lock();
                self.changed.wait_for(&mut state, TICK);
                (state.threads.iter().filter_map(Weak::upgrade).collect(), state.stopped)
            };
            if stopped && threads.iter().all(|thread| thread.0.lock().deadline.is_none()) {
                self.state.lock().running = false;
                self.changed.notify_all();
                return;
            }
            let now = Instant::now();
            let is_late = |state: &ThreadState| state.deadline.is_some_and(|deadline| deadline <= now);
            for thread in threads {
                if !is_late(&thread.0.lock()) {
                    continue;
                }
                gil::attached(|py| {
                    let mut state = thread.0.lock();
                    if is_late(&state) {
                        state.interrupted = true;
                        // Interrupt again if the hook catches the exception and continues.
                        state.deadline = now.checked_add(TICK * 4);
                        interrupt(state.ident, HookTimeout::type_object(py).as_ptr());
                    }
                });
            }
        }
    }
}

/// Raises `exception` in a thread, or withdraws a pending one if it is null. The caller must be attached.
fn interrupt(thread: std::ffi::c_ulong, exception: *mut ffi::PyObject) {
    // SAFETY: the caller is attached; the interpreter takes its own reference and checks that the thread exists.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread.cast_signed(), exception) };
}

impl HookGuard {
    /// Returns the call, which can be expired from other threads.
    pub(crate) fn watched_call(&self) -> WatchedCall {
        WatchedCall { thread: Arc::clone(&self.0), sequence: self.0.0.lock().sequence }
    }
}

impl WatchedCall {
    /// Interrupts the hook soon, if it is still running.
    pub(crate) fn expire(&self) {
        let mut state = self.thread.0.lock();
        if state.sequence == self.sequence && state.deadline.is_some() {
            state.deadline = Some(Instant::now());
        }
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        let interrupted = {
            let mut state = self.0.0.lock();
            state.deadline = None;
            std::mem::take(&mut state.interrupted).then_some(state.ident)
        };
        // A pending exception must not reach another hook.
        if let Some(ident) = interrupted {
            gil::attached(|py| discard_interrupt(py, ident));
        }
    }
}

/// Has an exception that may be pending in this thread raised, and discards it.
///
/// It cannot just be withdrawn: the interpreter remembers for all threads that there is one until one is raised
/// (`pending.async_exc` in its `ceval.c`), and checks for it at every call of a function until then. While calls are
/// traced Python 3.11 does nothing else.
fn discard_interrupt(py: Python<'_>, ident: std::ffi::c_ulong) {
    // It may have been raised already: then this is the one that is discarded.
    interrupt(ident, HookTimeout::type_object(py).as_ptr());
    if py.eval(c"None", None, None).is_ok() {
        interrupt(ident, std::ptr::null_mut());
    }
}

/// Suspends the timeout of the hook on this thread, while it waits for the response.
pub(crate) fn pause() {
    set_deadline(None);
}

/// Restarts the timeout of the hook on this thread.
pub(crate) fn resume(timeout: Duration) {
    set_deadline(Instant::now().checked_add(timeout));
}

fn set_deadline(deadline: Option<Instant>) {
    THREAD.with_borrow(|thread| {
        if let Some(thread) = thread {
            thread.0.lock().deadline = deadline;
        }
    });
}
