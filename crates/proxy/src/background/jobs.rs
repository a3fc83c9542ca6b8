//! Background work for policies: slow computations on a few threads, and fetching of key sets.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use pylae_policies::authentication::{self, KeySet};

use crate::background::jwks::Keeper;
use crate::telemetry::log::Log;
use crate::telemetry::panics::{Duty, supervise};

/// Number of threads. Few, so that workers keep their cores.
const THREADS: usize = 2;
/// Most jobs that may wait for a thread.
const QUEUE: usize = 64;

type BackgroundJob = Box<dyn FnOnce() + Send>;

/// The threads, which are started when first needed and end when this is dropped.
pub(crate) struct JobPool {
    jobs: OnceLock<SyncSender<BackgroundJob>>,
    keeper: OnceLock<Keeper>,
    log: Arc<Log>,
}

impl JobPool {
    pub(crate) fn start(log: &Arc<Log>) -> Self {
        Self { jobs: OnceLock::new(), keeper: OnceLock::new(), log: Arc::clone(log) }
    }

    fn spawn(&self) -> SyncSender<BackgroundJob> {
        let (sender, receiver) = sync_channel::<BackgroundJob>(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..THREADS {
            let (receiver, log) = (Arc::clone(&receiver), Arc::clone(&self.log));
            let thread = std::thread::Builder::new().name(format!("pylae-background-{index}"));
            if let Err(error) = thread.spawn(move || supervise(Some(&log), Duty::Background, || run_jobs(&receiver))) {
                self.log.write("error", "thread_failed", format!("a thread could not be started: {error}"));
            }
        }
        sender
    }
}

fn run_jobs(receiver: &Mutex<Receiver<BackgroundJob>>) {
    loop {
        // The lock is released before the job runs.
        let next = receiver.lock().recv();
        match next {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

impl authentication::Background for JobPool {
    fn run(&self, job: BackgroundJob) -> bool {
        self.jobs.get_or_init(|| self.spawn()).try_send(job).is_ok()
    }

    fn watch(&self, set: &Arc<KeySet>) {
        self.keeper.get_or_init(|| Keeper::start(&self.log)).look_after(set);
    }
}

#[cfg(test)]
mod tests;
