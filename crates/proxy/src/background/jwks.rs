//! Fetches key sets (JWKS): when each is due, and when a request uses an unknown key.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pylae_policies::authentication::{Fetched, KeySet, MAX_KEY_SET_BYTES};
use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::io::clock;
use crate::telemetry::log::Log;
use crate::telemetry::panics::{Duty, enter, supervise};

/// Time limit for a fetch, from the DNS lookup to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

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
    let agent = agent();
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
    let mut answer =
        agent.get(url).header("Accept", "application/jwk-set+json, application/json").call().map_err(describe)?;
    if answer.status() != 200 {
        return Err(format!("the answer is {}", answer.status()));
    }
    answer.body_mut().with_config().limit(MAX_KEY_SET_BYTES as u64).read_to_vec().map_err(describe)
}

/// Describes the error without the URL, which may hold a secret.
fn describe(error: ureq::Error) -> String {
    match error {
        ureq::Error::BodyExceedsLimit(_) => format!("the answer is larger than {MAX_KEY_SET_BYTES} bytes"),
        ureq::Error::Timeout(_) => format!("no answer within {} seconds", TIMEOUT.as_secs()),
        ureq::Error::BadUri(_) => "this is not an address".to_owned(),
        error => error.to_string(),
    }
}

/// Creates an HTTP client that follows no redirects and trusts the system's authorities.
fn agent() -> Agent {
    let system: Vec<Certificate<'static>> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|found| Certificate::from_der(found.as_ref()).to_owned())
        .collect();
    // Images without system certificates use the roots that browsers ship.
    let roots = if system.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&system) };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(roots)
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent("pylae")
        .tls_config(tls)
        .build();
    config.into()
}

#[cfg(test)]
mod tests;
