//! Fetches the tokens that instances get from the gateway (RFC 6749 section 4.4): when each is due.

mod request;

use std::sync::Arc;
use std::time::Duration;

use pylae_core::Instant;
use tokio::sync::watch;

use self::request::{fetch, place};
use crate::io::clock;
use crate::snapshot::{Issue, ServiceToken, Snapshot, TokenChange};
use crate::telemetry::log::Log;
use crate::telemetry::panics::{Duty, enter};
use crate::worker::WorkerShared;

/// How often tokens are looked at that an instance may have refused.
const TICK: Duration = Duration::from_secs(1);
/// Longest time that a thread may have to begin, before the next look.
const SOON: Duration = Duration::from_millis(20);

/// Keeps the tokens of each snapshot until the sender is dropped.
pub(super) async fn run(mut snapshots: watch::Receiver<Arc<Snapshot>>, shared: Arc<WorkerShared>) {
    loop {
        let tokens = snapshots.borrow_and_update().tokens();
        loop {
            let now = clock::now();
            for token in tokens.iter().filter(|token| token.due().is_some_and(|due| due <= now)) {
                start(token, &shared.log);
            }
            let next = tokens.iter().filter_map(|token| token.due()).map(|due| due.since(now)).min();
            tokio::select! {
                changed = snapshots.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = tokio::time::sleep(next.unwrap_or(TICK).clamp(SOON, TICK)), if !tokens.is_empty() => {}
            }
        }
    }
}

/// A fetch under way. It has failed if it is dropped before it has finished.
struct RunningTokenFetch {
    token: Arc<ServiceToken>,
    log: Arc<Log>,
    began: Instant,
    is_finished: bool,
}

/// Fetches a token on a thread of its own, so that a slow server does not delay others.
fn start(token: &Arc<ServiceToken>, log: &Arc<Log>) {
    token.begin_fetch();
    let (token, log) = (Arc::clone(token), Arc::clone(log));
    let running = RunningTokenFetch { token, log: Arc::clone(&log), began: clock::now(), is_finished: false };
    let thread = std::thread::Builder::new().name("pylae-token-fetch".to_owned());
    let spawned = thread.spawn(move || {
        enter(Some(&running.log), Duty::Keys);
        let outcome = fetch(running.token.settings());
        running.finish(outcome);
    });
    if let Err(error) = spawned {
        log.write("error", "thread_failed", format!("a thread could not be started: {error}"));
    }
}

impl RunningTokenFetch {
    fn finish(mut self, outcome: Result<Issue, String>) {
        self.is_finished = true;
        self.conclude(outcome);
    }

    fn conclude(&self, outcome: Result<Issue, String>) {
        let at = || place(self.token.settings());
        match self.token.finish_fetch(outcome, self.began, clock::now()) {
            TokenChange::Usual => {}
            TokenChange::Failing(why) => {
                let text =
                    format!("no token could be fetched from {}, the last one is used until it expires: {why}", at());
                self.log.write("warning", "token_not_fetched", text);
            }
            TokenChange::Recovered => {
                self.log.write("info", "token_fetched", format!("a token was fetched from {} again", at()));
            }
        }
    }
}

impl Drop for RunningTokenFetch {
    fn drop(&mut self) {
        if !self.is_finished {
            self.conclude(Err("the fetch ended early".to_owned()));
        }
    }
}
