//! Says in the log, once, that a signal does not get to its collector, and once that it does again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pylae_core::plan::CollectorPlan;

use crate::telemetry::log::Log;
use crate::telemetry::otlp::lanes::Signal;

/// A loss is over if nothing was lost for this time.
const QUIET_PERIOD: Duration = Duration::from_secs(5);
/// How often it is said that a collector has refused items.
const REFUSALS: Duration = Duration::from_secs(60);

/// What the log was told.
pub(super) struct Report {
    log: Arc<Log>,
    signal: Signal,
    /// Scheme, host and port of the collector. Its path may be a secret.
    place: String,
    failing: bool,
    /// Items dropped when that was reported first.
    dropped_before: u64,
    /// When items were last dropped, and how many had been.
    dropped: (Option<Instant>, u64),
    refused_at: Option<Instant>,
}

impl Report {
    pub(super) fn new(log: Arc<Log>, signal: Signal, collector: &CollectorPlan, dropped: u64) -> Self {
        let place = place(&collector.endpoint);
        Self { log, signal, place, failing: false, dropped_before: dropped, dropped: (None, dropped), refused_at: None }
    }

    /// A request has failed, and will be sent again.
    pub(super) fn failed(&mut self, why: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            let (signal, place) = (self.signal.name(), &self.place);
            let text =
                format!("{signal} cannot be sent to {place}: {why}; they are kept and sent again as far as possible");
            self.log.write("warning", "export_failing", text);
        }
    }

    /// The collector has refused items, for good.
    pub(super) fn refused(&mut self, items: u64, why: &str, now: Instant) {
        if self.refused_at.is_none_or(|at| now.duration_since(at) >= REFUSALS) {
            self.refused_at = Some(now);
            let (signal, place) = (self.signal.name(), &self.place);
            let text = format!("{place} has refused {items} items of {signal}: {why}");
            self.log.write("warning", "export_refused", text);
        }
    }

    /// Looks whether items are being dropped. `dropped` are all so far.
    pub(super) fn check(&mut self, dropped: u64, now: Instant) {
        if dropped > self.dropped.1 {
            self.dropped = (Some(now), dropped);
            self.failed("it takes them too slowly");
        }
    }

    /// A request was taken.
    pub(super) fn sent(&mut self, now: Instant) {
        let is_quiet = self.dropped.0.is_none_or(|at| now.duration_since(at) >= QUIET_PERIOD);
        if self.failing && is_quiet {
            self.failing = false;
            let (signal, place) = (self.signal.name(), &self.place);
            let lost = self.dropped.1 - std::mem::replace(&mut self.dropped_before, self.dropped.1);
            let text = format!("{signal} are sent to {place} again; items lost: {lost}");
            self.log.write("info", "export_recovered", text);
        }
    }

    /// The end: nothing more will be sent.
    pub(super) fn ended(&self, left: u64) {
        if left > 0 {
            let (signal, place) = (self.signal.name(), &self.place);
            let text = format!("{signal} could not be sent to {place} before the end; items lost: {left}");
            self.log.write("warning", "export_lost", text);
        }
    }
}

/// Scheme, host and port of a URL.
fn place(endpoint: &str) -> String {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
    format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use pylae_core::plan::{OtlpCompression, OtlpProtocol, Seconds};

    use super::*;

    fn report(log: &Arc<Log>) -> Report {
        let collector = CollectorPlan {
            endpoint: "https://collector.example:4318/s3cret/v1/traces".to_owned(),
            protocol: OtlpProtocol::Http,
            headers: Vec::new(),
            compression: OtlpCompression::None,
            ca: None,
            timeout: Seconds(Duration::from_secs(1)),
        };
        Report::new(Arc::clone(log), Signal::Traces, &collector, 7)
    }

    fn told(log: &Log) -> Vec<(&'static str, String)> {
        log.take().unwrap_or_default().into_iter().map(|record| (record.event, record.message)).collect()
    }

    #[test]
    fn a_failure_is_told_once_and_its_end_once() {
        let (log, now) = (Arc::<Log>::default(), Instant::now());
        let mut report = report(&log);
        report.sent(now);
        assert!(told(&log).is_empty());
        report.failed("no answer");
        report.failed("no connection");
        let text = "traces cannot be sent to https://collector.example:4318: no answer; \
                    they are kept and sent again as far as possible";
        assert_eq!(told(&log), [("export_failing", text.to_owned())]);
        report.check(7, now);
        report.check(9, now);
        report.sent(now);
        assert!(told(&log).is_empty(), "items have just been dropped");
        report.sent(now + QUIET_PERIOD);
        let text = "traces are sent to https://collector.example:4318 again; items lost: 2";
        assert_eq!(told(&log), [("export_recovered", text.to_owned())]);
    }

    #[test]
    fn refusals_are_told_once_a_minute() {
        let (log, now) = (Arc::<Log>::default(), Instant::now());
        let mut report = report(&log);
        report.refused(3, "too old", now);
        report.refused(3, "too old", now + Duration::from_secs(59));
        report.refused(4, "too old", now + Duration::from_secs(60));
        let text = |items| format!("https://collector.example:4318 has refused {items} items of traces: too old");
        assert_eq!(told(&log), [("export_refused", text(3)), ("export_refused", text(4))]);
    }

    #[test]
    fn what_is_dropped_for_want_of_speed_is_told() {
        let (log, now) = (Arc::<Log>::default(), Instant::now());
        let mut report = report(&log);
        report.check(8, now);
        report.check(9, now);
        assert_eq!(told(&log).len(), 1);
        report.ended(0);
        report.ended(5);
        let lost = "traces could not be sent to https://collector.example:4318 before the end; items lost: 5";
        assert_eq!(told(&log), [("export_lost", lost.to_owned())]);
    }
}
