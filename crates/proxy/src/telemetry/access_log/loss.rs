//! Lines of access logs that were lost, as the gateway's log tells of them: when it begins, and how many when it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::telemetry::log::Log;

/// How long no line must be lost until it is over: an output that now takes lines and now does not is told of once.
const QUIET_PERIOD: Duration = Duration::from_secs(5);

/// What was lost of one output.
pub(super) struct Loss {
    output: String,
    log: Arc<Log>,
    lost: AtomicU64,
    /// It has begun, was told, and is not over.
    losing: AtomicBool,
    /// What had been lost when the latest that is over was told.
    reported: AtomicU64,
}

/// What the writer saw when it last looked.
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

    /// Counts lost lines. Any thread may say so, a worker too, because the writer may be the one that is stuck.
    pub(super) fn add(&self, lines: u64) {
        if lines == 0 {
            return;
        }
        self.lost.fetch_add(lines, Ordering::AcqRel);
        // Read first: the word is shared, and set already while lines are lost.
        if !self.losing.load(Ordering::Relaxed) && !self.losing.swap(true, Ordering::AcqRel) {
            let message =
                format!("lines of the access log {} are being lost: it takes none, or too slowly", self.output);
            self.log.write("warning", "access_log_loss", message);
        }
    }

    /// Looks whether it is over: lines were written and none was lost for a while. Only the writer does.
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

    /// Tells what is left to be told when the output ends.
    pub(super) fn end(&self) {
        if self.losing.load(Ordering::Acquire) {
            self.report_end("ends");
        }
    }

    fn report_end(&self, what: &str) {
        // Before the count is read: what is lost from now on begins anew.
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
        log.read(Duration::ZERO).unwrap_or_default().into_iter().map(|record| record.message).collect()
    }

    #[test]
    fn it_is_told_when_it_begins_and_once_nothing_was_lost_for_a_while() {
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
