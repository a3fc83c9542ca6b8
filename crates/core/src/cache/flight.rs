//! One request to the service for many waiting clients, on whichever workers they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::Instant;

/// What became of a fetch that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// Its answer is in the cache.
    Stored,
    /// Its answer is for nobody else: everybody asks on his own.
    Alone,
    /// The service failed: what is stale may do, and otherwise everybody asks on his own.
    Failed,
    /// Whoever made it has gone: one of those who wait makes it again.
    Abandoned,
}

/// A fetch under way.
#[derive(Debug)]
pub struct Flight {
    /// When it began.
    pub began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    landing: Option<FetchOutcome>,
    wakers: Vec<Waker>,
}

impl Flight {
    /// Ready once it is over.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<FetchOutcome> {
        let mut state = self.state.lock();
        if let Some(landing) = state.landing {
            return Poll::Ready(landing);
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn land(&self, landing: FetchOutcome) {
        let wakers = {
            let mut state = self.state.lock();
            state.landing = Some(landing);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// All fetches under way, by key.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Box<[u8]>, Arc<Flight>>>);

impl Flights {
    /// The right to make the fetch, or the one that is being made.
    pub(crate) fn take_off(self: &Arc<Self>, key: &[u8], now: Instant) -> Result<FlightLead, Arc<Flight>> {
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(key) {
            return Err(Arc::clone(flight));
        }
        let flight = Arc::new(Flight { began: now, state: Mutex::default() });
        flights.insert(key.into(), Arc::clone(&flight));
        Ok(FlightLead { flights: Arc::clone(self), key: key.into(), flight, landing: FetchOutcome::Abandoned })
    }
}

/// The right and the duty to make a fetch that others wait for. Dropped unheard, it counts as abandoned.
#[derive(Debug)]
pub(crate) struct FlightLead {
    flights: Arc<Flights>,
    key: Box<[u8]>,
    flight: Arc<Flight>,
    landing: FetchOutcome,
}

impl FlightLead {
    /// Ends the wait of the others.
    pub(super) fn land(mut self, landing: FetchOutcome) {
        self.landing = landing;
    }
}

impl Drop for FlightLead {
    fn drop(&mut self) {
        self.flights.0.lock().remove(&self.key);
        self.flight.land(self.landing);
    }
}
