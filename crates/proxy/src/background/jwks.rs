//! Fetches key sets (JWKS): when each is due, and when a request uses an unknown key.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pylae_policies::authentication::{Fetched, KeySet, MAX_KEY_SET_BYTES};
use ureq::Agent;

use crate::background::http_client::{agent, describe, read_body, system_roots};
use crate::io::clock;
use crate::telemetry::log::Log;
use crate::telemetry::panics::{Duty, enter, supervise};

/// A handle to the thread that schedules fetches, which ends when this is dropped.
pub(crate) struct Keeper(Sender<Weak<KeySet>>);

impl Keeper {
    pub(crate) fn start(log: &Arc<Log>) -> Self {
        let (sender, receiver) = channel();
        let log_handle = Arc::clone(log);
        let thread = std::thread::Builder::new().name("pylae-keys".to_owned());
        if let Err(error) = thread.spawn(move || keep(&receiver, &log_handle)) {
            log.write("error", "thread_failed", format!("keys cannot be fetched: {error}"));
        }
        Self(sender)
    }

    /// Adds a set, or reschedules it if it is known.
    pub(crate) fn look_after(&self, set: &Arc<KeySet>) {
        // Fails only if the thread could not be started, which was logged.
        let _ = self.0.send(Arc::downgrade(set));
    }
}

fn keep(receiver: &Receiver<Weak<KeySet>>, log: &Arc<Log>) {
    let mut sets: Vec<Weak<KeySet>> = Vec::new();
    supervise(Some(log), Duty::Keys, || run(receiver, &mut sets, log));
}

fn run(receiver: &Receiver<Weak<KeySet>>, sets: &mut Vec<Weak<KeySet>>, log: &Arc<Log>) {
    let agent = agent(system_roots());
    loop {
        let now = clock::now();
        let mut next = Duration::from_secs(3600);
        sets.retain(|weak| {
            let Some(set) = weak.upgrade() else { return false };
            if set.due().is_some_and(|due| due <= now) {
                fetch(&agent, &set, log);
            }
            // While a fetch runs, the next due time is unknown: check again in a second.
            next = next.min(set.due().map_or(Duration::from_secs(1), |due| due.since(now)));
            true
        });
        match receiver.recv_timeout(next) {
            Ok(set) if !sets.iter().any(|known| known.ptr_eq(&set)) => sets.push(set),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A fetch under way. It has failed if it is dropped before it has finished.
struct RunningFetch {
    set: Arc<KeySet>,
    log: Arc<Log>,
    is_finished: bool,
}

/// Fetches a set on a thread of its own, so that a slow fetch does not delay others.
fn fetch(agent: &Agent, set: &Arc<KeySet>, log: &Arc<Log>) {
    let running = RunningFetch::begin(set, log);
    let agent = agent.clone();
    let thread = std::thread::Builder::new().name("pylae-keys-fetch".to_owned());
    let spawned = thread.spawn(move || {
        enter(Some(&running.log), Duty::Keys);
        let document = get(&agent, running.set.url());
        running.finish(document);
    });
    if let Err(error) = spawned {
        log.write("error", "thread_failed", format!("a thread could not be started: {error}"));
    }
}

impl RunningFetch {
    fn begin(set: &Arc<KeySet>, log: &Arc<Log>) -> Self {
        set.begin_fetch(clock::now());
        Self { set: Arc::clone(set), log: Arc::clone(log), is_finished: false }
    }

    fn finish(mut self, document: Result<Vec<u8>, String>) {
        let fetched = self.set.finish_fetch(document, clock::now());
        self.is_finished = true;
        log_outcome(&self.set, fetched, &self.log);
    }
}

impl Drop for RunningFetch {
    fn drop(&mut self) {
        if !self.is_finished {
            let fetched = self.set.finish_fetch(Err("the fetch ended early".to_owned()), clock::now());
            log_outcome(&self.set, fetched, &self.log);
        }
    }
}

fn log_outcome(set: &KeySet, fetched: Fetched, log: &Log) {
    let at = set.redacted_url();
    match fetched {
        Fetched::Usual => {}
        Fetched::Failing(why) => {
            let text = format!("the keys at {at} could not be fetched, the last good ones stay in force: {why}");
            log.write("warning", "keys_not_fetched", text);
        }
        Fetched::Recovered => {
            log.write("info", "keys_fetched", format!("the keys at {at} were fetched again"));
        }
    }
}

/// Returns the body of a 200 response, if it is not too large.
fn get(agent: &Agent, url: &str) -> Result<Vec<u8>, String> {
    let request = agent.get(url).header("Accept", "application/jwk-set+json, application/json");
    let answer = request.call().map_err(|error| describe(error, MAX_KEY_SET_BYTES))?;
    if answer.status() != 200 {
        return Err(format!("the answer is {}", answer.status()));
    }
    read_body(answer, MAX_KEY_SET_BYTES)
}

#[cfg(test)]
mod tests;
