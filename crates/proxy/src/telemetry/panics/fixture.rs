//! What tests read about panics.

use std::time::{Duration, Instant};

use crate::telemetry::log::Log;

/// Time after which a wait fails the test. No passing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How often the duty has panicked.
pub(crate) fn count(log: &Log, duty: &str) -> u64 {
    log.panics.counts().find(|(known, _)| *known == duty).map_or(0, |(_, count)| count)
}

/// The messages of the records about panics of the duty since the last call. Others may come from other tests.
pub(crate) fn records(log: &Log, duty: &str) -> Vec<String> {
    let records = log.take().unwrap_or_default();
    let about = format!(" panicked ({duty}) at ");
    let found = records.into_iter().filter(|record| record.event == "panic" && record.message.contains(&about));
    found.map(|record| record.message).collect()
}

/// Waits for a condition that can only be polled.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}
