//! Counts the limits that nodes share: has the store execute what the counters of this node ask, and hands the answers
//! back. The same for the places of exchanges in flight.

mod window;

use std::sync::Arc;
use std::time::Duration;

use pylae_core::limit::shared::{CallLoss, Due, StoreCall, StoreReach};
use pylae_core::limit::{
    Clocks, CounterStore, LedgerAnswer, PlaceCall, PlacesAnswer, SharedCounterStore, SharedInFlight,
};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until, timeout};

use self::window::CallWindow;
use crate::io::clock;
use crate::store::{Reach, Store, StoreError, StoreResult, StoreValue, ledger, places};
use crate::telemetry::log::Refusals;

/// Most calls that are sent together. What is left goes with the next ones.
const MOST_CALLS: usize = 4096;
/// The kinds of keys in the store.
const LIMITS: &str = "limit";
const PLACES: &str = "places";

/// How long a stop waits until the store knows everything.
const FAREWELL: Duration = Duration::from_millis(250);

const REPLACED: &str = "the store had something else where a limit is counted, perhaps of another version of Pylae; \
                        the limit counts as used up";

/// The limits that this node shares with others.
pub(crate) struct ClusterCounters {
    store: Arc<Store>,
    counters: Arc<SharedCounterStore>,
    places: SharedInFlight,
    /// Told of calls that cannot wait for the next flush.
    urgent: Arc<Notify>,
    /// Told of the first call that can.
    news: Arc<Notify>,
    flush: Duration,
    /// Messages to the store that are on their way.
    sending: watch::Sender<usize>,
    window: CallWindow,
    reports: Refusals,
}

impl ClusterCounters {
    /// Prepares counters of at most `max_keys` keys over `store`.
    pub(crate) fn new(store: &Arc<Store>, max_keys: usize) -> Arc<Self> {
        let plan = store.plan();
        let (urgent, news) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let wake = || {
            let (urgent, news) = (Arc::clone(&urgent), Arc::clone(&news));
            move |due| match due {
                Due::Urgent => urgent.notify_one(),
                Due::All => news.notify_one(),
            }
        };
        let flush = plan.flush.0;
        let counters = SharedCounterStore::new(max_keys, flush, plan.on_store_error, wake());
        let places = SharedInFlight::new(fastrand::u64(..), max_keys, plan.on_store_error, wake());
        Arc::new(Self {
            store: Arc::clone(store),
            counters: Arc::new(counters),
            places,
            urgent,
            news,
            flush,
            sending: watch::Sender::new(0),
            window: CallWindow::new(plan.timeout.0, MOST_CALLS),
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
        let (mut reach, mut nodes) = (self.store.reach(), self.store.follow_nodes());
        // What they are now counts as a change.
        reach.mark_changed();
        nodes.mark_changed();
        // It begins with the first call that waits for it, so that nobody is woken while there is nothing to tell.
        let mut flush_at = None;
        loop {
            let due = tokio::select! {
                biased;
                // The store, which has the senders, is there as long as this.
                _ = nodes.changed() => {
                    // What each may do alone depends on it.
                    let nodes = *nodes.borrow_and_update();
                    self.counters.set_nodes(nodes);
                    self.places.set_nodes(nodes);
                    continue;
                }
                _ = reach.changed() => {
                    let reach = reach.borrow_and_update().clone();
                    self.window.reset();
                    self.counters.set_reach(self.reach(&reach, LIMITS), clocks());
                    self.places.set_reach(self.reach(&reach, PLACES), clock::now());
                    flush_at = flush_at.or_else(|| self.next_flush());
                    continue;
                }
                () = moment(flush_at) => Due::All,
                () = self.urgent.notified() => Due::Urgent,
                () = self.news.notified(), if flush_at.is_none() => {
                    // It may be from before the last flush.
                    flush_at = self.next_flush();
                    continue;
                }
            };
            if let Some(sending) = self.collect(due) {
                spawn_local(sending);
            }
            if due == Due::All {
                flush_at = self.next_flush();
            }
        }
    }

    /// When the next flush is due, or None if there is nothing to tell.
    fn next_flush(&self) -> Option<Instant> {
        let has_news = self.counters.has_news() || self.places.keys() > 0;
        has_news.then(|| Instant::now() + self.flush)
    }

    /// Which keys of this kind the store answers for.
    fn reach(&self, reach: &Reach, kind: &'static str) -> StoreReach {
        match reach {
            Reach::All => StoreReach::All,
            Reach::Nothing => StoreReach::Nothing,
            Reach::Some(_) => {
                let (store, reach) = (Arc::clone(&self.store), reach.clone());
                StoreReach::Some(Arc::new(move |key| reach.covers(&store.spread_key(kind, key))))
            }
        }
    }

    /// Tells the store what it does not know, and gives back what this node holds, but not for long: the node ends.
    pub(crate) async fn leave(self: Arc<Self>) {
        self.counters.retire();
        self.places.retire();
        let mut sending = self.sending.subscribe();
        let all = async {
            // What is on its way may bring something to give back, or be lost. The sender is there as long as this.
            while sending.wait_for(|number| *number == 0).await.is_ok()
                && let Some(sending) = self.collect(Due::All)
            {
                sending.await;
            }
        };
        // What is not told by then, the store counts as used once its time is over.
        let _ = timeout(FAREWELL, all).await;
    }

    /// The message with the calls that are due, or None if there are none.
    fn collect(self: &Arc<Self>, due: Due) -> Option<impl Future<Output = ()> + use<>> {
        // What somebody waits for goes at once.
        let most = if due == Due::All { self.window.room() } else { MOST_CALLS };
        let calls = self.counters.collect(due, clocks(), most);
        let places = self.places.collect(due, clock::now(), most);
        if calls.is_empty() && places.is_empty() {
            return None;
        }
        Some(CountersMessage::new(Arc::clone(self), calls, places).send())
    }

    /// Returns the answer, or what is known of a call without one.
    fn read(&self, call: &StoreCall, result: StoreResult) -> Result<LedgerAnswer, CallLoss> {
        let value = result.map_err(|error| match error {
            StoreError::Busy | StoreError::Refused(_) => CallLoss::Unsent,
            StoreError::Unavailable | StoreError::TimedOut | StoreError::NotReplicated => CallLoss::Unanswered,
        })?;
        let answer = ledger::answer(&call.call, &value);
        self.report_odd(&value, answer.as_ref().map(|answer| answer.replaced));
        answer.ok_or(CallLoss::Unanswered)
    }

    /// Returns the answer; None if there is none.
    fn read_places(&self, call: &PlaceCall, result: StoreResult) -> Option<PlacesAnswer> {
        // Failed calls are counted and reported by the store.
        let value = result.ok()?;
        let answer = places::answer(&call.call, &value);
        self.report_odd(&value, answer.as_ref().map(|answer| answer.replaced));
        answer
    }

    /// Reports an answer that is none, or that has replaced what the store had.
    fn report_odd(&self, value: &StoreValue, replaced: Option<bool>) {
        match replaced {
            None => self.report(|| format!("the store gave an answer that is none: {value:?}")),
            Some(true) => self.report(|| REPLACED.to_owned()),
            Some(false) => {}
        }
    }

    fn report(&self, what: impl FnOnce() -> String) {
        self.reports.report(self.store.log(), clock::coarse(), "store_answer", what);
    }
}

/// Calls on their way to the store. Those that have no answer when this is dropped are lost: the store's thread has
/// panicked, and has dropped its tasks. Nobody must wait for them for ever.
struct CountersMessage {
    counters: Arc<ClusterCounters>,
    sent: pylae_core::Instant,
    calls: Vec<Option<StoreCall>>,
    places: Vec<Option<PlaceCall>>,
}

impl CountersMessage {
    fn new(counters: Arc<ClusterCounters>, calls: Vec<StoreCall>, places: Vec<PlaceCall>) -> Self {
        counters.sending.send_modify(|number| *number += 1);
        let (calls, places) = (calls.into_iter().map(Some).collect(), places.into_iter().map(Some).collect());
        Self { counters, sent: clock::now(), calls, places }
    }

    async fn send(mut self) {
        let ClusterCounters { store, window, .. } = &*Arc::clone(&self.counters);
        let under_way = window.send(self.calls.len() + self.places.len());
        let calls = self.calls.iter().flatten();
        let counted = calls.map(|call| ledger::call(store.spread_key(LIMITS, &call.key), &call.call, call.clear));
        let calls = self.places.iter().flatten();
        let placed = calls.map(|call| places::call(store.spread_key(PLACES, &call.key), &call.call));
        let mut answers = store.ask_replicated(counted.chain(placed).collect());
        while let Some(results) = answers.next().await {
            let arrived = clocks();
            under_way.learn(results.iter().map(|(_, result)| result), arrived.now.since(self.sent));
            for (place, result) in results {
                self.answer(place, arrived, result);
            }
        }
    }

    fn answer(&mut self, place: usize, arrived: Clocks, result: StoreResult) {
        let Self { counters, sent, calls, places } = self;
        if let Some(call) = calls.get_mut(place) {
            let Some(call) = call.take() else { return };
            let answer = counters.read(&call, result);
            counters.counters.answer(call, *sent, arrived, answer);
        } else if let Some(call) = places.get_mut(place - calls.len()).and_then(Option::take) {
            let answer = counters.read_places(&call, result);
            counters.places.answer(call, *sent, arrived.now, answer.as_ref());
        }
    }
}

impl Drop for CountersMessage {
    fn drop(&mut self) {
        for place in 0..self.calls.len() + self.places.len() {
            self.answer(place, clocks(), Err(StoreError::Unavailable));
        }
        self.counters.sending.send_modify(|number| *number -= 1);
    }
}

/// Waits until a moment, or for ever.
async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn clocks() -> Clocks {
    Clocks { now: clock::now(), wall: clock::wall() }
}

#[cfg(test)]
mod tests;
