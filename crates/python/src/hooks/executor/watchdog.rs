//! Interrupts hooks that do not come back: a thread that is in Python code for longer than its hook may take gets an
//! exception there. Code that is outside the interpreter (in C, or waiting) gets it when it comes back.

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

/// How often is looked.
const TICK: Duration = Duration::from_millis(25);

thread_local! {
    static THREAD: RefCell<Option<Arc<WatchedThread>>> = const { RefCell::new(None) };
}

/// Looks after threads that run hooks. Its own thread runs while any hook does.
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

/// A thread that runs hooks, one after the other.
pub(crate) struct WatchedThread(Mutex<ThreadState>);

#[derive(Default)]
struct ThreadState {
    /// The interpreter's name for the thread.
    ident: std::ffi::c_ulong,
    /// Counts the hooks that have begun on it.
    sequence: u64,
    /// When the hook that runs must be over.
    deadline: Option<Instant>,
    /// An exception is under way.
    interrupted: bool,
}

/// A hook that runs on this thread.
pub(crate) struct HookGuard(Arc<WatchedThread>);

/// One hook's time on a thread.
#[derive(Clone)]
pub(crate) struct WatchedCall {
    thread: Arc<WatchedThread>,
    sequence: u64,
}

impl Watchdog {
    /// Says that a hook begins on this thread, which is attached to the interpreter.
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
        // SAFETY: asks for the calling thread's name, and has no conditions.
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

    /// Ends its thread once no hook runs any more, and waits for that as long as it can be waited for.
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
                        // Again if it is caught and the hook goes on.
                        state.deadline = now.checked_add(TICK * 4);
                        interrupt(state.ident, HookTimeout::type_object(py).as_ptr());
                    }
                });
            }
        }
    }
}

/// Has `exception` raised in a thread, or what is under way forgotten if it is null. The caller is attached.
fn interrupt(thread: std::ffi::c_ulong, exception: *mut ffi::PyObject) {
    // SAFETY: the caller is attached; the interpreter takes a reference of its own, and knows which threads there are.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread.cast_signed(), exception) };
}

impl HookGuard {
    /// What names this hook among those that run on the thread.
    pub(crate) fn watched_call(&self) -> WatchedCall {
        WatchedCall { thread: Arc::clone(&self.0), sequence: self.0.0.lock().sequence }
    }
}

impl WatchedCall {
    /// Has the hook interrupted soon, if it still runs.
    pub(crate) fn expire(&self) {
        let mut state = self.thread.0.lock();
        if state.sequence == self.sequence && state.deadline.is_some() {
            state.deadline = Some(Instant::now());
        }
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.deadline = None;
        if std::mem::take(&mut state.interrupted) {
            // What has not arrived yet must not arrive in another hook. This thread is attached: it has run a hook.
            interrupt(state.ident, std::ptr::null_mut());
        }
    }
}

/// Says that the hook on this thread waits for what is not its fault.
pub(crate) fn pause() {
    set_deadline(None);
}

/// Says that it goes on, and how long it may now take.
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
