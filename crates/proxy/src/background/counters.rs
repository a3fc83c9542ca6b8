//! Counts the limits that nodes share: has the store execute what the counters of this node ask, and hands the answers
//! back. The same for the places of exchanges in flight.

use std::sync::Arc;
use std::time::Duration;

use pylae_core::limit::shared::{CallLoss, Due, StoreCall};
use pylae_core::limit::{
    Clocks, CounterStore, LedgerAnswer, PlaceCall, PlacesAnswer, SharedCounterStore, SharedInFlight,
};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval};

use crate::io::clock;
use crate::store::{Store, StoreError, StoreResult, StoreValue, ledger, places};
use crate::telemetry::log::Refusals;

/// Most calls that are sent together. What is left goes with the next ones.
const MOST_CALLS: usize = 4096;

/// The limits that this node shares with others.
pub(crate) struct ClusterCounters {
    store: Arc<Store>,
    counters: Arc<SharedCounterStore>,
    places: SharedInFlight,
    /// Told of calls that cannot wait for the next flush.
    urgent: Arc<Notify>,
    flush: Duration,
    reports: Refusals,
}

impl ClusterCounters {
    /// Prepares counters of at most `max_keys` keys over `store`.
    pub(crate) fn new(store: &Arc<Store>, max_keys: usize) -> Arc<Self> {
        let plan = store.plan();
        let urgent = Arc::new(Notify::new());
        let wake = || {
            let urgent = Arc::clone(&urgent);
            move || urgent.notify_one()
        };
        let flush = plan.flush.0;
        let counters = SharedCounterStore::new(max_keys, flush, plan.on_store_error, wake());
        let places = SharedInFlight::new(fastrand::u64(..), max_keys, plan.on_store_error, wake());
        Arc::new(Self {
            store: Arc::clone(store),
            counters: Arc::new(counters),
            places,
            urgent,
            flush,
            reports: Refusals::default(),
        })
    }

    /// The counters, for policies.
    pub(crate) fn counters(&self) -> Arc<dyn CounterStore> {
        Arc::clone(&self.counters) as _
    }

    /// The number of keys with a view, and the memory of the views in bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.counters.keys(), self.counters.bytes())
    }

    /// Requests that had to wait for the store to decide on their limits.
    pub(crate) fn waits(&self) -> u64 {
        self.counters.waits()
    }

    /// The places of exchanges in flight, for policies.
    pub(crate) fn places(&self) -> SharedInFlight {
        self.places.clone()
    }

    /// Runs for ever, within the `LocalSet` of the store's thread.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut availability = self.store.availability();
        // What it is now counts as a change.
        availability.mark_changed();
        let mut flushes = interval(self.flush);
        flushes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = tokio::select! {
                biased;
                // The store, which has the sender, is there as long as this.
                _ = availability.changed() => {
                    let available = *availability.borrow_and_update();
                    self.tell_nodes();
                    self.counters.set_reach(available.into(), clocks());
                    self.places.set_reach(available.into(), clock::now());
                    continue;
                }
                () = self.urgent.notified() => Due::Urgent,
                _ = flushes.tick() => Due::All,
            };
            self.tell_nodes();
            let calls = self.counters.collect(due, clocks(), MOST_CALLS);
            let places = self.places.collect(due, clock::now(), MOST_CALLS);
            if !calls.is_empty() || !places.is_empty() {
                spawn_local(Arc::clone(&self).send(calls, places));
            }
        }
    }

    /// Says how many nodes there are: what each may do alone depends on it.
    fn tell_nodes(&self) {
        self.counters.set_nodes(self.store.nodes());
        self.places.set_nodes(self.store.nodes());
    }

    async fn send(self: Arc<Self>, calls: Vec<StoreCall>, places: Vec<PlaceCall>) {
        let sent = clock::now();
        let counted =
            calls.iter().map(|call| ledger::call(self.store.spread_key("limit", &call.key), &call.call, call.clear));
        let placed = places.iter().map(|call| places::call(self.store.spread_key("places", &call.key), &call.call));
        let mut results = self.store.run_replicated(counted.chain(placed).collect()).await.into_iter();
        let arrived = clocks();
        for (call, result) in calls.into_iter().zip(results.by_ref()) {
            let answer = self.read(&call, result);
            self.counters.answer(call, sent, arrived, answer);
        }
        for (call, result) in places.into_iter().zip(results) {
            let answer = self.read_places(&call, result);
            self.places.answer(call, sent, arrived.now, answer.as_ref());
        }
    }

    /// Returns the answer, or what is known of a call without one.
    fn read(&self, call: &StoreCall, result: StoreResult) -> Result<LedgerAnswer, CallLoss> {
        let value = result.map_err(|error| match error {
            StoreError::Busy | StoreError::Refused(_) => CallLoss::Unsent,
            StoreError::Unavailable | StoreError::TimedOut | StoreError::NotReplicated => CallLoss::Unanswered,
        })?;
        let answer = ledger::answer(&call.call, &value);
        match &answer {
            None => self.report_strange(&value),
            Some(answer) => self.report_replaced(answer.replaced),
        }
        answer.ok_or(CallLoss::Unanswered)
    }

    /// Returns the answer; None if there is none.
    fn read_places(&self, call: &PlaceCall, result: StoreResult) -> Option<PlacesAnswer> {
        // Failed calls are counted and reported by the store.
        let value = result.ok()?;
        let answer = places::answer(&call.call, &value);
        match &answer {
            None => self.report_strange(&value),
            Some(answer) => self.report_replaced(answer.replaced),
        }
        answer
    }

    fn report_strange(&self, value: &StoreValue) {
        self.report(|| format!("the store gave an answer that is none: {value:?}"));
    }

    fn report_replaced(&self, replaced: bool) {
        if replaced {
            let what = "the store had something else where a limit is counted; the limit counts as used up";
            self.report(|| what.to_owned());
        }
    }

    fn report(&self, what: impl FnOnce() -> String) {
        self.reports.report(self.store.log(), clock::coarse(), "store_answer", what);
    }
}

fn clocks() -> Clocks {
    Clocks { now: clock::now(), wall: clock::wall() }
}
