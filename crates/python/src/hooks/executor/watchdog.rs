//! Watches the threads that run hooks. It notices calls that take too long, while they do: interrupts them, moves their
//! hooks off the workers, has the pool replace their threads, and finds out whether one keeps the interpreter's lock.

mod interrupt;
mod interrupter;
mod thread;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pylae_core::hook::{CallPlace, OverdueCall};
use pylae_proxy::{Duty, Log, supervise};
use pyo3::prelude::*;

pub(crate) use self::interrupt::HookTimeout;
use self::interrupter::Interrupter;
pub(crate) use self::thread::{HookGuard, WatchedCall, WatchedHook, pause, resume};
use self::thread::{TICK, ThreadState, WatchedThread};
use crate::gil::GATE;

/// How long a call on a worker may take before it counts as overdue.
const WORKER_OVERDUE: Duration = Duration::from_millis(300);
/// How long a call on a thread of the pool may go on after its timeout before the thread counts as stuck.
const POOL_GRACE: Duration = Duration::from_millis(500);
/// How long the interpreter's lock may be awaited before it counts as kept by somebody.
const HELD: Duration = Duration::from_millis(50);

/// Watches threads that run hooks. Its own threads start with the first hook.
pub(crate) struct Watchdog {
    state: Mutex<State>,
    changed: Condvar,
    interrupter: Arc<Interrupter>,
    log: OnceLock<Arc<Log>>,
    /// True while somebody keeps the interpreter's lock.
    held: AtomicBool,
    /// Number of stuck threads of the pool.
    stuck: Arc<AtomicUsize>,
    /// Called when a thread of the pool is stuck.
    relieve: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    threads: Vec<Weak<WatchedThread>>,
    running: bool,
    stopped: bool,
}

impl Watchdog {
    /// `stuck` is the number of stuck threads of the pool. `relieve` is called when there is one more.
    pub(crate) fn new(stuck: &Arc<AtomicUsize>, relieve: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            interrupter: Arc::default(),
            log: OnceLock::new(),
            held: AtomicBool::new(false),
            stuck: Arc::clone(stuck),
            relieve: Box::new(relieve),
        })
    }

    /// Sets the log, once there is one.
    pub(crate) fn connect(&self, log: &Arc<Log>) {
        self.log.get_or_init(|| Arc::clone(log));
    }

    fn log(&self, level: &'static str, event: &'static str, message: String) {
        if let Some(log) = self.log.get() {
            log.write(level, event, message);
        }
    }

    /// True while somebody keeps the interpreter's lock, so that a worker must not wait for it.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Starts to watch a call of `hook` on this thread, which must be attached to the interpreter.
    pub(crate) fn begin<'h>(self: &Arc<Self>, _py: Python<'_>, hook: &'h dyn WatchedHook) -> (HookGuard<'h>, Instant) {
        thread::begin(hook, || self.register_thread())
    }

    fn register_thread(self: &Arc<Self>) -> Arc<WatchedThread> {
        let thread = Arc::new(WatchedThread::of_this_thread(&self.stuck));
        let mut state = self.state.lock();
        state.threads.retain(|thread| thread.strong_count() > 0);
        state.threads.push(Arc::downgrade(&thread));
        if !state.running && !state.stopped {
            state.running = self.start_threads().is_ok();
        }
        thread
    }

    fn start_threads(self: &Arc<Self>) -> std::io::Result<()> {
        let interrupter = Arc::clone(&self.interrupter);
        let watchdog = Arc::clone(self);
        std::thread::Builder::new()
            .name("pylae-hook-watch".to_owned())
            .spawn(move || supervise(None, Duty::Watchdog, || watchdog.run()))?;
        let watchdog = Arc::downgrade(self);
        // Without a Python thread state to begin with: the first hook may keep the interpreter's lock.
        std::thread::Builder::new().name("pylae-hook-stop".to_owned()).spawn(move || {
            let threads = || watchdog.upgrade().map(|watchdog| watchdog.threads());
            supervise(None, Duty::Watchdog, || interrupter.run(threads));
        })?;
        Ok(())
    }

    fn threads(&self) -> Vec<Arc<WatchedThread>> {
        self.state.lock().threads.iter().filter_map(Weak::upgrade).collect()
    }

    /// Stops the watchdog's threads once no hook runs, and waits at most `timeout` for that. Returns false if one does.
    pub(crate) fn stop(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        state.stopped = true;
        self.changed.notify_all();
        self.changed.wait_while_for(&mut state, |state| state.running, timeout);
        !state.running
    }

    fn run(&self) {
        let mut ending = false;
        while !ending {
            let stopped = {
                let mut state = self.state.lock();
                self.changed.wait_for(&mut state, TICK);
                state.stopped
            };
            GATE.tick();
            let threads = self.threads();
            let now = Instant::now();
            let mut is_slow = false;
            for thread in &threads {
                is_slow |= self.look(&mut thread.lock(), now);
            }
            if is_slow || GATE.is_overdue() {
                self.interrupter.wake();
            }
            self.note_held();
            ending = stopped && threads.iter().all(|thread| thread.lock().call.is_none());
        }
        self.interrupter.stop();
        self.state.lock().running = false;
        self.changed.notify_all();
    }

    /// Looks at the call on a thread. Returns true if it has been running for more than a tick.
    fn look(&self, state: &mut ThreadState, now: Instant) -> bool {
        let Some(call) = &state.call else { return false };
        let hook = call.hook();
        let time = now.saturating_duration_since(call.started);
        if state.worker.is_some() {
            hook.overrun(time);
        } else if !state.stuck && call.due.is_some_and(|due| now > due + POOL_GRACE) {
            hook.set_stuck(true);
            let (name, route, most) = (hook.hook(), hook.route(), hook.timeout());
            let message = format!(
                "hook {name} on route {route} does not return after {time:.1?}, of at most {most:?}; another thread takes the place of its own"
            );
            self.log("error", "hook_stuck", message);
            state.stuck = true;
            self.stuck.fetch_add(1, Ordering::Relaxed);
            (self.relieve)();
        }
        time > TICK && call.due.is_some()
    }

    /// Notices whether somebody keeps the interpreter's lock by how long the interrupter has waited for it.
    fn note_held(&self) {
        let held = self.interrupter.waiting_for() > HELD;
        if held == self.held.swap(held, Ordering::Relaxed) {
            return;
        }
        if held {
            let running = self.running().map(|call| call.what);
            let running = running.max_by(|one, other| one.seconds.total_cmp(&other.seconds));
            let suspect = running.map_or_else(String::new, |call| format!(": {call}"));
            let message = format!("no Python code can run, because the interpreter's lock is not released{suspect}");
            self.log("error", "interpreter_held", message);
        } else {
            self.log("info", "interpreter_released", "Python code runs again".to_owned());
            GATE.wake();
        }
    }

    /// The calls that should have returned by now.
    pub(crate) fn overdue(&self) -> Vec<OverdueCall> {
        self.running().filter(|call| call.is_overdue).map(|call| call.what).collect()
    }

    /// Which hooks do not return, for the log.
    pub(crate) fn reason(&self) -> String {
        match self.overdue().as_slice() {
            [] => "other hooks are too slow".to_owned(),
            [call] => call.to_string(),
            [call, others @ ..] => format!("{call}, and {} more", others.len()),
        }
    }

    /// All calls that do not wait for a response.
    fn running(&self) -> impl Iterator<Item = Running> {
        let (now, held) = (Instant::now(), self.is_held());
        self.threads().into_iter().filter_map(move |thread| {
            let state = thread.lock();
            let call = state.call.as_ref()?;
            let due = call.due?;
            let time = now.saturating_duration_since(call.started);
            let place = state.worker.map_or(CallPlace::Pool, CallPlace::Worker);
            let is_overdue = match place {
                CallPlace::Pool if !held => now > due + POOL_GRACE,
                _ => time > WORKER_OVERDUE,
            };
            let (hook, route) = (call.hook().hook().to_owned(), call.hook().route().to_owned());
            let what = OverdueCall { hook, route, place, seconds: time.as_secs_f64(), holds_interpreter: held };
            Some(Running { what, is_overdue })
        })
    }
}

/// A call in progress.
struct Running {
    what: OverdueCall,
    is_overdue: bool,
}
