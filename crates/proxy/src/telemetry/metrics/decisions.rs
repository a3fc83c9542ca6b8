//! What policies have decided, in the page of metrics.

use pylae_core::expression::ExpressionPlace;
use pylae_core::limit::Limiter;

use super::exposition::labelled;
use super::names::Names;
use super::page::{COUNTER, Page};
use super::series::Figures;
use super::stats::Stats;

impl Page {
    pub(super) fn limits(&mut self, routes: &[(Names, Figures)]) {
        let name = "pylae_limiter_decisions_total";
        self.family(name, COUNTER, "Requests that a policy which limits rates has admitted or refused.");
        for ([route, service], figures) in labelled(routes) {
            for (limiter, counts) in Limiter::ALL.iter().zip(figures.limited) {
                for (decision, count) in ["refused", "admitted"].iter().zip(counts).filter(|(_, count)| *count > 0) {
                    let labels = [route, service, ("policy", limiter.name()), ("decision", decision)];
                    self.sample(name, &labels, count);
                }
            }
        }
    }

    pub(super) fn trace_tokens(&mut self, stats: &Stats) {
        let name = "pylae_trace_tokens_refused_total";
        self.family(name, COUNTER, "Requests whose token in X-Pylae-Trace was not good, by why.");
        stats.trace_tokens_refused.iter().for_each(|(reason, count)| self.sample(name, &[("reason", reason)], *count));
    }

    pub(super) fn expressions(&mut self, routes: &[(Names, Figures)]) {
        let name = "pylae_expression_failures_total";
        self.family(name, COUNTER, "Exchanges for which an expression could not be evaluated, by what it is for.");
        for ([route, service], figures) in labelled(routes) {
            for (place, count) in ExpressionPlace::ALL.iter().zip(figures.failed).filter(|(_, count)| *count > 0) {
                self.sample(name, &[route, service, ("for", place.name())], count);
            }
        }
    }
}
