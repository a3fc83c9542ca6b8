//! The figures of the last minute: a sliding window of sampled intervals.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use pylae_core::Instant;

use super::histogram::Durations;
use super::names::{NONE, Names};
use super::series::{Figures, METHODS, TallyFigures};

/// Length of the window.
pub(crate) const SPAN: Duration = Duration::from_secs(60);
/// Interval between samples.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Position of a method in [`METHODS`].
type MethodIndex = usize;

/// Growth of all figures over the last minute.
#[derive(Debug)]
pub(crate) struct RecentGrowth {
    /// The figures of the last sample.
    last: HashMap<(Names, MethodIndex), TallyFigures>,
    intervals: VecDeque<Interval>,
    /// When the last sample was taken.
    sampled: Instant,
}

#[derive(Debug)]
struct Interval {
    from: Instant,
    growth: BTreeMap<(Box<str>, MethodIndex), Growth>,
}

/// The growth of the figures of a service and a method, with the duration buckets that grew.
#[derive(Debug, Default)]
struct Growth {
    requests: u64,
    errors: u64,
    sum: u64,
    buckets: Vec<(u8, u64)>,
}

/// The exchanges of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Actual length: shorter than a minute by up to [`INTERVAL`], or if the engine was started later.
    pub(crate) span: Duration,
    pub(crate) by_service: BTreeMap<(Box<str>, MethodIndex), Within>,
}

/// The exchanges of one kind within the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Within {
    pub(crate) requests: u64,
    /// Those answered with 5xx, without those of maintenance.
    pub(crate) errors: u64,
    pub(crate) duration: Durations,
}

impl RecentGrowth {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last: HashMap::new(), intervals: VecDeque::new(), sampled: now }
    }

    /// Ends the interval that began at the last sample.
    pub(crate) fn sample(&mut self, now: Instant, figures: &[(Names, Figures)]) {
        let growth = self.growth(figures);
        self.intervals.push_back(Interval { from: self.sampled, growth });
        self.intervals.retain(|interval| now.since(interval.from) <= SPAN);
        self.last = tallies(figures).map(|(names, method, tally)| ((names.clone(), method), tally.clone())).collect();
        self.sampled = now;
    }

    /// Returns the window that ends at `now`, whose figures are `figures`.
    pub(crate) fn window(&self, now: Instant, figures: &[(Names, Figures)]) -> Window {
        let mut within = BTreeMap::new();
        let current = Interval { from: self.sampled, growth: self.growth(figures) };
        let mut from = now;
        for interval in self.intervals.iter().chain([&current]).filter(|one| now.since(one.from) <= SPAN) {
            from = from.min(interval.from);
            for (key, growth) in &interval.growth {
                let total: &mut Within = within.entry(key.clone()).or_default();
                total.requests += growth.requests;
                total.errors += growth.errors;
                total.duration.put(growth.sum, growth.buckets.iter().copied());
            }
        }
        Window { span: now.since(from), by_service: within }
    }

    fn growth(&self, figures: &[(Names, Figures)]) -> BTreeMap<(Box<str>, MethodIndex), Growth> {
        let (mut grown, nothing) = (BTreeMap::<_, Growth>::new(), TallyFigures::default());
        for (names, method, tally) in tallies(figures) {
            let before = self.last.get(&(names.clone(), method)).unwrap_or(&nothing);
            if tally.requests() <= before.requests() {
                continue;
            }
            let growth = grown.entry((names.1.clone(), method)).or_default();
            growth.requests += tally.requests() - before.requests();
            growth.errors += tally.failures().saturating_sub(before.failures());
            let (sum, buckets) = tally.duration.since(&before.duration);
            growth.sum += sum;
            growth.buckets.extend(buckets);
        }
        grown
    }
}

/// The tallies of all exchanges that a route took. Unrouted ones say nothing about how well services respond.
fn tallies(figures: &[(Names, Figures)]) -> impl Iterator<Item = (&Names, MethodIndex, &TallyFigures)> {
    figures.iter().filter(|(names, _)| &*names.1 != NONE).flat_map(|(names, figures)| {
        let seen = (0..METHODS.len()).zip(&figures.methods);
        seen.filter_map(move |(method, tally)| Some((names, method, tally.as_ref()?)))
    })
}

#[cfg(test)]
mod tests;
