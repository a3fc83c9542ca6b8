//! The loop of a thread that sends: it takes what is in the lanes, or reads the metrics, and sends it until it is
//! taken.

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use pylae_core::plan::{OtlpCompression, OtlpProtocol};

use super::answer::ExportOutcome;
use super::backoff::Backoff;
use super::grpc::GrpcTransport;
use super::http::HttpTransport;
use super::report::Report;
use super::shared::ExportShared;
use crate::telemetry::otlp::figures::DropReason;
use crate::telemetry::otlp::lanes::{Encoded, Lanes};
use crate::telemetry::otlp::metrics::{self, EncodedMetrics};
use crate::telemetry::otlp::reader::take_field;

/// Longest time that an item waits before it is sent.
const BATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of items at which a request has enough. Collectors take 4 MB over gRPC unless they are told otherwise.
const ENOUGH: usize = 1 << 20;
/// Time after which a request gives way to newer items, if there is no room for them.
const PATIENCE: Duration = Duration::from_secs(30);

/// How requests get to a collector.
enum ExportTransport {
    Http(HttpTransport),
    Grpc(GrpcTransport),
}

/// What the thread of an exporter works with.
pub(super) struct ExportSender {
    lanes: Arc<Lanes>,
    shared: Arc<ExportShared>,
    transport: Option<ExportTransport>,
    backoff: Backoff,
    report: Report,
    /// What was taken from the lanes, and how much of it is settled.
    batch: Encoded,
    settled: usize,
    /// Memory for the next request. It would be mapped anew for each.
    spare: Vec<u8>,
}

impl ExportSender {
    pub(super) fn new(lanes: Arc<Lanes>, shared: Arc<ExportShared>) -> Self {
        let dropped = lanes.counters.all_dropped();
        let report = Report::new(Arc::clone(&shared.log), lanes.settings.signal, &lanes.settings.collector, dropped);
        let (backoff, batch) = (Backoff::default(), Encoded::default());
        Self { lanes, shared, transport: None, backoff, report, batch, settled: 0, spare: Vec::new() }
    }

    /// Sends until the exporter is closed and all is settled.
    pub(super) fn run(&mut self) {
        // After a panic, which a request may have caused.
        self.give_up_batch();
        self.transport = None;
        match self.lanes.settings.interval {
            Some(interval) => self.send_metrics(Duration::from_secs_f64(interval)),
            None => self.send_items(),
        }
    }

    fn send_items(&mut self) {
        loop {
            let is_closed = self.lanes.is_closed();
            let all_settled = self.drain();
            if is_closed {
                if !all_settled {
                    self.leave();
                }
                return;
            }
            thread::park_timeout(BATCH_INTERVAL);
        }
    }

    /// Sends all that is in the lanes. Returns false if some of it could not be sent before the end.
    fn drain(&mut self) -> bool {
        loop {
            self.report.check(self.lanes.counters.all_dropped(), Instant::now());
            if self.settled == self.batch.bytes.len() {
                self.batch.clear();
                self.batch.bytes.shrink_to(ENOUGH);
                self.settled = 0;
                self.lanes.take(&mut self.batch, ENOUGH);
            }
            let rest = &self.batch.bytes[self.settled..];
            if rest.is_empty() {
                return true;
            }
            let memory = std::mem::take(&mut self.spare);
            let (length, items) = if rest.len() <= ENOUGH { (rest.len(), self.batch.items) } else { first_items(rest) };
            let body = self.encode(&rest[..length], memory);
            if !self.deliver(&body, items, None) {
                return false;
            }
            self.spare = body.try_into_mut().map(Vec::from).unwrap_or_default();
            self.spare.shrink_to(ENOUGH);
            self.settled += length;
            self.batch.items = self.batch.items.saturating_sub(items);
        }
    }

    /// Reads and sends the metrics, every `interval` and at the end.
    fn send_metrics(&mut self, interval: Duration) {
        let mut due = Instant::now() + interval;
        loop {
            let is_closed = !self.wait_until(due);
            due = Instant::now() + interval;
            let page = self.shared.metrics.read().as_ref().and_then(|source| source());
            for EncodedMetrics { bytes, points } in page.as_ref().map(metrics::encode).unwrap_or_default() {
                let body = self.encode(&bytes, Vec::new());
                if !self.deliver(&body, points, Some(due)) {
                    self.lanes.counters.drop_items(DropReason::Unavailable, points);
                }
            }
            if is_closed {
                return;
            }
        }
    }

    /// Encodes the request around items, in memory that was used before.
    fn encode(&self, items: &[u8], memory: Vec<u8>) -> Bytes {
        let request = self.lanes.settings.resource.wrap(items, memory);
        match self.lanes.settings.collector.compression {
            OtlpCompression::None => request.into(),
            OtlpCompression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(request.len() / 4), Compression::fast());
                // Writing to memory does not fail.
                let _ = encoder.write_all(&request);
                encoder.finish().unwrap_or_default().into()
            }
        }
    }

    /// Sends a request until it is settled: taken, refused, or given up because of `until` or for newer items. Returns
    /// false if it is not, and the exporter is closed.
    fn deliver(&mut self, body: &Bytes, items: u64, until: Option<Instant>) -> bool {
        let began = Instant::now();
        let crowded_out = self.lanes.counters.dropped(DropReason::QueueFull);
        loop {
            let is_closed = self.lanes.is_closed();
            let Some(timeout) = self.timeout() else { return false };
            match self.send(body, timeout) {
                ExportOutcome::Taken { refused, told } => {
                    let refused = refused.min(items);
                    self.lanes.counters.send_items(items - refused);
                    if refused > 0 {
                        self.refuse(refused, &told);
                    }
                    self.backoff.reset();
                    self.report.sent(Instant::now());
                    return true;
                }
                ExportOutcome::Refused(why) => {
                    self.lanes.counters.fail();
                    self.refuse(items, &why);
                    return true;
                }
                ExportOutcome::Again { why, after } => {
                    self.lanes.counters.fail();
                    self.report.failed(&why);
                    if is_closed {
                        return false;
                    }
                    let now = Instant::now();
                    let wait = now + self.backoff.next(after, fastrand::f64());
                    let is_crowded = self.lanes.counters.dropped(DropReason::QueueFull) > crowded_out;
                    if until.is_some_and(|until| wait >= until) || (is_crowded && now.duration_since(began) >= PATIENCE)
                    {
                        self.lanes.counters.drop_items(DropReason::Unavailable, items);
                        self.wait_until(until.map_or(wait, |until| until.min(wait)));
                        return true;
                    }
                    self.wait_until(wait);
                }
            }
        }
    }

    fn send(&mut self, body: &Bytes, timeout: Duration) -> ExportOutcome {
        let collector = &self.lanes.settings.collector;
        if self.transport.is_none() {
            let built = match collector.protocol {
                OtlpProtocol::Http => HttpTransport::new(collector).map(ExportTransport::Http),
                OtlpProtocol::Grpc => {
                    GrpcTransport::new(collector, self.lanes.settings.signal).map(ExportTransport::Grpc)
                }
            };
            match built {
                Ok(built) => self.transport = Some(built),
                Err(why) => return ExportOutcome::again(why),
            }
        }
        match &mut self.transport {
            Some(ExportTransport::Http(http)) => http.send(collector, body, timeout),
            Some(ExportTransport::Grpc(grpc)) => grpc.send(collector, body, timeout),
            None => ExportOutcome::again("there is no transport"),
        }
    }

    fn refuse(&mut self, items: u64, why: &str) {
        self.lanes.counters.drop_items(DropReason::Refused, items);
        self.report.refused(items, why, Instant::now());
    }

    /// How long a request may take, or None if the end has come.
    fn timeout(&self) -> Option<Duration> {
        let timeout = self.lanes.settings.collector.timeout.0;
        match *self.shared.end.lock() {
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                (!left.is_zero()).then(|| timeout.min(left))
            }
            None => Some(timeout),
        }
    }

    /// Waits until `due`. Returns false as soon as the exporter is closed.
    fn wait_until(&self, due: Instant) -> bool {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if self.lanes.is_closed() || left.is_zero() {
                return !self.lanes.is_closed();
            }
            thread::park_timeout(left);
        }
    }

    /// The collector does not answer, and there is no more time. What is left goes to the exporter that has replaced
    /// this one, or is lost.
    fn leave(&mut self) {
        let mut left = std::mem::take(&mut self.batch);
        left.bytes.drain(..self.settled);
        self.settled = 0;
        let successor = self.shared.exporters.latest(self.lanes.settings.signal);
        let successor = successor.filter(|other| !Arc::ptr_eq(other.lanes(), &self.lanes));
        let is_stopping = self.shared.end.lock().is_some();
        let mut lost = 0;
        loop {
            if let (Some(other), false) = (&successor, is_stopping) {
                other.lanes().give(&mut left);
            } else {
                lost += left.items;
            }
            left.clear();
            self.lanes.take(&mut left, ENOUGH);
            if left.items == 0 {
                break;
            }
        }
        self.lanes.counters.drop_items(DropReason::Unavailable, lost);
        self.report.ended(lost);
    }

    fn give_up_batch(&mut self) {
        self.lanes.counters.drop_items(DropReason::Unavailable, self.batch.items);
        self.batch.clear();
        self.settled = 0;
    }
}

/// The first items of several, at least one: how many bytes they take together, and how many they are.
fn first_items(all: &[u8]) -> (usize, u64) {
    let (mut rest, mut length, mut items) = (all, 0, 0);
    while take_field(&mut rest).is_some() {
        let reached = all.len() - rest.len();
        if items > 0 && reached > ENOUGH {
            break;
        }
        (length, items) = (reached, items + 1);
    }
    // What is malformed goes in one piece: the collector says so.
    if items == 0 { (all.len(), 1) } else { (length, items) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::protobuf::put_bytes;

    #[test]
    fn requests_end_between_items() {
        let mut all = Vec::new();
        for size in [ENOUGH / 2, ENOUGH / 3, ENOUGH / 2, 3 * ENOUGH, 10] {
            put_bytes(&mut all, 2, &vec![0; size]);
        }
        let (mut rest, mut found) = (&all[..], Vec::new());
        while !rest.is_empty() {
            let (length, items) = first_items(rest);
            found.push(items);
            rest = &rest[length..];
        }
        assert_eq!(found, [2, 1, 1, 1], "the item that is too large by itself goes alone");
    }
}
