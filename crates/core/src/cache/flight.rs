//! Request collapsing: one request to the service for many waiting clients, on any worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::Instant;

/// How a fetch ended that other requests wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The response is in the cache.
    Stored,
    /// The response cannot be shared: each waiting request is forwarded on its own.
    Alone,
    /// The service failed: waiting requests use a stale response if they may, or else are forwarded on their own.
    Failed,
    /// The leading request was dropped: one of the waiting requests takes over.
    Abandoned,
}

/// A fetch in progress.
#[derive(Debug)]
pub struct Flight {
    /// When it began.
    pub began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<FetchOutcome>,
    wakers: Vec<Waker>,
}

impl Flight {
    /// Ready once the fetch is over.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<FetchOutcome> {
        let mut state = self.state.lock();
        if let Some(outcome) = state.outcome {
            return Poll::Ready(outcome);
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn finish(&self, outcome: FetchOutcome) {
        let wakers = {
            let mut state = self.state.lock();
            state.outcome = Some(outcome);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// All fetches in progress, by key.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Box<[u8]>, Arc<Flight>>>);

impl Flights {
    /// Begins a fetch, or returns the one that is in progress.
    pub(crate) fn begin(self: &Arc<Self>, key: &[u8], now: Instant) -> Result<FlightLeader, Arc<Flight>> {
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(key) {
            return Err(Arc::clone(flight));
        }
        let flight = Arc::new(Flight { began: now, state: Mutex::default() });
        flights.insert(key.into(), Arc::clone(&flight));
        Ok(FlightLeader { flights: Arc::clone(self), key: key.into(), flight, outcome: FetchOutcome::Abandoned })
    }
}

/// Held by the request that makes the fetch. Dropping it without an outcome counts as abandoned.
#[derive(Debug)]
pub(crate) struct FlightLeader {
    flights: Arc<Flights>,
    key: Box<[u8]>,
    flight: Arc<Flight>,
    outcome: FetchOutcome,
}

impl FlightLeader {
    /// Reports the outcome to the waiting requests.
    pub(super) fn finish(mut self, outcome: FetchOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for FlightLeader {
    fn drop(&mut self) {
        self.flights.0.lock().remove(&self.key);
        self.flight.finish(self.outcome);
    }
}
