//! A thread that runs hooks, as the watchdog knows it.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use pyo3::ffi;

use super::interrupt::discard_interrupt;
use crate::gil;

/// Interval between checks.
pub(super) const TICK: Duration = Duration::from_millis(25);

/// What the watchdog knows of a hook, and tells it.
pub(crate) trait WatchedHook: Send + Sync {
    fn hook(&self) -> &str;
    fn route(&self) -> &str;
    fn timeout(&self) -> Duration;
    /// A call has been on a worker for `time` and goes on.
    fn overrun(&self, time: Duration);
    /// A call keeps a thread of the pool though its time is up, or no longer does.
    fn set_stuck(&self, stuck: bool);
}

thread_local! {
    static THREAD: RefCell<Option<Arc<WatchedThread>>> = const { RefCell::new(None) };
}

/// A thread that runs hooks.
pub(crate) struct WatchedThread {
    state: Mutex<ThreadState>,
    /// Number of stuck threads of the pool.
    stuck: Arc<AtomicUsize>,
}

pub(super) struct ThreadState {
    /// The interpreter's identifier of the thread.
    pub(super) ident: std::ffi::c_ulong,
    /// The index of the worker, if it is one.
    pub(super) worker: Option<usize>,
    /// Counts the calls that were begun on the thread.
    sequence: u64,
    /// The call in progress.
    pub(super) call: Option<CallInProgress>,
    /// When to interrupt it.
    pub(super) deadline: Option<Instant>,
    /// True once an exception was sent to it.
    pub(super) interrupted: bool,
    /// True if the call goes on though its time is up and the pool has replaced the thread.
    pub(super) stuck: bool,
}

pub(super) struct CallInProgress {
    hook: NonNull<dyn WatchedHook>,
    pub(super) started: Instant,
    /// When it must return. None while it waits for the response.
    pub(super) due: Option<Instant>,
}

// SAFETY: the pointer is dereferenced only under the lock of the thread's state and as long as it is there. The guard
// of the call removes it, and borrows the hook until then.
unsafe impl Send for CallInProgress {}

impl CallInProgress {
    pub(super) fn hook(&self) -> &dyn WatchedHook {
        // SAFETY: see above.
        unsafe { self.hook.as_ref() }
    }
}

/// Ends the watch of a call on this thread when dropped.
pub(crate) struct HookGuard<'h> {
    thread: Arc<WatchedThread>,
    hook: PhantomData<&'h dyn WatchedHook>,
}

/// One call on a watched thread.
#[derive(Clone)]
pub(crate) struct WatchedCall {
    thread: Arc<WatchedThread>,
    sequence: u64,
}

impl WatchedThread {
    /// `stuck` is the number of stuck threads of the pool.
    pub(super) fn of_this_thread(stuck: &Arc<AtomicUsize>) -> Self {
        // SAFETY: returns the identifier of the calling thread, and has no preconditions.
        let ident = unsafe { ffi::PyThread_get_thread_ident() };
        let worker = gil::worker();
        let state =
            ThreadState { ident, worker, sequence: 0, call: None, deadline: None, interrupted: false, stuck: false };
        Self { state: Mutex::new(state), stuck: Arc::clone(stuck) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ThreadState> {
        self.state.lock()
    }
}

/// Starts to watch a call of `hook` on this thread, which must be attached to the interpreter. `register` registers the
/// thread at its first call.
pub(super) fn begin<'h>(
    hook: &'h dyn WatchedHook,
    register: impl FnOnce() -> Arc<WatchedThread>,
) -> (HookGuard<'h>, Instant) {
    let thread = THREAD.with_borrow_mut(|known| Arc::clone(known.get_or_insert_with(register)));
    let started = Instant::now();
    let due = started.checked_add(hook.timeout());
    {
        let mut state = thread.lock();
        state.sequence += 1;
        state.deadline = due;
        let pointer: NonNull<dyn WatchedHook + 'h> = NonNull::from(hook);
        // SAFETY: only the lifetime changes. The guard removes the pointer before it ends.
        let pointer =
            unsafe { std::mem::transmute::<NonNull<dyn WatchedHook + 'h>, NonNull<dyn WatchedHook>>(pointer) };
        state.call = Some(CallInProgress { hook: pointer, started, due });
    }
    (HookGuard { thread, hook: PhantomData }, started)
}

impl HookGuard<'_> {
    /// Returns the call, which can be expired from other threads.
    pub(crate) fn watched_call(&self) -> WatchedCall {
        WatchedCall { thread: Arc::clone(&self.thread), sequence: self.thread.lock().sequence }
    }
}

impl WatchedCall {
    /// Interrupts the hook soon, if it is still running.
    pub(crate) fn expire(&self) {
        let mut state = self.thread.lock();
        if state.sequence == self.sequence && state.deadline.is_some() {
            state.deadline = Some(Instant::now());
        }
    }
}

impl Drop for HookGuard<'_> {
    fn drop(&mut self) {
        let interrupted = {
            let mut state = self.thread.lock();
            state.deadline = None;
            if let Some(call) = state.call.take()
                && std::mem::take(&mut state.stuck)
            {
                call.hook().set_stuck(false);
                self.thread.stuck.fetch_sub(1, Ordering::Relaxed);
            }
            std::mem::take(&mut state.interrupted).then_some(state.ident)
        };
        // A pending exception must not reach another hook. Attached already, so this does not wait.
        if let Some(ident) = interrupted {
            gil::attached(|py| discard_interrupt(py, ident));
        }
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
            let mut state = thread.lock();
            state.deadline = deadline;
            if let Some(call) = &mut state.call {
                call.due = deadline;
            }
        }
    });
}
