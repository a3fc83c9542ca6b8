//! Reports lost access log lines in the gateway's log: when the loss begins and, once it is over, how many were lost.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::telemetry::log::Log;

/// The loss is over if no line was lost for this time, so that an intermittent loss is reported once.
const QUIET_PERIOD: Duration = Duration::from_secs(5);

/// The lost lines of one output.
pub(super) struct Loss {
    output: String,
    log: Arc<Log>,
    lost: AtomicU64,
    /// A loss was reported and is not over.
    losing: AtomicBool,
    /// Number of lost lines when the end of the last loss was reported.
    reported: AtomicU64,
}

/// The state at the writer's last check.
#[derive(Default)]
pub(super) struct LossWatch {
    lost: u64,
    written: u64,
    since: Option<Instant>,
}

impl Loss {
    pub(super) fn new(output: &str, log: Arc<Log>) -> Self {
        let (lost, reported) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { output: output.to_owned(), log, lost, losing: AtomicBool::new(false), reported }
    }

    /// Lines lost since the output was opened.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Counts lost lines and reports the beginning of a loss. Called by any thread, because the writer may be blocked.
    pub(super) fn add(&self, lines: u64) {
        if lines == 0 {
            return;
        }
        self.lost.fetch_add(lines, Ordering::AcqRel);
        // Read first: the flag is shared, and already set while lines are lost.
        if !self.losing.load(Ordering::Relaxed) && !self.losing.swap(true, Ordering::AcqRel) {
            let message =
                format!("lines of the access log {} are being lost: it takes none, or too slowly", self.output);
            self.log.write("warning", "access_log_loss", message);
        }
    }

    /// Checks whether the loss is over: lines were written and none was lost for a while. Called by the writer only.
    pub(super) fn check(&self, watch: &mut LossWatch, written: u64, now: impl FnOnce() -> Instant) {
        if !self.losing.load(Ordering::Acquire) {
            return;
        }
        let (lost, now) = (self.lost(), now());
        match watch.since {
            Some(since) if lost == watch.lost => {
                if written > watch.written && now.duration_since(since) >= QUIET_PERIOD {
                    *watch = LossWatch::default();
                    self.report_end("takes lines again");
                }
            }
            _ => *watch = LossWatch { lost, written, since: Some(now) },
        }
    }

    /// Reports a loss that is not over when the output ends.
    pub(super) fn end(&self) {
        if self.losing.load(Ordering::Acquire) {
            self.report_end("ends");
        }
    }

    /// Reports that the output could not be opened again.
    pub(super) fn report_closed(&self, error: &io::Error) {
        let message = format!("the access log {} cannot be opened again: {error}", self.output);
        self.log.write("error", "access_log_closed", message);
    }

    fn report_end(&self, what: &str) {
        // Before the count is read: lines lost from now on are a new loss.
        self.losing.store(false, Ordering::Release);
        let lost = self.lost();
        let count = lost - self.reported.swap(lost, Ordering::AcqRel);
        let message = format!("the access log {} {what}; lines lost: {count}", self.output);
        self.log.write("warning", "access_log_loss_over", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(log: &Log) -> Vec<String> {
        log.take().unwrap_or_default().into_iter().map(|record| record.message).collect()
    }

    #[test]
    fn a_loss_is_reported_when_it_begins_and_when_it_is_over() {
        let log = Arc::new(Log::default());
        let loss = Loss::new("pipe", Arc::clone(&log));
        let (mut watch, start) = (LossWatch::default(), Instant::now());
        let mut check = |written, seconds| loss.check(&mut watch, written, || start + Duration::from_secs(seconds));
        loss.add(0);
        check(0, 0);
        assert!(messages(&log).is_empty());
        loss.add(2);
        loss.add(1);
        assert_eq!(messages(&log), ["lines of the access log pipe are being lost: it takes none, or too slowly"]);
        check(7, 1);
        check(7, 100);
        assert!(messages(&log).is_empty(), "nothing was written since, so it need not be over");
        check(8, 101);
        assert_eq!(messages(&log), ["the access log pipe takes lines again; lines lost: 3"]);
        loss.add(1);
        assert_eq!(messages(&log).len(), 1);
        check(9, 102);
        check(10, 104);
        loss.add(1);
        check(11, 108);
        check(12, 112);
        assert!(messages(&log).is_empty(), "it goes on");
        check(13, 113);
        assert_eq!(messages(&log), ["the access log pipe takes lines again; lines lost: 2"]);
        loss.end();
        assert!(messages(&log).is_empty());
        loss.add(4);
        loss.end();
        loss.end();
        assert_eq!(messages(&log)[1..], ["the access log pipe ends; lines lost: 4"]);
        assert_eq!(loss.lost(), 9);
    }
}
