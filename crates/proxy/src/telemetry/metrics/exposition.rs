//! All metrics in the Prometheus text format 0.0.4, or in `OpenMetrics` 1.0.

mod routes;

use pylae_core::service::breaker::BreakerState;
use pylae_core::service::{InstanceStats, ServiceStats};

use super::costs::HookFigures;
use super::names::Names;
use super::page::{COUNTER, GAUGE, Page};
use super::process::Process;
use super::registry::{ExemplarsByRoute, MetricsReading};
use super::series::{CACHE, Figures};
use super::stats::{FeedFigures, OverloadStats, Stats, TokenFigures, WorkerFigures};
use super::totals::Totals;
use crate::telemetry::log::DroppedRecords;
use crate::telemetry::otlp::ExportStats;
use crate::telemetry::panics::Panics;

/// The states of an instance.
const INSTANCE_STATES: [&str; 4] = ["up", "down", "ejected", "draining"];
/// The states of a breaker.
const BREAKER_STATES: [(&str, BreakerState); 3] =
    [("closed", BreakerState::Closed), ("half_open", BreakerState::HalfOpen), ("open", BreakerState::Open)];

/// The input of a page.
pub(crate) struct MetricsView<'a> {
    pub(crate) stats: &'a Stats,
    pub(crate) reading: &'a MetricsReading,
    /// The exemplars, if the page is to be in `OpenMetrics`.
    pub(crate) exemplars: Option<ExemplarsByRoute>,
    pub(crate) process: Process,
    pub(crate) panics: &'a Panics,
    pub(crate) hooks: &'a [HookFigures],
    /// When the engine was started, in seconds since the Unix epoch.
    pub(crate) started: f64,
    pub(crate) last_applied: f64,
}

/// Writes the page.
pub(crate) fn expose(view: &MetricsView<'_>) -> String {
    let mut page = Page { open: view.exemplars.is_some(), ..Page::default() };
    page.routes(&view.reading.routes, view.exemplars.as_ref().unwrap_or(&ExemplarsByRoute::new()));
    page.limits(&view.reading.routes);
    page.expressions(&view.reading.routes);
    page.cache(view);
    page.totals(&view.stats.totals);
    page.overload(&view.stats.overload);
    page.services(&view.stats.services);
    page.tokens(&view.stats.tokens);
    page.policies(&view.reading.routes);
    page.hooks(view.hooks);
    page.trace_tokens(view.stats);
    page.feed(view.stats);
    page.store(view.stats.store.as_ref());
    page.engine(view);
    page.process(view);
    page.text
}

impl Page {
    fn cache(&mut self, view: &MetricsView<'_>) {
        let name = "pylae_cache_requests_total";
        self.family(name, COUNTER, "Exchanges of routes with a cache, by what the cache made of them.");
        for ([route, service], figures) in labelled(&view.reading.routes) {
            for (result, count) in CACHE.iter().zip(figures.cache).filter(|(_, count)| *count > 0) {
                self.sample(name, &[route, service, ("result", result)], count);
            }
        }
        let (entries, bytes) = view.stats.cache.map_or((0, 0), |usage| (usage.entries, usage.bytes));
        self.single("pylae_cache_entries", GAUGE, "Answers that the response cache holds.", entries);
        self.single("pylae_cache_bytes", GAUGE, "Bytes that they take.", bytes);
    }

    fn totals(&mut self, totals: &Totals) {
        self.single("pylae_requests_in_flight", GAUGE, "Exchanges under way, open WebSockets apart.", totals.in_flight);
        self.single("pylae_websockets", GAUGE, "Open WebSockets.", totals.tunnels);
        self.single("pylae_connections", GAUGE, "Open client connections.", totals.connections);
        let accepted = totals.connections_accepted;
        self.single("pylae_connections_accepted_total", COUNTER, "Client connections accepted.", accepted);
        let refused = totals.connections_refused;
        self.single(
            "pylae_connections_refused_total",
            COUNTER,
            "Client connections refused for want of room.",
            refused,
        );
        let name = "pylae_tls_handshakes_total";
        self.family(name, COUNTER, "TLS handshakes with clients, by whether they came to their end.");
        for (result, count) in [("completed", totals.handshakes), ("failed", totals.handshakes_failed)] {
            self.sample(name, &[("result", result)], count);
        }
        let idle = totals.idle_upstream;
        self.single("pylae_upstream_connections_idle", GAUGE, "Kept connections to instances that are idle.", idle);
        let refused = totals.overload_refused;
        let help = "Requests refused because descriptors or memory are short.";
        self.single("pylae_overload_refused_total", COUNTER, help, refused);
        let name = "pylae_overload_closed_total";
        self.family(
            name,
            COUNTER,
            "Idle connections closed because descriptors or memory are short, by whose they are.",
        );
        for (side, count) in [("client", totals.shed_clients), ("instance", totals.shed_upstream)] {
            self.sample(name, &[("side", side)], count);
        }
        self.single("pylae_mirrored_total", COUNTER, "Copies of requests that were sent.", totals.mirrored);
        let dropped = totals.mirrors_dropped;
        self.single("pylae_mirrors_dropped_total", COUNTER, "Copies of requests that were not sent.", dropped);
    }

    fn overload(&mut self, overload: &OverloadStats) {
        let name = "pylae_overload_level";
        let help = "What is done while a resource is short: 0 nothing, 1 idle connections are closed, 2 new requests \
                    refused, 3 no connections accepted.";
        self.family(name, GAUGE, help);
        for one in &overload.resources {
            self.sample(name, &[("resource", one.resource)], one.level);
        }
        let name = "pylae_overload_used";
        self.family(name, GAUGE, "Open file descriptors, and bytes of memory in use.");
        for one in &overload.resources {
            self.sample(name, &[("resource", one.resource)], one.used);
        }
        let name = "pylae_overload_limit";
        self.family(name, GAUGE, "Most of them that there may be; not there where nothing bounds them.");
        for (one, limit) in overload.resources.iter().filter_map(|one| Some((one, one.limit?))) {
            self.sample(name, &[("resource", one.resource)], limit);
        }
        let name = "pylae_max_connections";
        let help = "Client connections admitted: limits.max_connections, or fewer if file descriptors are few.";
        self.single(name, GAUGE, help, overload.max_connections);
        let name = "pylae_own_exhaustion_total";
        self.family(
            name,
            COUNTER,
            "Connections to instances that failed because the gateway itself was out of something.",
        );
        for (resource, count) in &overload.shortages {
            self.sample(name, &[("resource", resource)], count);
        }
        let name = "pylae_accept_failures_total";
        self.single(name, COUNTER, "Client connections that could not be accepted.", overload.accept_failures);
    }

    fn services(&mut self, services: &[ServiceStats]) {
        let name = "pylae_instance_state";
        self.family(name, GAUGE, "1 for the state that an instance is in, 0 for the others.");
        for ([service, instance], stats) in instances(services) {
            for state in INSTANCE_STATES {
                self.sample(name, &[service, instance, ("state", state)], u8::from(stats.state == state));
            }
        }
        let name = "pylae_instance_attempts_total";
        self.family(name, COUNTER, "Attempts at an instance.");
        instances(services).for_each(|(labels, stats)| self.sample(name, &labels, stats.attempts));
        let name = "pylae_instance_failures_total";
        self.family(name, COUNTER, "Attempts at an instance that failed: no connection, no answer, or 5xx.");
        instances(services).for_each(|(labels, stats)| self.sample(name, &labels, stats.failures));
        let name = "pylae_instance_requests_in_flight";
        self.family(name, GAUGE, "Exchanges under way at an instance.");
        instances(services).for_each(|(labels, stats)| self.sample(name, &labels, stats.in_flight));
        let name = "pylae_breaker_state";
        self.family(name, GAUGE, "1 for the state that a breaker is in, 0 for the others.");
        for (service, instance, state) in breakers(services) {
            for (word, position) in BREAKER_STATES {
                let labels = [("service", service), ("instance_url", instance), ("state", word)];
                self.sample(name, &labels, u8::from(position == state));
            }
        }
        let name = "pylae_service_entered";
        let what = "Exchanges that hold a place under max_in_flight.";
        self.per_service(services, name, GAUGE, what, |service| service.entered.into());
        let name = "pylae_service_waiting";
        self.per_service(services, name, GAUGE, "Exchanges that wait for such a place.", |service| {
            service.waiting.into()
        });
        let name = "pylae_retry_budget_granted_total";
        self.per_service(services, name, COUNTER, "Retries that the budget allowed.", |service| service.retries);
        let name = "pylae_retry_budget_refused_total";
        self.per_service(services, name, COUNTER, "Retries that it refused.", |service| service.retries_refused);
    }

    /// A family with a sample per service.
    fn per_service(
        &mut self,
        services: &[ServiceStats],
        name: &str,
        kind: &str,
        help: &str,
        value: impl Fn(&ServiceStats) -> u64,
    ) {
        self.family(name, kind, help);
        for service in services {
            self.sample(name, &[("service", &service.name)], value(service));
        }
    }

    fn tokens(&mut self, tokens: &[TokenFigures]) {
        let name = "pylae_service_token_expires_seconds";
        self.family(name, GAUGE, "Seconds until the token expires that the instances of a service get; 0 without one.");
        for (one, expires) in tokens.iter().filter_map(|one| Some((one, one.expires?))) {
            self.sample(name, &[("service", &one.service)], expires);
        }
        let name = "pylae_service_token_failures_total";
        self.family(name, COUNTER, "Fetches of such a token that have failed.");
        for one in tokens {
            self.sample(name, &[("service", &one.service)], one.failures);
        }
    }

    fn feed(&mut self, stats: &Stats) {
        self.single("pylae_revocations", GAUGE, "Revocations in memory.", stats.revocations);
        let name = "pylae_session_cookies_refused_total";
        self.family(name, COUNTER, "Session cookies that counted as none, by reason.");
        stats.no_sessions.iter().for_each(|(reason, count)| self.sample(name, &[("reason", reason)], *count));
        let feed = || stats.feed.iter();
        let name = "pylae_cluster_current";
        let what = "1 if this node knows all revocations of its cluster, as of when the store last answered.";
        self.family(name, GAUGE, what);
        feed().for_each(|feed| self.sample(name, &[], u64::from(feed.current)));
        let name = "pylae_cluster_unpublished";
        self.family(name, GAUGE, "What other nodes of the cluster must still be told.");
        for FeedFigures { unpublished_revocations, unpublished_changes, .. } in feed() {
            self.sample(name, &[("kind", "revocation")], unpublished_revocations);
            self.sample(name, &[("kind", "cache_change")], unpublished_changes);
        }
        let name = "pylae_cluster_entries_total";
        self.family(name, COUNTER, "Entries of the cluster's stream that this node has read and published.");
        for FeedFigures { entries_read, entries_published, .. } in feed() {
            self.sample(name, &[("direction", "read")], entries_read);
            self.sample(name, &[("direction", "published")], entries_published);
        }
        let name = "pylae_cluster_catch_ups_total";
        let what = "Times that this node has read all revocations: at its start, and when it may have missed some.";
        self.family(name, COUNTER, what);
        feed().for_each(|feed| self.sample(name, &[], feed.catch_ups));
    }

    fn engine(&mut self, view: &MetricsView<'_>) {
        let name = "pylae_access_log_lines_total";
        self.family(name, COUNTER, "Lines of access logs, by what became of them.");
        for log in &view.stats.access_logs {
            for (result, count) in [("written", log.written), ("dropped", log.dropped)] {
                self.sample(name, &[("output", &log.output), ("result", result)], count);
            }
        }
        self.exports(&view.stats.exports);
        let name = "pylae_log_dropped_total";
        self.family(
            name,
            COUNTER,
            "Records of the gateway's own log that were dropped, by who did not take them in time.",
        );
        let DroppedRecords { engine, handlers, stderr } = view.stats.log_dropped;
        for (log, count) in [("engine", engine), ("handlers", handlers), ("stderr", stderr)] {
            self.sample(name, &[("log", log)], count);
        }
        let name = "pylae_config_applies_total";
        self.family(name, COUNTER, "Configurations put in force, the first included, and refused.");
        self.sample(name, &[("result", "applied")], view.stats.applied);
        self.sample(name, &[("result", "refused")], view.stats.refused);
        let name = "pylae_config_last_applied_timestamp_seconds";
        self.single(
            name,
            GAUGE,
            "When the configuration in force was applied, since the Unix epoch.",
            view.last_applied,
        );
        self.family("pylae_build_info", GAUGE, "1, with the version of the data plane.");
        self.sample("pylae_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let WorkerFigures { number, stuck, given_up } = view.stats.workers;
        self.single("pylae_workers", GAUGE, "Threads of the data plane.", number);
        let what = "Threads of the data plane that are stuck in a hook.";
        self.single("pylae_workers_stuck", GAUGE, what, stuck);
        let what = "Threads of the data plane that were given up and replaced, because they were stuck for too long.";
        self.single("pylae_workers_given_up_total", COUNTER, what, given_up);
        let name = "pylae_panics_total";
        self.family(name, COUNTER, "Panics, by what panicked: it was started again, or ended alone.");
        view.panics.counts().for_each(|(thread, count)| self.sample(name, &[("thread", thread)], count));
        self.single(
            "pylae_start_time_seconds",
            GAUGE,
            "When the engine was started, since the Unix epoch.",
            view.started,
        );
    }

    /// What is sent to collectors. Without `telemetry`, nothing is.
    fn exports(&mut self, exports: &[ExportStats]) {
        let name = "pylae_export_items_total";
        self.family(name, COUNTER, "Spans, data points and log records that a collector has taken.");
        for one in exports {
            self.sample(name, &[("signal", one.signal)], one.sent);
        }
        let name = "pylae_export_dropped_total";
        self.family(name, COUNTER, "Those that were not sent: no room for them, no answer for too long, or refused.");
        for one in exports {
            for (reason, count) in one.dropped {
                self.sample(name, &[("signal", one.signal), ("reason", reason)], count);
            }
        }
        let name = "pylae_export_failures_total";
        self.family(name, COUNTER, "Requests to a collector that have failed or were refused, repeated ones included.");
        for one in exports {
            self.sample(name, &[("signal", one.signal)], one.failures);
        }
    }

    /// The process metrics under the names that all Prometheus client libraries use.
    fn process(&mut self, view: &MetricsView<'_>) {
        let Process { cpu, resident, descriptors, most_descriptors, threads } = view.process;
        self.optional("process_cpu_seconds_total", COUNTER, "Processor time of this process, user and system.", cpu);
        self.optional("process_resident_memory_bytes", GAUGE, "Memory of this process.", resident);
        self.optional("process_open_fds", GAUGE, "Open file descriptors.", descriptors);
        self.optional("process_max_fds", GAUGE, "Most file descriptors that may be open.", most_descriptors);
        self.optional("process_threads", GAUGE, "Threads of this process.", threads);
    }
}

/// The figures of each route with its labels.
pub(super) fn labelled(routes: &[(Names, Figures)]) -> impl Iterator<Item = ([(&str, &str); 2], &Figures)> {
    routes.iter().map(|((route, service), figures)| ([("route", &**route), ("service", &**service)], figures))
}

/// The instances with their labels.
fn instances(services: &[ServiceStats]) -> impl Iterator<Item = ([(&str, &str); 2], &InstanceStats)> {
    services.iter().flat_map(|service| {
        service.instances.iter().map(|one| ([("service", &*service.name), ("instance_url", &*one.url)], one))
    })
}

/// Service, instance and state of each breaker. The instance is empty for the breaker of a service.
fn breakers(services: &[ServiceStats]) -> impl Iterator<Item = (&str, &str, BreakerState)> {
    services.iter().flat_map(|service| {
        let whole = service.breaker.as_ref().map(|breaker| (&*service.name, "", breaker.state));
        let each =
            service.instances.iter().filter_map(|one| Some((&*service.name, &*one.url, one.breaker.as_ref()?.state)));
        whole.into_iter().chain(each)
    })
}
