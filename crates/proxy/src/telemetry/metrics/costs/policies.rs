//! What the policies of a route cost. Times come from a sample of exchanges, refusals from all of them.

use std::collections::BTreeMap;

use pylae_core::exchange::timing::{PolicyOutcome, PolicyPart, PolicyTimings};
use pylae_policies::TABLE;

use super::super::counter::Counter;
use crate::io::clock;

/// One worker's counters of the policies of one route, by position in the table.
#[derive(Debug, Default)]
pub(crate) struct PolicyBlock([PolicyCounters; TABLE.len()]);

#[derive(Debug, Default)]
struct PolicyCounters {
    runs: Counter,
    nanos: Counter,
    waited: Counter,
    rejections: Counter,
    failures: Counter,
}

/// What one policy of a route has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyFigures {
    /// Requests that it has seen, estimated.
    pub(crate) runs: u64,
    /// Time that workers spent in it, estimated.
    pub(crate) nanos: u64,
    /// Time that exchanges waited for what it needs from elsewhere, estimated.
    pub(crate) waited: u64,
    /// Requests that it refused with 4xx.
    pub(crate) rejections: u64,
    /// Requests that it ended with 5xx, or for which it waited too long.
    pub(crate) failures: u64,
}

impl PolicyBlock {
    /// Adds the runs of a timed exchange: those of the early stage, or the others.
    pub(crate) fn add(&self, timings: &PolicyTimings, early: bool) {
        let (weight, overhead) = (timings.weight, clock::overhead());
        for run in timings.runs().iter().filter(|run| run.early == early) {
            let Some(counters) = self.0.get(usize::from(run.position)) else { continue };
            let nanos = run.ended.as_nanos().saturating_sub(run.began.as_nanos()).saturating_sub(overhead);
            match run.part {
                PolicyPart::Wait => counters.waited.add(nanos * weight),
                _ => counters.nanos.add(nanos * weight),
            }
            if run.part == PolicyPart::Request && run.outcome != PolicyOutcome::Waits {
                counters.runs.add(weight);
            }
        }
        for (position, time) in timings.bodies().filter(|_| !early) {
            if let (Some(counters), Ok(nanos)) = (self.0.get(usize::from(position)), u64::try_from(time.as_nanos())) {
                counters.nanos.add(nanos * weight);
            }
        }
    }

    /// Counts a request that the policy at this position has ended with an error.
    pub(crate) fn count_refusal(&self, position: usize, status: u16) {
        if let Some(counters) = self.0.get(position) {
            if status >= 500 { &counters.failures } else { &counters.rejections }.add(1);
        }
    }

    /// Adds the counters to `totals`, by position.
    pub(crate) fn read(&self, totals: &mut BTreeMap<usize, PolicyFigures>) {
        for (position, counters) in self.0.iter().enumerate() {
            let read = PolicyFigures {
                runs: counters.runs.get(),
                nanos: counters.nanos.get(),
                waited: counters.waited.get(),
                rejections: counters.rejections.get(),
                failures: counters.failures.get(),
            };
            if read != PolicyFigures::default() {
                totals.entry(position).or_default().merge(&read);
            }
        }
    }
}

impl PolicyFigures {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        self.nanos += other.nanos;
        self.waited += other.waited;
        self.rejections += other.rejections;
        self.failures += other.failures;
    }
}

#[cfg(test)]
mod tests {
    use pylae_core::{Exchange, Instant};

    use super::*;

    fn read(block: &PolicyBlock) -> BTreeMap<usize, PolicyFigures> {
        let mut totals = BTreeMap::new();
        block.read(&mut totals);
        totals
    }

    #[test]
    fn a_timed_exchange_stands_for_others_and_a_policy_that_waits_ran_once() {
        let (block, mut exchange) = (PolicyBlock::default(), Exchange::default());
        exchange.time_policies(8, Instant::default);
        let mut add = |part, outcome, nanos: u64| {
            let end = Instant::from_nanos(1000 + nanos + clock::overhead());
            exchange.add_run(4, part, outcome, (Instant::from_nanos(1000), end));
        };
        add(PolicyPart::Request, PolicyOutcome::Waits, 100);
        add(PolicyPart::Wait, PolicyOutcome::Passed, 5000);
        add(PolicyPart::Request, PolicyOutcome::Passed, 20);
        add(PolicyPart::Response, PolicyOutcome::Passed, 3);
        block.add(exchange.timings().unwrap(), true);
        assert!(read(&block).is_empty(), "none of them was early");
        block.add(exchange.timings().unwrap(), false);
        block.count_refusal(4, 429);
        block.count_refusal(4, 503);
        let expected = PolicyFigures { runs: 8, nanos: 123 * 8, waited: 40_000, rejections: 1, failures: 1 };
        assert_eq!(read(&block), BTreeMap::from([(4, expected)]));
    }
}
