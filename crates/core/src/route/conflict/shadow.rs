//! Routes that can never match. Only what is certain is reported.

use crate::Problem;
use crate::plan;
use crate::route::conflict::language::Languages;
use crate::route::matching::index::NONE;
use crate::route::matching::rule::{Path, Rule, prefix_matches};
use crate::route::{RankedRoute, Router, Scan};

/// More candidates than this per route are not compared: a list of routes on one path must not cost its square.
const MAX_COMPARED: usize = 256;
/// Pairs of states of automata that may be looked at: some tenths of a second.
const BUDGET: usize = 100_000;

/// One problem per route all of whose hosts are taken by routes that go first, with its place. `routes` are those of
/// `router`.
pub(crate) fn find(router: &Router, routes: &[plan::RoutePlan]) -> Vec<(usize, Problem)> {
    let mut scan = Scan::default();
    let mut covering = Covering { router, languages: Languages::new(&router.rules, routes, BUDGET) };
    // Per route how many of its hosts are taken, and by which route the first one is.
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

/// The route that takes everything that `entry` would, if there is one for certain.
fn covering_route(covering: &mut Covering<'_>, rank: u32, entry: RankedRoute, scan: &mut Scan) -> Option<u32> {
    let router = covering.router;
    let rule = &router.rules[entry.route as usize];
    let host = &rule.hosts[entry.host as usize];
    let sample = match &rule.path {
        Path::Exact(path) => path.to_vec(),
        // The shortest path that it takes: whoever takes all its paths takes this one.
        Path::Prefix(prefix) => prefix.to_vec(),
        Path::Template(template) => template.sample().into_bytes(),
        // No path is known; only a route with the same pattern or a prefix of `/` can be certain to take all its paths.
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

/// Tells whether one route takes every request of another one.
struct Covering<'a> {
    router: &'a Router,
    languages: Languages<'a>,
}

impl Covering<'_> {
    /// Whether the route `a` takes every request that `b` takes, given that their hosts say so and `a` took a sample of
    /// the paths.
    fn covers(&mut self, a: usize, b: usize) -> bool {
        let (first, second): (&Rule, &Rule) = (&self.router.rules[a], &self.router.rules[b]);
        if first.methods & second.methods != second.methods
            || !first.predicates.iter().all(|p| second.predicates.contains(p))
        {
            return false;
        }
        match (&first.path, &second.path) {
            // The sample is the only path that it takes.
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
