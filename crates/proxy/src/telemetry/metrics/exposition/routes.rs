//! The figures of routes, in the page of metrics.

use super::labelled;
use crate::telemetry::metrics::names::Names;
use crate::telemetry::metrics::page::{COUNTER, HISTOGRAM, Page};
use crate::telemetry::metrics::registry::ExemplarsByRoute;
use crate::telemetry::metrics::series::{CLASSES, Figures, method_name};

/// Two counts with their labels.
type Kinds = [(&'static str, u64); 2];

impl Page {
    pub(super) fn routes(&mut self, routes: &[(Names, Figures)], exemplars: &ExemplarsByRoute) {
        let name = "pylae_requests_total";
        self.family(name, COUNTER, "Exchanges that are over. Status 499: the client went away before it was answered.");
        for ((route, service), figures) in routes {
            for (method, tally) in figures.by_method() {
                let method = method_name(method);
                for (status, count) in CLASSES.iter().zip(tally.by_class).filter(|(_, count)| *count > 0) {
                    let labels = [("route", &**route), ("service", service), ("method", method), ("status", status)];
                    self.sample(name, &labels, count);
                }
            }
        }
        self.durations(routes, exemplars);
        self.by_method(routes);
        let name = "pylae_upstream_duration_seconds";
        self.family(
            name,
            HISTOGRAM,
            "Time spent on asking instances, over all attempts, until the head of the answer.",
        );
        for (labels, figures) in labelled(routes) {
            if let Some(upstream) = &figures.upstream {
                self.histogram(name, &labels, upstream);
            }
        }
        let name = "pylae_halts_total";
        self.family(name, COUNTER, "Exchanges that the gateway ended early, refused by a policy or failed, by code.");
        for ([route, service], figures) in labelled(routes) {
            for (code, count) in &figures.codes {
                self.sample(name, &[route, service, ("code", code)], count);
            }
        }
        let name = "pylae_retries_total";
        self.per_route(name, "Attempts after the first.", routes, |figures| figures.retries);
        let name = "pylae_responses_incomplete_total";
        self.per_route(name, "Answers that could not be sent completely.", routes, |figures| figures.incomplete);
        let name = "pylae_upstream_connections_total";
        let help = "Connections to instances taken for attempts: new ones, and kept ones used again.";
        self.by_kind((name, help, "kind"), routes, |figures| [("new", figures.connected), ("reused", figures.reused)]);
        let name = "pylae_upstream_connections_lost_total";
        let help = "Kept connections that ended under a request: it was sent again, or failed.";
        let lost = |figures: &Figures| [("sent_again", figures.replaced), ("failed", figures.lost)];
        self.by_kind((name, help, "request"), routes, lost);
    }

    /// A counter family with two values of `label`.
    fn by_kind(&mut self, of: (&str, &str, &str), routes: &[(Names, Figures)], counts: impl Fn(&Figures) -> Kinds) {
        let (name, help, label) = of;
        self.family(name, COUNTER, help);
        for ([route, service], figures) in labelled(routes) {
            for (kind, count) in counts(figures).into_iter().filter(|(_, count)| *count > 0) {
                self.sample(name, &[route, service, (label, kind)], count);
            }
        }
    }

    fn durations(&mut self, routes: &[(Names, Figures)], exemplars: &ExemplarsByRoute) {
        let name = "pylae_request_duration_seconds";
        self.family(name, HISTOGRAM, "Time from the complete head of a request until its answer was sent or given up.");
        for ((names, _), ([route, service], figures)) in routes.iter().zip(labelled(routes)) {
            for (method, tally) in figures.by_method() {
                let found = exemplars.get(names).and_then(|series| series[method as usize].as_deref());
                let labels = [route, service, ("method", method_name(method))];
                self.histogram_with(name, &labels, &tally.duration, found);
            }
        }
    }

    fn by_method(&mut self, routes: &[(Names, Figures)]) {
        let tallies = || {
            labelled(routes).flat_map(|([route, service], figures)| {
                let named = figures.by_method();
                named.map(move |(method, tally)| ([route, service, ("method", method_name(method))], tally))
            })
        };
        let name = "pylae_request_body_bytes_total";
        self.family(name, COUNTER, "Bytes of request bodies read from clients.");
        tallies().for_each(|(labels, tally)| self.sample(name, &labels, tally.bytes_in));
        let name = "pylae_response_bytes_total";
        self.family(name, COUNTER, "Bytes of answers written to clients, heads included.");
        tallies().for_each(|(labels, tally)| self.sample(name, &labels, tally.bytes_out));
    }

    /// A counter family with a sample per route. Zeros are left out.
    fn per_route(&mut self, name: &str, help: &str, routes: &[(Names, Figures)], count: impl Fn(&Figures) -> u64) {
        self.family(name, COUNTER, help);
        for (labels, figures) in labelled(routes).filter(|(_, figures)| count(figures) > 0) {
            self.sample(name, &labels, count(figures));
        }
    }
}
