//! What each policy and each hook costs, since the start and in the last minute.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pylae_core::Instant;
use pylae_core::hook::{Run, full_name};
use serde::Serialize;

use super::super::names::Names;
use super::super::recent::SPAN;
use super::super::series::Figures;
use super::hooks::HookFigures;
use super::page::by_route;

/// A hook is said to be over its budget if more than one in this many calls was, as when it is moved off the workers,
/// and at least [`FEWEST_OVERRUNS`].
const ONE_IN: u64 = 9;
const FEWEST_OVERRUNS: u64 = 3;

/// What policies and hooks have cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Costs {
    /// Length of the time that `recent` is about, in seconds: a minute, or since the start.
    pub window: f64,
    /// One entry for each policy of each route that was timed, and each hook that was called.
    pub costs: Vec<Cost>,
}

/// What one policy or hook of one route has cost.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// What it is.
    pub kind: CostKind,
    /// Name of the route; empty in the early stage, and for the function of an authenticator.
    pub route: Box<str>,
    /// Name of the policy or hook.
    pub name: Box<str>,
    /// Since the start.
    #[serde(flatten)]
    pub total: Spending,
    /// Within the window.
    pub recent: Spending,
    /// How a hook is doing.
    pub hook: Option<HookState>,
}

/// What has a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostKind {
    /// A policy.
    Policy,
    /// A Python hook.
    Hook,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spending {
    /// Requests that a policy has seen, estimated; calls of a hook.
    pub calls: u64,
    /// Time of workers, in seconds. That of policies is estimated.
    #[serde(serialize_with = "as_seconds")]
    pub seconds: Duration,
    /// Time that exchanges waited besides: for the store, an authenticator, or a hook that does not run on the worker.
    #[serde(serialize_with = "as_seconds")]
    pub waited: Duration,
    /// Requests that a policy refused.
    pub rejections: u64,
    /// Requests that it failed, or calls of a hook that failed or took too long.
    pub failures: u64,
    /// Calls of a hook that kept a worker longer than its budget.
    pub over_budget: u64,
}

/// How a hook is doing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HookState {
    /// Where it runs now.
    pub run: Run,
    /// Seconds that one call may keep a worker.
    pub budget: Option<f64>,
    /// True if it was moved off the workers because it took too long.
    pub demoted: bool,
}

fn as_seconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

type CostKey = (CostKind, Box<str>, Box<str>);
type SpentByKey = BTreeMap<CostKey, Spending>;

/// What was spent in the last minute: a sliding window of sampled intervals.
#[derive(Debug)]
pub(crate) struct CostGrowth {
    last: SpentByKey,
    /// When each interval began, and what was spent in it.
    intervals: VecDeque<(Instant, SpentByKey)>,
    sampled: Instant,
}

/// What was spent since the start.
pub(crate) fn spent(routes: &[(Names, Figures)], hooks: &[HookFigures]) -> SpentByKey {
    let policies = by_route(routes).into_iter().map(|((route, name), one)| {
        let spending = Spending {
            calls: one.runs,
            seconds: Duration::from_nanos(one.nanos),
            waited: Duration::from_nanos(one.waited),
            rejections: one.rejections,
            failures: one.failures,
            over_budget: 0,
        };
        ((CostKind::Policy, route.into(), name.into()), spending)
    });
    let mut found: SpentByKey = policies.collect();
    for one in hooks.iter().filter(|one| one.calls > 0) {
        let key = (CostKind::Hook, one.route.as_str().into(), one.hook.as_str().into());
        // A hook that a route calls several times is one.
        found.entry(key).or_default().add(&Spending {
            calls: one.calls,
            seconds: Duration::try_from_secs_f64(one.worker_seconds).unwrap_or_default(),
            waited: Duration::try_from_secs_f64(one.away_seconds).unwrap_or_default(),
            rejections: 0,
            failures: one.failures + one.timeouts + one.refused,
            over_budget: one.over_budget,
        });
    }
    found
}

impl Spending {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.seconds += other.seconds;
        self.waited += other.waited;
        self.rejections += other.rejections;
        self.failures += other.failures;
        self.over_budget += other.over_budget;
    }

    /// What was spent since `before`. A hook that was replaced begins anew.
    fn since(&self, before: &Self) -> Self {
        if self.calls < before.calls {
            return *self;
        }
        Self {
            calls: self.calls - before.calls,
            seconds: self.seconds.saturating_sub(before.seconds),
            waited: self.waited.saturating_sub(before.waited),
            rejections: self.rejections.saturating_sub(before.rejections),
            failures: self.failures.saturating_sub(before.failures),
            over_budget: self.over_budget.saturating_sub(before.over_budget),
        }
    }
}

impl CostGrowth {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last: SpentByKey::new(), intervals: VecDeque::new(), sampled: now }
    }

    /// Ends the interval that began at the last sample.
    pub(crate) fn sample(&mut self, now: Instant, spent: SpentByKey) {
        let growth = self.growth(&spent);
        self.intervals.push_back((self.sampled, growth));
        self.intervals.retain(|(from, _)| now.since(*from) <= SPAN);
        (self.last, self.sampled) = (spent, now);
    }

    /// What was spent since the last sample.
    fn growth(&self, spent: &SpentByKey) -> SpentByKey {
        let nothing = Spending::default();
        let grown = spent.iter().map(|(key, now)| (key, now.since(self.last.get(key).unwrap_or(&nothing))));
        grown.filter(|(_, growth)| *growth != nothing).map(|(key, growth)| (key.clone(), growth)).collect()
    }

    /// What policies and hooks have cost up to `now`, dearest first.
    pub(crate) fn costs(&self, now: Instant, spent: SpentByKey, hooks: &[HookFigures]) -> Costs {
        let current = (self.sampled, self.growth(&spent));
        let (mut recent, mut from) = (SpentByKey::new(), now);
        for (began, growth) in self.intervals.iter().chain([&current]).filter(|(began, _)| now.since(*began) <= SPAN) {
            from = from.min(*began);
            for (key, one) in growth {
                recent.entry(key.clone()).or_default().add(one);
            }
        }
        let mut costs: Vec<Cost> = spent
            .into_iter()
            .map(|(key, total)| {
                let recent = recent.get(&key).copied().unwrap_or_default();
                let (kind, route, name) = key;
                let hook = (kind == CostKind::Hook).then(|| state_of(hooks, &route, &name)).flatten();
                Cost { kind, route, name, total, recent, hook }
            })
            .collect();
        costs.sort_by_key(|one| std::cmp::Reverse((one.recent.all(), one.total.all())));
        Costs { window: now.since(from).as_secs_f64(), costs }
    }
}

impl Spending {
    /// All the time.
    fn all(&self) -> Duration {
        self.seconds + self.waited
    }
}

fn state_of(hooks: &[HookFigures], route: &str, name: &str) -> Option<HookState> {
    let mut same = hooks.iter().filter(|one| one.route == route && one.hook == name);
    let first = same.next()?;
    let demoted = first.demoted || same.any(|one| one.demoted);
    Some(HookState { run: first.run, budget: first.budget, demoted })
}

impl Costs {
    /// One sentence for each hook that was over its budget in the last minute.
    pub(crate) fn over_budget(&self) -> impl Iterator<Item = String> {
        self.costs.iter().filter_map(|one| {
            let (state, recent) = (one.hook?, one.recent);
            let often = recent.over_budget >= FEWEST_OVERRUNS && recent.over_budget * ONE_IN > recent.calls;
            let overruns = state.demoted && recent.over_budget > 0;
            if !(often || overruns) {
                return None;
            }
            let budget = Duration::try_from_secs_f64(state.budget?).unwrap_or_default();
            let moved = if state.demoted { ", and was moved off the workers" } else { "" };
            Some(format!(
                "{} kept a worker longer than its budget of {budget:?} in {} of its last {} calls{moved}",
                full_name(&one.name, &one.route),
                recent.over_budget,
                recent.calls.max(recent.over_budget),
            ))
        })
    }
}

#[cfg(test)]
mod tests;
