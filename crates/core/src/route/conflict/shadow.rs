//! Detects routes that can never match. Only certain cases are reported.

use crate::Problem;
use crate::plan;
use crate::route::conflict::language::Languages;
use crate::route::matching::index::NONE;
use crate::route::matching::rule::{Path, Rule, prefix_matches};
use crate::route::{RankedRoute, Router, Scan};

/// Largest number of candidates that are compared per route: the cost of many routes on one path must not be quadratic.
const MAX_COMPARED: usize = 256;
/// Budget of pairs of states: some tenths of a second.
const BUDGET: usize = 100_000;

/// Returns a problem, with the index of the route, for each route whose hosts are all taken by earlier routes. `routes`
/// are those of `router`.
pub(crate) fn find(router: &Router, routes: &[plan::RoutePlan]) -> Vec<(usize, Problem)> {
    let mut scan = Scan::default();
    let mut covering = Covering { router, languages: Languages::new(&router.rules, routes, BUDGET) };
    // Per route: how many of its hosts are taken, and by which route the first one is.
    let mut taken = vec![(0, None); router.rules.len()];
    for (rank, entry) in router.entries.iter().enumerate() {
        if let Some(winner) = covering_route(&mut covering, rank as u32, *entry, &mut scan) {
            let (count, by) = &mut taken[entry.route as usize];
            *count += 1;
            by.get_or_insert(winner);
        }
    }
    let mut problems = Vec::new();
    for (route, (count, by)) in taken.into_iter().enumerate() {
        if let Some(by) = by
            && count == router.rules[route].hosts.len()
        {
            let name = &router.rules[by as usize].name;
            let message = format!("the route can never match: `{name}` (routes[{by}]) takes all its requests first");
            problems.push((route, Problem::at(format!("routes[{route}].match"), message)));
        }
    }
    problems
}

/// Returns a route that certainly matches everything that `entry` matches.
fn covering_route(covering: &mut Covering<'_>, rank: u32, entry: RankedRoute, scan: &mut Scan) -> Option<u32> {
    let router = covering.router;
    let rule = &router.rules[entry.route as usize];
    let host = &rule.hosts[entry.host as usize];
    let sample = match &rule.path {
        Path::Exact(path) => path.to_vec(),
        // The shortest matching path: a route that matches all its paths matches this one.
        Path::Prefix(prefix) => prefix.to_vec(),
        Path::Template(template) => template.sample().into_bytes(),
        // No path is known; only a route with the same pattern or the prefix `/` certainly matches all its paths.
        Path::Pattern(_) => b"/".to_vec(),
    };
    let sample_host = host.sample();
    let mut found = None;
    let mut compared = 0;
    let mut each = |ranks: &[u32]| {
        for &other in ranks {
            compared += 1;
            if found.is_some() || other >= rank || compared > MAX_COMPARED {
                break;
            }
            let other = router.entries[other as usize];
            if covering.covers(other.route as usize, entry.route as usize) {
                found = Some(other.route);
            }
        }
        if found.is_some() { 0 } else { rank }
    };
    if let Path::Pattern(pattern) = &rule.path {
        let _ = router.hosts.visit(sample_host.as_bytes(), |table| {
            table.visit_pattern(*pattern, NONE, &mut each);
            table.visit(&sample, rank, &mut each);
            Ok::<(), ()>(())
        });
    } else {
        router.visit(sample_host.as_bytes(), &sample, scan, &mut each).ok()?;
    }
    found.filter(|by| *by != entry.route)
}

/// Determines whether one route matches every request of another.
struct Covering<'a> {
    router: &'a Router,
    languages: Languages<'a>,
}

impl Covering<'_> {
    /// Returns true if the route `a` matches every request that `b` matches, given that its hosts cover those of `b`
    /// and that it matches a sample of the paths.
    fn covers(&mut self, a: usize, b: usize) -> bool {
        let (first, second): (&Rule, &Rule) = (&self.router.rules[a], &self.router.rules[b]);
        if first.methods & second.methods != second.methods
            || !first.predicates.iter().all(|p| second.predicates.contains(p))
        {
            return false;
        }
        match (&first.path, &second.path) {
            // The sample is the only matching path.
            (_, Path::Exact(_)) => true,
            (Path::Prefix(prefix), Path::Prefix(other)) => prefix_matches(prefix, other),
            (Path::Prefix(prefix), Path::Template(template)) => template.starts_with(prefix),
            (Path::Prefix(prefix), Path::Pattern(_)) => **prefix == *b"/",
            (Path::Pattern(a), Path::Pattern(b)) if a == b => true,
            (Path::Template(a), Path::Template(b)) if a.segments == b.segments => true,
            (Path::Template(_) | Path::Pattern(_), _) => {
                self.languages.compare(a, b, |relation| relation.only_b).is_some_and(|relation| !relation.only_b)
            }
            (Path::Exact(_), _) => false,
        }
    }
}
