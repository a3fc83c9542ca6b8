//! What the policies of an exchange cost: some exchanges are timed, and stand for the others.

use std::sync::Arc;

use pylae_core::Instant;
use pylae_core::trace::{StepKind, WaitedFor};
use pylae_policies::Chain;

use crate::flow::Flow;
use crate::io::clock;
use crate::telemetry::metrics::Series;

impl Flow<'_> {
    /// Has the policies timed, if it is this exchange's turn.
    #[inline]
    pub(crate) fn sample_costs(&mut self) {
        if let Some(weight) = self.worker.costs.next(|| self.worker.random_u64()) {
            self.exchange.time_policies(weight, clock::now);
        }
    }

    /// Counts a request that the policy before index `next` of the route's chain has ended with an error.
    pub(crate) fn count_refusal(&self, next: usize, status: u16) {
        if let Some(route) = self.route {
            self.count_refusal_in(&route.chain, route.series.as_ref(), next, status);
        }
    }

    /// Counts an answer by which a policy refuses a request, such as that of a service that decides. What
    /// `static_response` answers is meant.
    pub(crate) fn count_answer(&self, next: usize, status: u16) {
        let by = self.route.and_then(|route| route.chain.name_before(next));
        if status >= 400 && by != Some("static_response") {
            self.count_refusal(next, status);
        }
    }

    pub(crate) fn count_refusal_in(&self, chain: &Chain, series: Option<&Arc<Series>>, next: usize, status: u16) {
        if let (Some(series), Some(position)) = (series, chain.position_before(next)) {
            series.of(self.worker.index).count_refusal(position, status);
        }
    }

    /// The time at which a wait for a policy begins; costs nothing if nobody wants to know it.
    #[inline]
    pub(crate) fn wait_began(&self) -> Instant {
        if self.exchange.recorded || self.exchange.timed { clock::now() } else { Instant::default() }
    }

    /// Takes note of a wait for the policy that was entered last, or whose body half, before index `next`, ran last.
    pub(crate) fn wait_ended(&mut self, chain: &Chain, next: Option<usize>, began: Instant) {
        let next = next.unwrap_or(self.exchange.entered);
        let policy = chain.name_before(next).unwrap_or_default();
        self.note_wait(chain, next, (WaitedFor::Policy(policy), began));
    }

    /// Takes note of a wait for the fetch of another exchange.
    pub(crate) fn fetch_ended(&mut self, chain: &Chain, began: Instant) {
        self.note_wait(chain, self.exchange.entered, (WaitedFor::Fetch, began));
    }

    fn note_wait(&mut self, chain: &Chain, next: usize, (what, began): (WaitedFor, Instant)) {
        self.step_ended(StepKind::Wait(what), began);
        if self.exchange.timed {
            chain.record_wait(next, self.exchange, began);
        }
    }

    /// Adds what the policies of a timed exchange cost to the counters of its route.
    pub(super) fn count_costs(&self) {
        let Some(timings) = self.exchange.timings().filter(|timings| timings.weight > 0) else { return };
        let series = self.route.map_or(&self.snapshot.series, |route| &route.series);
        let early = self.snapshot.early.as_ref().and_then(|early| early.series.as_ref());
        for (series, is_early) in [(series.as_ref(), false), (early, true)] {
            if let Some(series) = series {
                series.of(self.worker.index).add_costs(timings, is_early);
            }
        }
    }
}
