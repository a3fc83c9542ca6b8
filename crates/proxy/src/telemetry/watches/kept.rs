//! The traces that are kept until somebody reads them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::Instant;

/// Traces that are kept.
const MOST: usize = 256;
/// Bytes that they may take together.
const MOST_BYTES: usize = 8 << 20;
/// How long they are kept.
const LIFE: Duration = Duration::from_secs(600);

/// The latest traces.
#[derive(Debug, Default)]
pub(super) struct KeptTraces {
    traces: VecDeque<KeptTrace>,
    bytes: usize,
}

#[derive(Debug)]
struct KeptTrace {
    id: String,
    document: Arc<str>,
    at: Instant,
}

impl KeptTraces {
    pub(super) fn push(&mut self, id: String, document: String, now: Instant) {
        self.bytes += document.len();
        self.traces.push_back(KeptTrace { id, document: document.into(), at: now });
        while self.traces.len() > MOST || self.bytes > MOST_BYTES {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        self.bytes -= self.traces.pop_front().map_or(0, |trace| trace.document.len());
    }

    fn forget_old(&mut self, now: Instant) {
        while self.traces.front().is_some_and(|trace| now.since(trace.at) > LIFE) {
            self.forget_oldest();
        }
    }

    pub(super) fn all(&mut self, now: Instant) -> Vec<Arc<str>> {
        self.forget_old(now);
        self.traces.iter().rev().map(|trace| Arc::clone(&trace.document)).collect()
    }

    pub(super) fn find(&mut self, id: &str, now: Instant) -> Option<Arc<str>> {
        self.forget_old(now);
        self.traces.iter().find(|trace| trace.id == id).map(|trace| Arc::clone(&trace.document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_bounded_in_number_bytes_and_time() {
        let mut kept = KeptTraces::default();
        for number in 0..MOST + 10 {
            kept.push(number.to_string(), "{}".to_owned(), Instant::default());
        }
        assert_eq!(kept.all(Instant::default()).len(), MOST);
        assert!(kept.find("9", Instant::default()).is_none() && kept.find("10", Instant::default()).is_some());
        kept.push("large".to_owned(), "x".repeat(MOST_BYTES - 10), Instant::default());
        assert!(kept.bytes <= MOST_BYTES);
        let later = Instant::default().saturating_add(LIFE + Duration::from_secs(1));
        assert!(kept.all(later).is_empty());
        assert_eq!(kept.bytes, 0);
    }
}
