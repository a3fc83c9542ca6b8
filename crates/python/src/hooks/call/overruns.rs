//! What the log says of calls over budget: the first one at once, then at most one record a minute.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pylae_proxy::Log;

const INTERVAL: Duration = Duration::from_secs(60);

/// When a record was written last, and the overruns since then.
#[derive(Default)]
pub(crate) struct Overruns(Mutex<(Option<Instant>, u64)>);

impl Overruns {
    /// Counts an overrun, and writes a record if it is time for one.
    pub(crate) fn report(&self, log: &Log, what: impl FnOnce() -> String) {
        let more = {
            let mut state = self.0.lock();
            if state.0.is_some_and(|last| last.elapsed() < INTERVAL) {
                state.1 += 1;
                return;
            }
            state.0 = Some(Instant::now());
            std::mem::take(&mut state.1)
        };
        let more =
            if more > 0 { format!("; {more} more calls did so since the last such record") } else { String::new() };
        log.write("warning", "hook_over_budget", format!("{}{more}", what()));
    }
}
