use std::time::Duration;

use pylae_core::plan::{OtlpCompression, OtlpProtocol, Seconds};

use super::*;

fn exporter(workers: usize) -> Arc<Exporter> {
    let collector = CollectorPlan {
        endpoint: "http://127.0.0.1:4318/v1/traces".to_owned(),
        protocol: OtlpProtocol::Http,
        headers: Vec::new(),
        compression: OtlpCompression::None,
        ca: None,
        timeout: Seconds(Duration::from_secs(1)),
    };
    let settings =
        ExportSettings { signal: Signal::Traces, collector, resource: TelemetryResource::default(), interval: None };
    Arc::new(Exporter::new(settings, Arc::default(), workers))
}

#[test]
fn what_all_workers_have_written_is_taken_once() {
    let exporter = exporter(2);
    let (first, second) = (ExportBuffer::new(0), ExportBuffer::new(1));
    first.write(&exporter, 1, |out| out.extend_from_slice(b"a"));
    second.write(&exporter, 2, |out| out.extend_from_slice(b"bc"));
    let mut batch = Encoded::default();
    assert!(!exporter.0.take(&mut batch, 100));
    assert_eq!((&batch.bytes[..], batch.items), (&b"abc"[..], 3));
    batch.clear();
    assert!(!exporter.0.take(&mut batch, 100));
    assert_eq!(batch.items, 0);
}

#[test]
fn a_batch_is_not_much_larger_than_enough() {
    let exporter = exporter(2);
    for worker in 0..2 {
        ExportBuffer::new(worker).write(&exporter, 1, |out| out.extend_from_slice(b"12345"));
    }
    let mut batch = Encoded::default();
    assert!(exporter.0.take(&mut batch, 3), "the other lane has one more");
    assert_eq!(batch.items, 1);
}

#[test]
fn a_full_lane_drops_and_counts() {
    let (exporter, buffer) = (exporter(4), ExportBuffer::new(1));
    let item = vec![0; MOST_WAITING / 8];
    for _ in 0..5 {
        buffer.write(&exporter, 2, |out| out.extend_from_slice(&item));
    }
    assert_eq!(exporter.0.counters.dropped(DropReason::QueueFull), 6);
    let mut batch = Encoded::default();
    exporter.0.take(&mut batch, usize::MAX);
    assert_eq!((batch.bytes.len(), batch.items), (MOST_WAITING / 4, 4));
}

#[test]
fn what_was_pending_while_the_lane_was_held_is_handed_over_later() {
    let (exporter, buffer) = (exporter(1), ExportBuffer::new(0));
    let held = exporter.0.workers[0].lock();
    buffer.write(&exporter, 1, |out| out.push(1));
    buffer.flush();
    drop(held);
    assert_eq!(exporter.0.workers[0].lock().items, 0);
    buffer.flush();
    assert_eq!(exporter.0.workers[0].lock().items, 1);
    assert!(buffer.pending.borrow().is_empty());
    assert_eq!(Arc::strong_count(&exporter), 1, "it is forgotten");
}
