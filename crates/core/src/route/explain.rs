//! Explains which route a request takes.

use super::matching::methods::Methods;
use super::matching::predicate::{ConditionSource, FieldValues, InHead};
use super::matching::rule::{Host, Path, Rule, prefix_matches};
use super::order::By;
use super::{RankedRoute, RouteMatch, RouteQuery, Router, Scratch, method_matches};

/// Largest number of unrelated routes in an explanation.
const MAX_OTHERS: usize = 100;

/// A route that was considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Index among the plan's routes.
    pub route: usize,
    /// Why it was chosen or not.
    pub verdict: RouteVerdict,
}

/// Why a route was chosen or not; of several reasons the first in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteVerdict {
    /// The request takes this route.
    Chosen,
    /// It matches, but another route comes first.
    Shadowed(By),
    /// The host differs.
    Host,
    /// The path differs.
    Path,
    /// The method differs.
    Method,
    /// The condition on this field is not met.
    Header(Box<str>),
    /// The condition on this query parameter is not met.
    Query(Box<str>),
}

impl Router {
    /// Explains the result of [`Router::find`]: lists all routes with matching host and path, then up to 100 others,
    /// first those whose path matches or that name the host, each group in order of preference. For people; slow.
    pub fn explain(&self, lookup: &RouteQuery<'_>) -> Vec<Considered> {
        self.explain_where(lookup, &InHead { fields: lookup.fields, buf: lookup.buf })
    }

    pub(super) fn explain_where(&self, lookup: &RouteQuery<'_>, headers: &impl FieldValues) -> Vec<Considered> {
        let mut scratch = Scratch::default();
        let found = self.find_where(lookup, headers, &mut scratch);
        // After a failure no pattern counts as matched, as in `find`.
        if self.scan(lookup.path, &mut scratch.scan).is_err() {
            scratch.scan.matched.clear();
        }
        let method = self.methods.bit(lookup.method, lookup.method_token);
        let chosen = match found {
            RouteMatch::Route(route) => {
                self.entries.iter().find(|entry| self.is_ranked_for(**entry, route, lookup.host))
            }
            _ => None,
        };
        let mut listed = vec![false; self.rules.len()];
        let (mut best, mut partial, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &self.entries {
            let route = entry.route as usize;
            let rule = &self.rules[route];
            let host = rule.hosts.iter().position(|host| host.matches(lookup.host));
            // A route is ranked by its best matching host, or by its best host if none matches.
            let stands_here = rule.hosts[entry.host as usize].matches(lookup.host) || host.is_none();
            if !stands_here || std::mem::replace(&mut listed[route], true) {
                continue;
            }
            let path = path_matches(rule, lookup.path, &scratch);
            let verdict = if host.is_none() {
                RouteVerdict::Host
            } else if !path {
                RouteVerdict::Path
            } else if found == RouteMatch::Route(route) {
                RouteVerdict::Chosen
            } else {
                let refused = self.refusal_reason(rule, method, lookup, headers, &mut scratch);
                let place = entry.place(&self.rules);
                let by = match chosen.map(|chosen| chosen.place(&self.rules)) {
                    Some(chosen) if chosen < place => chosen.first_difference(&place),
                    _ => By::Head,
                };
                refused.unwrap_or(RouteVerdict::Shadowed(by))
            };
            let list = match (path, host) {
                (true, Some(_)) => &mut best,
                (true, None) => &mut partial,
                (false, Some(at)) if rule.hosts[at] != Host::Any => &mut partial,
                _ => &mut others,
            };
            list.push(Considered { route, verdict });
        }
        best.extend(partial.into_iter().chain(others).take(MAX_OTHERS));
        best
    }

    /// Returns true if the entry is `route` at a host that matches `host`.
    fn is_ranked_for(&self, entry: RankedRoute, route: usize, host: &[u8]) -> bool {
        entry.route as usize == route && self.rules[route].hosts[entry.host as usize].matches(host)
    }

    /// Returns why a route with matching host and path does not match the request.
    fn refusal_reason(
        &self,
        rule: &Rule,
        method: Methods,
        lookup: &RouteQuery<'_>,
        headers: &impl FieldValues,
        scratch: &mut Scratch,
    ) -> Option<RouteVerdict> {
        if !method_matches(rule.methods, method) {
            return Some(RouteVerdict::Method);
        }
        let failed =
            rule.predicates.iter().find(|p| !p.matches(headers, lookup.query, &self.values, &mut scratch.values));
        failed.map(|p| match p.source {
            ConditionSource::Field => RouteVerdict::Header(p.name.clone()),
            ConditionSource::Cookie => RouteVerdict::Header("cookie".into()),
            ConditionSource::Query => RouteVerdict::Query(p.name.clone()),
        })
    }
}

/// Returns true if the path matches; `scratch` has the matching patterns.
fn path_matches(rule: &Rule, path: &[u8], scratch: &Scratch) -> bool {
    match &rule.path {
        Path::Exact(exact) => **exact == *path,
        Path::Prefix(prefix) => prefix_matches(prefix, path),
        Path::Template(template) => template.find(path, &mut Vec::new()),
        Path::Pattern(at) => scratch.scan.matched.contains(at),
    }
}
