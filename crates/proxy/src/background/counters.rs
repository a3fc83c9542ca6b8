//! Counts the limits that nodes share: has the store execute what the counters of this node ask, and hands the answers
//! back.

use std::sync::Arc;
use std::time::Duration;

use pylae_core::limit::shared::{CallLoss, Due, StoreCall};
use pylae_core::limit::{Clocks, CounterStore, LedgerAnswer, SharedCounterStore};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval};

use crate::io::clock;
use crate::store::{Store, StoreError, StoreResult, ledger};
use crate::telemetry::log::Refusals;

/// Most calls that are sent together. What is left goes with the next ones.
const MOST_CALLS: usize = 4096;

/// The limits that this node shares with others.
pub(crate) struct ClusterCounters {
    store: Arc<Store>,
    counters: Arc<SharedCounterStore>,
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
        let wake = Arc::clone(&urgent);
        let flush = plan.flush.0;
        let counters = SharedCounterStore::new(max_keys, flush, plan.on_store_error, move || wake.notify_one());
        Arc::new(Self {
            store: Arc::clone(store),
            counters: Arc::new(counters),
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
                    self.counters.set_available(available, clocks());
                    continue;
                }
                () = self.urgent.notified() => Due::Urgent,
                _ = flushes.tick() => {
                    self.counters.set_nodes(self.store.nodes());
                    Due::All
                }
            };
            let calls = self.counters.collect(due, clocks(), MOST_CALLS);
            if !calls.is_empty() {
                spawn_local(Arc::clone(&self).send(calls));
            }
        }
    }

    async fn send(self: Arc<Self>, calls: Vec<StoreCall>) {
        let sent = clock::now();
        let asked =
            calls.iter().map(|call| ledger::call(self.store.spread_key("limit", &call.key), &call.call, call.clear));
        let results = self.store.run_replicated(asked.collect()).await;
        let arrived = clocks();
        for (call, result) in calls.into_iter().zip(results) {
            let answer = self.read(&call, result);
            self.counters.answer(call, sent, arrived, answer);
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
            None => self.report(|| format!("the store gave an answer that is none: {value:?}")),
            Some(answer) if answer.replaced => self.report(|| {
                "the store had something else where a limit is counted; the limit counts as used up".to_owned()
            }),
            Some(_) => {}
        }
        answer.ok_or(CallLoss::Unanswered)
    }

    fn report(&self, what: impl FnOnce() -> String) {
        self.reports.report(self.store.log(), clock::coarse(), "store_answer", what);
    }
}

fn clocks() -> Clocks {
    Clocks { now: clock::now(), wall: clock::wall() }
}
