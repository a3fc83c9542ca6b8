//! Metrics of Python hooks, counted by their callers.

use std::collections::BTreeMap;

use pylae_core::hook::Run;
use serde::{Deserialize, Serialize};

use super::super::page::{COUNTER, GAUGE, Page};

/// Counters of a hook on a route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HookFigures {
    /// Name of the hook.
    pub hook: String,
    /// Name of the route.
    pub route: String,
    /// Where it runs.
    pub run: Run,
    /// Calls.
    pub calls: u64,
    /// Calls that raised.
    pub failures: u64,
    /// Calls that exceeded the hook's timeout.
    pub timeouts: u64,
    /// Seconds that workers spent in the hook.
    pub worker_seconds: f64,
    /// Seconds that calls took elsewhere: on the asyncio loop or the pool of threads, waiting included.
    pub away_seconds: f64,
    /// True if the hook was moved off the workers because it took too long.
    pub demoted: bool,
    /// Calls that should have returned by now.
    pub overdue: u64,
    /// Calls that were not made, because others do not return.
    pub refused: u64,
    /// Seconds that one call may keep a worker, if that is bounded.
    pub budget: Option<f64>,
    /// Calls that kept a worker longer.
    pub over_budget: u64,
}

impl HookFigures {
    /// Adds figures of hooks to those of the same hooks.
    pub fn add_all(sums: &mut Vec<Self>, figures: Vec<Self>) {
        for one in figures {
            match sums.iter_mut().find(|sum| sum.hook == one.hook && sum.route == one.route) {
                Some(sum) => sum.add(&one),
                None => sums.push(one),
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.timeouts += other.timeouts;
        self.worker_seconds += other.worker_seconds;
        self.away_seconds += other.away_seconds;
        self.demoted |= other.demoted;
        self.overdue += other.overdue;
        self.refused += other.refused;
        self.over_budget += other.over_budget;
    }
}

/// The sums of all hooks with one name on a route.
#[derive(Default)]
struct Sums {
    calls: u64,
    failures: u64,
    timeouts: u64,
    seconds: f64,
    away: f64,
    over_budget: u64,
    demoted: u64,
    overdue: u64,
    refused: u64,
}

impl Page {
    /// Hooks by route and name. A hook that a route calls several times is one sample.
    pub(crate) fn hooks(&mut self, hooks: &[HookFigures]) {
        let mut sums: BTreeMap<(&str, &str), Sums> = BTreeMap::new();
        for one in hooks {
            let sum = sums.entry((&one.route, &one.hook)).or_default();
            sum.calls += one.calls;
            sum.failures += one.failures;
            sum.timeouts += one.timeouts;
            sum.seconds += one.worker_seconds;
            sum.away += one.away_seconds;
            sum.over_budget += one.over_budget;
            sum.demoted += u64::from(one.demoted);
            sum.overdue += one.overdue;
            sum.refused += one.refused;
        }
        self.hook(COUNTER, "pylae_hook_calls_total", "Calls of Python hooks.", &sums, |sum| to_float(sum.calls));
        self.hook(COUNTER, "pylae_hook_failures_total", "Calls that raised.", &sums, |sum| to_float(sum.failures));
        let what = "Calls that took longer than the hook may.";
        self.hook(COUNTER, "pylae_hook_timeouts_total", what, &sums, |sum| to_float(sum.timeouts));
        let what = "Time that workers spent in Python hooks.";
        self.hook(COUNTER, "pylae_hook_worker_seconds_total", what, &sums, |sum| sum.seconds);
        let what = "Time that calls of Python hooks took on the asyncio loop or the pool of threads, waiting included.";
        self.hook(COUNTER, "pylae_hook_away_seconds_total", what, &sums, |sum| sum.away);
        let what = "Calls of Python hooks that kept a worker longer than the hook's budget.";
        self.hook(COUNTER, "pylae_hook_over_budget_total", what, &sums, |sum| to_float(sum.over_budget));
        let what = "Hooks that were moved off the workers, because they kept them longer than their budget.";
        self.hook(GAUGE, "pylae_hook_demoted", what, &sums, |sum| to_float(sum.demoted));
        let what = "Calls of Python hooks that were not made, because other calls do not return (hook_stuck).";
        self.hook(COUNTER, "pylae_hook_refused_total", what, &sums, |sum| to_float(sum.refused));
        let what = "Calls of Python hooks that should have returned by now.";
        self.hook(GAUGE, "pylae_hook_overdue", what, &sums, |sum| to_float(sum.overdue));
    }

    fn hook(
        &mut self,
        kind: &str,
        name: &str,
        help: &str,
        sums: &BTreeMap<(&str, &str), Sums>,
        value: impl Fn(&Sums) -> f64,
    ) {
        self.family(name, kind, help);
        for ((route, hook), sums) in sums {
            self.sample(name, &[("route", route), ("hook", hook)], value(sums));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a page has doubles anyway")]
fn to_float(count: u64) -> f64 {
    count as f64
}
