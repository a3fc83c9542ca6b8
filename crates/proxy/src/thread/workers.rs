//! All workers: commands to them, with a deadline each, and what is read from them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pylae_core::hook::{CallPlace, HookSource, OverdueCall};
use rustix::net::{Shutdown, shutdown};

use super::run::Control;
use super::{Listening, WorkerHandle, WorkerStart, spawn};
use crate::snapshot::Snapshot;
use crate::telemetry::log::Log;
use crate::telemetry::metrics::{Totals, WorkerFigures};
use crate::telemetry::recent::{Exchanges, RecentRing};
use crate::telemetry::stderr::write_stderr;
use crate::worker::WorkerShared;

/// How long a stop waits for a worker beyond its drain.
const GRACE: Duration = Duration::from_secs(1);
/// Interval between two looks at a worker that is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// Most workers given up whose threads have not ended.
const MAX_RETIRED: usize = 16;

/// All workers.
pub(crate) struct Workers {
    roster: Mutex<Roster>,
    shared: Arc<WorkerShared>,
    hooks: Arc<dyn HookSource>,
    /// `stuck_timeout` of the plan in force, in milliseconds.
    stuck_timeout: AtomicU64,
}

#[derive(Default)]
struct Roster {
    /// By index.
    seats: Vec<Arc<WorkerHandle>>,
    /// Workers that were given up and replaced, and have not ended.
    retired: Vec<Arc<WorkerHandle>>,
    /// What workers that have ended had counted.
    ended: Totals,
    given_up: u64,
    stop: Option<Stop>,
}

/// A stop in progress.
#[derive(Clone, Copy)]
struct Stop {
    /// When workers are no longer waited for.
    limit: Instant,
    at_once: bool,
}

impl Workers {
    /// Starts as many workers as the plan says, all of which listen on `listeners`.
    pub(crate) fn start(
        snapshot: &Arc<Snapshot>,
        listeners: &[Listening],
        shared: &Arc<WorkerShared>,
        hooks: Arc<dyn HookSource>,
    ) -> io::Result<Arc<Self>> {
        let workers = Self {
            roster: Mutex::default(),
            shared: Arc::clone(shared),
            hooks,
            stuck_timeout: AtomicU64::new(millis(snapshot)),
        };
        for index in 0..snapshot.plan.workers {
            let worker = workers.spawn(index, Arc::clone(snapshot), listeners.to_vec(), Arc::default())?;
            workers.roster.lock().seats.push(Arc::new(worker));
        }
        Ok(Arc::new(workers))
    }

    fn spawn(
        &self,
        index: usize,
        snapshot: Arc<Snapshot>,
        listeners: Vec<Listening>,
        recent: Arc<RecentRing>,
    ) -> io::Result<WorkerHandle> {
        let (shared, hooks) = (Arc::clone(&self.shared), Arc::clone(&self.hooks));
        spawn(WorkerStart { index, snapshot, listeners, shared, hooks, recent })
    }

    /// How long a worker may be stuck.
    pub(super) fn stuck_timeout(&self) -> Duration {
        Duration::from_millis(self.stuck_timeout.load(Ordering::Relaxed))
    }

    /// The workers by index.
    pub(super) fn seats(&self) -> Vec<Arc<WorkerHandle>> {
        self.roster.lock().seats.clone()
    }

    /// Has all workers use this snapshot, listen on the sockets in `added`, and no longer on the `removed` ones. Waits
    /// for all but those that are stuck, which follow when they come back.
    pub(crate) fn apply(&self, snapshot: &Arc<Snapshot>, added: &[Listening], removed: Vec<Listening>) {
        self.stuck_timeout.store(millis(snapshot), Ordering::Relaxed);
        let addresses: Vec<SocketAddr> = removed.iter().map(|(address, _)| *address).collect();
        let removed = release(removed);
        let mut sent = Vec::new();
        for worker in self.seats() {
            // A worker that was given up gets no more plans: its successor begins with the one in force.
            if worker.given_up.load(Ordering::Relaxed) {
                continue;
            }
            let (done, is_done) = sync_channel(1);
            let (snapshot, added, removed) = (Arc::clone(snapshot), added.to_vec(), addresses.clone());
            let message = Control::Apply { snapshot, added, removed, done };
            if worker.control.send(message).is_ok() {
                sent.push((worker, is_done));
            }
        }
        self.await_all(&sent, &removed);
    }

    /// Waits until workers have done what they were told, all but those that are stuck. These keep sockets open that
    /// nobody accepts from any more, `closed`, so connections are refused there from now on.
    fn await_all(&self, told: &[(Arc<WorkerHandle>, Receiver<()>)], closed: &[Weak<TcpListener>]) {
        let mut all_done = self.roster.lock().retired.is_empty();
        for (worker, is_done) in told {
            // A worker that has ended does not reply.
            let mut waited = is_done.recv_timeout(LOOK);
            while waited == Err(RecvTimeoutError::Timeout)
                && !worker.stuck.load(Ordering::Relaxed)
                && !self.is_stop_over()
            {
                waited = is_done.recv_timeout(LOOK);
            }
            all_done &= waited != Err(RecvTimeoutError::Timeout);
        }
        if !all_done {
            for socket in closed.iter().filter_map(Weak::upgrade) {
                // Cannot fail for a socket that listens.
                let _ = shutdown(&*socket, Shutdown::Read);
            }
        }
    }

    /// True once no worker is waited for any more. Who watches them may have ended by then.
    fn is_stop_over(&self) -> bool {
        self.roster.lock().stop.is_some_and(|stop| Instant::now() >= stop.limit)
    }

    /// Has all workers stop listening on `listeners` and drain within `drain`, or end at once if None. Returns true if
    /// all have ended, and false if some are still stuck a second after that.
    pub(crate) fn stop(&self, drain: Option<Duration>, listeners: Vec<Listening>) -> bool {
        let listeners = release(listeners);
        let workers = {
            let mut roster = self.roster.lock();
            let now = Instant::now();
            let limit = now.checked_add(drain.unwrap_or_default() + GRACE).unwrap_or(now);
            let stop = roster.stop.get_or_insert(Stop { limit, at_once: false });
            // Only a stop at once changes one that is in progress.
            if drain.is_none() {
                *stop = Stop { limit: stop.limit.min(limit), at_once: true };
            }
            roster.seats.clone()
        };
        let mut told = Vec::new();
        for worker in &workers {
            let (closed, is_closed) = sync_channel(1);
            // Fails only if the worker has ended already.
            if worker.control.send(Control::Stop { drain, closed: Some(closed) }).is_ok() {
                told.push((Arc::clone(worker), is_closed));
            }
        }
        self.await_all(&told, &listeners);
        let left = workers.iter().enumerate().filter(|(_, worker)| !self.join(worker)).map(|(index, _)| index);
        let left: Vec<usize> = left.collect();
        for index in &left {
            let message = format!("worker {index} has not ended{}", self.reason(*index));
            self.shared.log.write("error", "worker_not_ended", message);
        }
        left.is_empty()
    }

    /// Waits for the end of a worker as long as the stop in progress allows.
    fn join(&self, worker: &WorkerHandle) -> bool {
        while !worker.end.wait(LOOK) {
            let Some(stop) = self.roster.lock().stop else { return false };
            let hopeless = stop.at_once && worker.stuck.load(Ordering::Relaxed);
            if hopeless || worker.given_up.load(Ordering::Relaxed) || Instant::now() >= stop.limit {
                return false;
            }
        }
        if let Some(thread) = worker.thread.lock().take() {
            // It starts again after a panic, so it does not end by one.
            let _ = thread.join();
        }
        true
    }

    /// Why the worker at `index` does not come back, as the end of a sentence.
    pub(super) fn reason(&self, index: usize) -> String {
        let running = self.hooks.overdue().into_iter().find(|call| call.place == CallPlace::Worker(index));
        running.map_or_else(String::new, |call| format!(": {call}"))
    }

    /// Writes the log to standard error while no Python code can.
    pub(super) fn say_unread(&self) {
        for record in self.shared.log.take().unwrap_or_default() {
            write_stderr(&format!("pylae: {}: {}\n", record.level, record.message));
        }
    }

    pub(super) fn shared_log(&self) -> Arc<Log> {
        Arc::clone(&self.shared.log)
    }

    pub(super) fn log(&self, level: &'static str, event: &'static str, message: String) {
        self.shared.log.write(level, event, message);
    }

    /// Resets the connections of a worker that is stuck and has it end when it comes back. Returns the number of its
    /// connections.
    pub(super) fn give_up(&self, worker: &WorkerHandle) -> usize {
        worker.given_up.store(true, Ordering::Relaxed);
        let connections = worker.open.give_up();
        self.shared.forget_connections(connections);
        // Fails only if the worker has ended already.
        let _ = worker.control.send(Control::Stop { drain: None, closed: None });
        self.roster.lock().given_up += 1;
        connections
    }

    /// True if another thread may take the place of a worker that was given up.
    pub(super) fn may_replace(&self) -> bool {
        let mut roster = self.roster.lock();
        let Roster { retired, ended, .. } = &mut *roster;
        retired.retain(|worker| {
            let is_over = worker.end.is_reached();
            if is_over {
                ended.merge_counters(&worker.stats);
            }
            !is_over
        });
        roster.stop.is_none() && roster.retired.len() < MAX_RETIRED
    }

    /// Starts another worker in the place of one that was given up or has ended.
    pub(super) fn replace(&self, index: usize, snapshot: Arc<Snapshot>, listeners: Vec<Listening>) -> io::Result<()> {
        let Some(old) = self.seats().get(index).cloned() else { return Ok(()) };
        let worker = self.spawn(index, snapshot, listeners, Arc::clone(&old.recent))?;
        let mut roster = self.roster.lock();
        if roster.stop.is_some() {
            // The stop does not know of the new worker.
            let _ = worker.control.send(Control::Stop { drain: None, closed: None });
            return Ok(());
        }
        roster.seats[index] = Arc::new(worker);
        roster.retired.push(old);
        Ok(())
    }

    /// What all workers have counted.
    pub(crate) fn totals(&self) -> Totals {
        let roster = self.roster.lock();
        let mut totals = roster.ended.clone();
        roster.seats.iter().for_each(|worker| totals.merge(&worker.stats));
        roster.retired.iter().for_each(|worker| totals.merge_counters(&worker.stats));
        totals
    }

    /// How many workers there are, and how they are doing.
    pub(crate) fn figures(&self) -> WorkerFigures {
        let roster = self.roster.lock();
        let is_stuck = |worker: &&Arc<WorkerHandle>| worker.stuck.load(Ordering::Relaxed);
        let stuck = roster.seats.iter().filter(is_stuck).count();
        WorkerFigures { number: roster.seats.len(), stuck, given_up: roster.given_up }
    }

    /// The calls of hooks that should have returned by now.
    pub(crate) fn overdue(&self) -> Vec<OverdueCall> {
        self.hooks.overdue()
    }

    /// The latest exchanges after the given cursors, at most `most` of each worker.
    pub(crate) fn exchanges(&self, cursors: &[u64], most: usize, watched: Option<u64>) -> Exchanges {
        let mut found = Exchanges::default();
        for (index, worker) in self.seats().iter().enumerate() {
            found.read(&worker.recent, cursors.get(index).copied().unwrap_or(0), most, watched);
        }
        found
    }
}

/// Leaves sockets to the workers, the last of which closes them once their accept queues are empty: whoever else kept
/// one open would have clients connect whom nobody accepts.
fn release(listeners: Vec<Listening>) -> Vec<Weak<TcpListener>> {
    listeners.into_iter().map(|(_, socket)| Arc::downgrade(&socket)).collect()
}

fn millis(snapshot: &Snapshot) -> u64 {
    u64::try_from(snapshot.plan.limits.stuck_timeout.0.as_millis()).unwrap_or(u64::MAX)
}
