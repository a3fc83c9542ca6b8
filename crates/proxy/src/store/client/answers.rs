//! Results of calls, as they come.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::store::call::{StoreError, StoreResult};
use crate::store::driver::PlacedResult;
use crate::store::shared::StoreShared;

/// Results of calls that were asked for together. A server that is slow or gone does not hold up those of the others.
/// After the time-out all have one.
pub(crate) struct StoreAnswers {
    store: Arc<StoreShared>,
    coming: Result<mpsc::Receiver<PlacedResult>, StoreError>,
    /// Set for each call that has a result.
    known: Vec<bool>,
    missing: usize,
    end: Instant,
}

impl StoreAnswers {
    pub(super) fn new(
        store: &Arc<StoreShared>,
        calls: usize,
        coming: Result<mpsc::Receiver<PlacedResult>, StoreError>,
    ) -> Self {
        let end = Instant::now() + store.timeout();
        Self { store: Arc::clone(store), coming, known: vec![false; calls], missing: calls, end }
    }

    /// Returns further results with the places of their calls, or None after all. Must not be dropped before it is
    /// done: it would lose them.
    pub(crate) async fn next(&mut self) -> Option<Vec<PlacedResult>> {
        if self.missing == 0 {
            return None;
        }
        let mut results = Vec::new();
        let failed = match &mut self.coming {
            Err(error) => Some(error.clone()),
            // The thread that drives the store may be stuck.
            Ok(coming) => match timeout_at(self.end, coming.recv_many(&mut results, self.missing)).await {
                Ok(0) => Some(StoreError::Unavailable),
                Ok(_) => None,
                Err(_) => Some(StoreError::TimedOut),
            },
        };
        if let Some(error) = failed {
            let missing = self.known.iter().enumerate().filter(|(_, known)| !**known);
            results.extend(missing.map(|(place, _)| (place, Err(error.clone()))));
        }
        for (place, _) in &results {
            self.known[*place] = true;
        }
        self.missing -= results.len();
        self.store.figures.called(results.iter().map(|(_, result)| result));
        Some(results)
    }

    /// Waits for all results, and returns them in the order of the calls.
    pub(super) async fn all(mut self) -> Vec<StoreResult> {
        let mut all = vec![Err(StoreError::TimedOut); self.known.len()];
        while let Some(results) = self.next().await {
            for (place, result) in results {
                all[place] = result;
            }
        }
        all
    }
}
