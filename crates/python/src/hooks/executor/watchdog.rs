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
    static POST: RefCell<Option<Arc<WatchedThread>>> = const { RefCell::new(None) };
}

/// Looks after threads that run hooks. Its own thread runs while any hook does.
#[derive(Default)]
pub(crate) struct Watchdog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    posts: Vec<Weak<WatchedThread>>,
    running: bool,
    stopped: bool,
}

/// A thread that runs hooks, one after the other.
pub(crate) struct WatchedThread(Mutex<ThreadState>);

#[derive(Default)]
struct ThreadState {
    /// The interpreter's name for the thread.
    thread: std::ffi::c_ulong,
    /// Counts the hooks that have begun on it.
    turn: u64,
    /// When the hook that runs must be over.
    due: Option<Instant>,
    /// An exception is under way.
    told: bool,
}

/// A hook that runs on this thread.
pub(crate) struct HookGuard(Arc<WatchedThread>);

/// One hook's time on a thread.
#[derive(Clone)]
pub(crate) struct WatchedCall {
    post: Arc<WatchedThread>,
    turn: u64,
}

impl Watchdog {
    /// Says that a hook begins on this thread, which is attached to the interpreter.
    pub(crate) fn begin(self: &Arc<Self>, _py: Python<'_>, timeout: Duration) -> (HookGuard, Instant) {
        let now = Instant::now();
        let post = POST.with_borrow_mut(|known| Arc::clone(known.get_or_insert_with(|| self.post())));
        {
            let mut duty = post.0.lock();
            duty.turn += 1;
            duty.due = now.checked_add(timeout);
        }
        (HookGuard(post), now)
    }

    fn post(self: &Arc<Self>) -> Arc<WatchedThread> {
        // SAFETY: asks for the calling thread's name, and has no conditions.
        let thread = unsafe { ffi::PyThread_get_thread_ident() };
        let post = Arc::new(WatchedThread(Mutex::new(ThreadState { thread, ..ThreadState::default() })));
        let mut state = self.state.lock();
        state.posts.retain(|known| known.strong_count() > 0);
        state.posts.push(Arc::downgrade(&post));
        if !state.running && !state.stopped {
            let watch = Arc::clone(self);
            let named = std::thread::Builder::new().name("pylae-hook-watch".to_owned());
            state.running = named.spawn(move || gil::kept(|| watch.run())).is_ok();
        }
        post
    }

    /// Ends its thread once no hook runs any more, and waits for that as long as it can be waited for.
    pub(crate) fn stop(&self, patience: Duration) {
        let mut state = self.state.lock();
        state.stopped = true;
        self.changed.notify_all();
        self.changed.wait_while_for(&mut state, |state| state.running, patience);
    }

    fn run(&self) {
        loop {
            let (posts, stopped): (Vec<Arc<WatchedThread>>, bool) = {
                let mut state = self.state.lock();
                self.changed.wait_for(&mut state, TICK);
                (state.posts.iter().filter_map(Weak::upgrade).collect(), state.stopped)
            };
            if stopped && posts.iter().all(|post| post.0.lock().due.is_none()) {
                self.state.lock().running = false;
                self.changed.notify_all();
                return;
            }
            let now = Instant::now();
            let is_late = |duty: &ThreadState| duty.due.is_some_and(|due| due <= now);
            for post in posts {
                if !is_late(&post.0.lock()) {
                    continue;
                }
                gil::attached(|py| {
                    let mut duty = post.0.lock();
                    if is_late(&duty) {
                        duty.told = true;
                        // Again if it is caught and the hook goes on.
                        duty.due = now.checked_add(TICK * 4);
                        interrupt(duty.thread, HookTimeout::type_object(py).as_ptr());
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
    pub(crate) fn turn(&self) -> WatchedCall {
        WatchedCall { post: Arc::clone(&self.0), turn: self.0.0.lock().turn }
    }
}

impl WatchedCall {
    /// Has the hook interrupted soon, if it still runs.
    pub(crate) fn hurry(&self) {
        let mut duty = self.post.0.lock();
        if duty.turn == self.turn && duty.due.is_some() {
            duty.due = Some(Instant::now());
        }
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        let mut duty = self.0.0.lock();
        duty.due = None;
        if std::mem::take(&mut duty.told) {
            // What has not arrived yet must not arrive in another hook. This thread is attached: it has run a hook.
            interrupt(duty.thread, std::ptr::null_mut());
        }
    }
}

/// Says that the hook on this thread waits for what is not its fault.
pub(crate) fn pause() {
    set_due(None);
}

/// Says that it goes on, and how long it may now take.
pub(crate) fn go_on(timeout: Duration) {
    set_due(Instant::now().checked_add(timeout));
}

fn set_due(due: Option<Instant>) {
    POST.with_borrow(|post| {
        if let Some(post) = post {
            post.0.lock().due = due;
        }
    });
}
