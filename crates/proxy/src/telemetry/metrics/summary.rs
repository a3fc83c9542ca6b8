//! A summary of the most important figures, as one document.

use std::collections::BTreeMap;

use pylae_core::cache::Usage;
use pylae_core::hook::OverdueCall;
use pylae_core::service::breaker::BreakerState;
use pylae_core::service::{BreakerStats, ServiceStats};
use serde::Serialize;

use super::costs::Costs;
use super::names::NONE;
use super::recent::{Window, Within};
use super::registry::MetricsReading;
use super::series::{METHODS, method_name};
use super::stats::{FeedFigures, OverloadStats, Stats, WorkerFigures};
use super::store::StoreStats;
use super::totals::Totals;

/// Most hooks that are named as stuck.
const MAX_NAMED: usize = 5;

/// A summary of the gateway's traffic and state.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Seconds since the engine was started.
    pub uptime: f64,
    /// Exchanges since the start, including those that no route took.
    pub requests: u64,
    /// Exchanges answered with 5xx.
    pub errors: u64,
    /// Clients that disconnected before the response.
    pub abandoned: u64,
    /// Exchanges in flight, without tunnels.
    pub in_flight: u64,
    /// Open `WebSocket` connections.
    pub tunnels: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Exchanges of the last minute that a route took.
    pub recent: Recently,
    /// By service. `(gateway)` stands for routes where policies answer.
    pub services: BTreeMap<Box<str>, ServiceSummary>,
    /// By method.
    pub methods: BTreeMap<&'static str, Group>,
    /// The response cache.
    pub cache: CacheSummary,
    /// Client connections, and idle ones to instances.
    pub connections: Connections,
    /// State of each breaker by service, or by service and instance separated by a space.
    pub breakers: BTreeMap<String, BreakerState>,
    /// Why open breakers have opened.
    pub breaker_reasons: BTreeMap<String, Box<str>>,
    /// The workers.
    pub workers: WorkerFigures,
    /// What is stuck, one sentence each: workers, and hooks that should have returned by now.
    pub stuck: Vec<String>,
    /// Hooks that were over their budget in the last minute, one sentence each.
    pub over_budget: Vec<String>,
    /// Descriptors and memory.
    pub overload: OverloadStats,
    /// What the nodes of the cluster tell each other, if there is one.
    pub feed: Option<FeedFigures>,
    /// The store of the cluster, if there is one.
    pub store: Option<StoreStats>,
}

/// Exchanges of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Group {
    /// Since the engine was started.
    pub requests: u64,
    /// Exchanges answered with 5xx.
    pub errors: u64,
    /// Within the last minute.
    pub recent: Recently,
}

/// Exchanges of one service.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ServiceSummary {
    /// All of them.
    #[serde(flatten)]
    pub all: Group,
    /// By method.
    pub methods: BTreeMap<&'static str, Group>,
}

/// Exchanges within the last minute, or since the start if that is shorter. Durations are in seconds, within 5 %, and
/// None if there were no exchanges.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recently {
    /// Length of the window in seconds.
    pub window: f64,
    /// Exchanges.
    pub requests: u64,
    /// Exchanges answered with 5xx.
    pub errors: u64,
    /// Exchanges per second.
    pub rate: f64,
    /// Mean duration.
    pub mean: Option<f64>,
    /// Median duration.
    pub p50: Option<f64>,
    /// 95th percentile of the duration.
    pub p95: Option<f64>,
    /// 99th percentile of the duration.
    pub p99: Option<f64>,
}

/// Figures of the response cache.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CacheSummary {
    /// Responses from the cache, including stale and revalidated ones.
    pub hits: u64,
    /// Responses from the service that the cache did not have.
    pub misses: u64,
    /// Responses from the service to requests that cannot be cached.
    pub bypasses: u64,
    /// Stored responses.
    pub entries: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Open connections.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Connections {
    /// Of clients.
    pub active: u64,
    /// Of clients, since the engine was started.
    pub accepted: u64,
    /// Refused because of `max_connections`, since the engine was started.
    pub refused: u64,
    /// To instances, idle.
    pub idle_upstream: u64,
}

impl Recently {
    #[expect(clippy::cast_precision_loss, reason = "more than 2^52 requests in a minute do not happen")]
    fn of(within: &Within, window: f64) -> Self {
        let Within { requests, errors, duration } = within;
        Self {
            window,
            requests: *requests,
            errors: *errors,
            rate: if window > 0.0 { *requests as f64 / window } else { 0.0 },
            mean: duration.mean(),
            p50: duration.quantile(0.5),
            p95: duration.quantile(0.95),
            p99: duration.quantile(0.99),
        }
    }
}

impl Within {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.duration.merge(&other.duration);
    }
}

/// Builds the summary.
pub(crate) fn summarize(
    uptime: f64,
    stats: &Stats,
    reading: &MetricsReading,
    window: &Window,
    overdue: &[OverdueCall],
    costs: &Costs,
) -> Summary {
    let Stats { totals, services, workers, .. } = stats;
    let mut summary = Summary {
        uptime,
        requests: 0,
        errors: 0,
        abandoned: totals.abandoned,
        in_flight: totals.in_flight,
        tunnels: totals.tunnels,
        retries: totals.retries,
        recent: Recently::default(),
        services: services.iter().map(|service| (service.name.clone(), ServiceSummary::default())).collect(),
        methods: BTreeMap::new(),
        cache: cache_summary(totals, stats.cache),
        connections: Connections {
            active: totals.connections,
            accepted: totals.connections_accepted,
            refused: totals.connections_refused,
            idle_upstream: totals.idle_upstream,
        },
        breakers: breakers(services).map(|(name, breaker)| (name, breaker.state)).collect(),
        breaker_reasons: breakers(services)
            .filter_map(|(name, breaker)| Some((name, breaker.open_reason()?.into())))
            .collect(),
        workers: *workers,
        stuck: describe_stuck(*workers, overdue),
        over_budget: costs.over_budget().take(MAX_NAMED).collect(),
        overload: stats.overload.clone(),
        feed: stats.feed,
        store: stats.store.clone(),
    };
    add_totals(&mut summary, reading);
    add_recent(&mut summary, window);
    summary
}

fn describe_stuck(workers: WorkerFigures, overdue: &[OverdueCall]) -> Vec<String> {
    let WorkerFigures { number, stuck, .. } = workers;
    let mut told = Vec::new();
    if stuck > 0 {
        told.push(format!("{stuck} of {number} workers are stuck"));
    }
    if overdue.iter().any(|call| call.holds_interpreter) {
        told.push("no Python code can run, because the interpreter's lock is not released".to_owned());
    }
    told.extend(overdue.iter().take(MAX_NAMED).map(ToString::to_string));
    told
}

/// Adds the figures since the start.
fn add_totals(summary: &mut Summary, reading: &MetricsReading) {
    let Summary { requests, errors, services, methods, .. } = summary;
    for ((_, service), figures) in &reading.routes {
        for (method, tally) in figures.by_method() {
            *requests += tally.requests();
            *errors += tally.errors();
            let add = |group: &mut Group| {
                group.requests += tally.requests();
                group.errors += tally.errors();
            };
            add(methods.entry(method_name(method)).or_default());
            if &**service != NONE {
                let service = services.entry(service.clone()).or_default();
                add(&mut service.all);
                add(service.methods.entry(method_name(method)).or_default());
            }
        }
    }
}

/// Adds the figures of the last minute.
fn add_recent(summary: &mut Summary, window: &Window) {
    let span = window.span.as_secs_f64();
    let (mut all, mut by_method, mut by_service) = (Within::default(), BTreeMap::new(), BTreeMap::new());
    for ((service, method), within) in &window.by_service {
        let method = method_name(METHODS[*method]);
        all.add(within);
        by_method.entry(method).or_insert_with(Within::default).add(within);
        by_service.entry(service).or_insert_with(Within::default).add(within);
        let service = summary.services.entry(service.clone()).or_default();
        service.methods.entry(method).or_default().recent = Recently::of(within, span);
    }
    let nothing = Within::default();
    summary.recent = Recently::of(&all, span);
    for (method, group) in &mut summary.methods {
        group.recent = Recently::of(by_method.get(method).unwrap_or(&nothing), span);
    }
    for (name, service) in &mut summary.services {
        service.all.recent = Recently::of(by_service.get(name).unwrap_or(&nothing), span);
        for group in service.methods.values_mut() {
            group.recent.window = span;
        }
    }
}

fn cache_summary(totals: &Totals, usage: Option<Usage>) -> CacheSummary {
    let counted = &totals.cache;
    CacheSummary {
        hits: counted.hit + counted.stale + counted.revalidated,
        misses: counted.miss,
        bypasses: counted.bypass,
        entries: usage.map_or(0, |usage| usage.entries),
        bytes: usage.map_or(0, |usage| usage.bytes),
    }
}

fn breakers(services: &[ServiceStats]) -> impl Iterator<Item = (String, &BreakerStats)> {
    services.iter().flat_map(|service| {
        let whole = service.breaker.iter().map(|breaker| (service.name.to_string(), breaker));
        let each = service.instances.iter();
        let each = each.filter_map(|one| Some((format!("{} {}", service.name, one.url), one.breaker.as_ref()?)));
        whole.chain(each)
    })
}
