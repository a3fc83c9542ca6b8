//! Signals, on a thread of their own: whatever hooks and the interpreter do, a stop ends the process in time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Drain, Engine};
use crate::telemetry::panics::{Duty, supervise};
use crate::telemetry::stderr::{flush_stderr, write_stderr};

/// How long the process may take to end once the drain is over.
const END: Duration = Duration::from_millis(1700);
/// The same while the engine has not started.
const START: Duration = Duration::from_secs(10);
/// The same if a worker has not ended, so that waiting is likely to be in vain.
const END_STUCK: Duration = Duration::from_millis(200);
/// The same after a second signal.
const END_AT_ONCE: Duration = Duration::from_millis(500);
/// How long the end waits until standard error is read.
const FLUSH: Duration = Duration::from_millis(100);
/// Most events that wait for the interpreter. Further ones are dropped.
const MAX_EVENTS: usize = 64;

/// What the control plane does on a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalEvent {
    /// Stop; the engine is doing so.
    Stop,
    /// Stop at once; the engine is doing so.
    StopAtOnce,
    /// Read the configuration again.
    Reload,
    /// Start another process in the place of this one.
    Upgrade,
    /// The gateway has stopped.
    Stopped,
}

/// Receives signals as bytes on a socket, to which a signal handler may write.
pub struct Signals {
    thread: Arc<SignalThread>,
    written: UnixStream,
}

#[derive(Default)]
struct SignalThread {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    engine: Option<Arc<Engine>>,
    events: VecDeque<SignalEvent>,
    stop: Option<StopRequest>,
}

/// A stop that a signal has asked for.
struct StopRequest {
    /// When the process ends in any case. None during a drain without a limit.
    deadline: Option<Instant>,
    /// True if a worker has not ended.
    is_stuck: bool,
}

impl Signals {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (written, mut read) = UnixStream::pair()?;
        written.set_nonblocking(true)?;
        let handle = Arc::<SignalThread>::default();
        let receiving = Arc::clone(&handle);
        thread::Builder::new().name("pylae-signals".to_owned()).spawn(move || {
            supervise(None, Duty::Watchdog, || receiving.run(&mut read));
        })?;
        Ok(Self { thread: handle, written })
    }

    /// The descriptor to which a signal handler writes the number of each signal, as one byte.
    pub fn descriptor(&self) -> RawFd {
        self.written.as_raw_fd()
    }

    /// Sets the engine that signals stop. One that was asked for already stops it at once.
    pub fn attach(&self, engine: &Arc<Engine>) {
        let is_late = {
            let mut state = self.thread.state.lock();
            state.engine = Some(Arc::clone(engine));
            state.stop.is_some()
        };
        if is_late {
            engine.stop(Drain::No);
        }
    }

    /// Takes the next event, waiting at most `patience` for one.
    pub fn wait(&self, patience: Duration) -> Option<SignalEvent> {
        let mut state = self.thread.state.lock();
        self.thread.changed.wait_while_for(&mut state, |state| state.events.is_empty(), patience);
        state.events.pop_front()
    }

    /// Adds an event.
    pub fn push(&self, event: SignalEvent) {
        self.thread.push(event);
    }

    /// Ends the process if a stop was asked for and a hook or worker does not end.
    pub fn finish(&self) {
        let state = self.thread.state.lock();
        if state.stop.as_ref().is_some_and(|stop| stop.is_stuck) {
            end_process(state.engine.as_deref(), true);
        }
    }

    /// Ends the thread, so that a stop that was asked for no longer ends the process.
    pub fn end(&self) {
        self.thread.state.lock().engine = None;
        // Fails only if the thread has ended already.
        let _ = self.written.shutdown(std::net::Shutdown::Both);
    }
}

impl SignalThread {
    fn push(&self, event: SignalEvent) {
        let mut state = self.state.lock();
        if state.events.len() < MAX_EVENTS {
            state.events.push_back(event);
        }
        self.changed.notify_all();
    }

    fn run(self: &Arc<Self>, signals: &mut UnixStream) {
        loop {
            let mut number = [0];
            match self.receive(signals, &mut number) {
                Ok(0) => return,
                Ok(_) => self.handle(number[0].into()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return,
            }
            let state = self.state.lock();
            if let Some(StopRequest { deadline: Some(deadline), is_stuck }) = state.stop
                && Instant::now() >= deadline
            {
                end_process(state.engine.as_deref(), is_stuck);
            }
        }
    }

    /// Reads the number of a signal, or fails with `WouldBlock` at the deadline of a stop.
    fn receive(&self, signals: &mut UnixStream, number: &mut [u8; 1]) -> io::Result<usize> {
        let deadline = self.state.lock().stop.as_ref().and_then(|stop| stop.deadline);
        let patience = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A timeout of zero would be none at all.
        signals.set_read_timeout(patience.map(|patience| patience.max(Duration::from_millis(1))))?;
        signals.read(number)
    }

    fn handle(self: &Arc<Self>, number: i32) {
        match number {
            libc::SIGTERM | libc::SIGINT => self.stop(Drain::Within),
            libc::SIGQUIT => self.stop(Drain::Unbounded),
            libc::SIGHUP => self.push(SignalEvent::Reload),
            libc::SIGUSR1 => self.reopen_logs(),
            libc::SIGUSR2 => self.push(SignalEvent::Upgrade),
            _ => {}
        }
    }

    fn reopen_logs(&self) {
        if let Some(engine) = self.state.lock().engine.clone() {
            engine.reopen_logs();
            engine.log().write("info", "logs_reopened", "the files of access logs are opened again".to_owned());
        }
    }

    /// Stops the engine: as `drain` says the first time, and at once after that.
    fn stop(self: &Arc<Self>, drain: Drain) {
        let (engine, drain) = {
            let mut state = self.state.lock();
            let engine = state.engine.clone();
            let drain = if state.stop.is_some() { Drain::No } else { drain };
            let limit = match drain {
                Drain::No => Some(if engine.is_some() { END_AT_ONCE } else { START }),
                Drain::Within => Some(engine.as_ref().map_or(START, |engine| engine.drain_timeout()) + END),
                Drain::Unbounded => None,
            };
            let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
            let is_stuck = state.stop.as_ref().is_some_and(|stop| stop.is_stuck);
            state.stop = Some(StopRequest { deadline, is_stuck });
            (engine, drain)
        };
        self.push(if drain == Drain::No { SignalEvent::StopAtOnce } else { SignalEvent::Stop });
        let Some(engine) = engine else { return };
        let shared = Arc::clone(self);
        let stopping = move || {
            let has_ended = engine.stop(drain);
            shared.shorten(has_ended);
        };
        if let Err(error) = thread::Builder::new().name("pylae-stop".to_owned()).spawn(stopping) {
            // The process ends at the deadline nevertheless.
            write_stderr(&format!("pylae: error: no thread could be started to stop: {error}\n"));
        }
    }

    /// The engine has stopped: the rest must not take long.
    fn shorten(&self, has_ended: bool) {
        let mut state = self.state.lock();
        let Some(stop) = &mut state.stop else { return };
        let limit = Instant::now() + if has_ended { END } else { END_STUCK };
        stop.deadline = Some(stop.deadline.map_or(limit, |deadline| deadline.min(limit)));
        stop.is_stuck |= !has_ended;
    }
}

/// Ends the process without waiting for anything.
fn end_process(engine: Option<&Engine>, is_stuck: bool) -> ! {
    let reason = engine.map(Engine::overdue).unwrap_or_default().into_iter().next();
    if let Some(call) = reason {
        write_stderr(&format!("pylae: error: ended though {call}\n"));
    } else if is_stuck {
        write_stderr("pylae: error: ended though a worker has not\n");
    }
    flush_stderr(FLUSH);
    // SAFETY: ends the process, and has no preconditions.
    unsafe { libc::_exit(i32::from(is_stuck)) }
}
