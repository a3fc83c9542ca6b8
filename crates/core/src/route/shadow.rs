//! Routes that can never match. Only what is certain is reported.

use super::index::NONE;
use super::{Entry, Host, Path, Router, Rule, Scan, prefix_takes};
use crate::Problem;

/// More candidates than this per route are not compared: a list of routes on one path must not cost its square.
const MAX_COMPARED: usize = 256;

/// One problem per route all of whose hosts are taken by routes that go first.
pub(super) fn find(router: &Router) -> Vec<Problem> {
    let mut scan = Scan::default();
    // Per route how many of its hosts are taken, and by which route the first one is.
    let mut taken = vec![(0, None); router.rules.len()];
    for (rank, entry) in router.entries.iter().enumerate() {
        if let Some(winner) = winner(router, rank as u32, *entry, &mut scan) {
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
            problems.push(Problem::at(format!("routes[{route}].match"), message));
        }
    }
    problems
}

/// The route that takes everything that `entry` would, if there is one for certain.
fn winner(router: &Router, rank: u32, entry: Entry, scan: &mut Scan) -> Option<u32> {
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
    // `*` occurs in no other host, so that it meets just the routes for all hosts of a suffix, or for all.
    let sample_host = match host {
        Host::Exact(name) => name.to_string(),
        Host::Suffix(suffix) => format!("*{suffix}"),
        Host::Any => "*".into(),
    };
    let mut found = None;
    let mut compared = 0;
    let mut each = |ranks: &[u32]| {
        for &other in ranks {
            compared += 1;
            if found.is_some() || other >= rank || compared > MAX_COMPARED {
                break;
            }
            let other = router.entries[other as usize];
            if covers(&router.rules[other.route as usize], rule) {
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

/// Whether `a` takes every request that `b` takes, given that their hosts say so and `a` took a sample of the paths.
fn covers(a: &Rule, b: &Rule) -> bool {
    if a.methods & b.methods != b.methods || !a.predicates.iter().all(|p| b.predicates.contains(p)) {
        return false;
    }
    match (&a.path, &b.path) {
        // The sample is the only path that `b` takes.
        (_, Path::Exact(_)) => true,
        (Path::Prefix(prefix), Path::Prefix(other)) => prefix_takes(prefix, other),
        (Path::Prefix(prefix), Path::Template(template)) => template.starts_with(prefix),
        (Path::Template(a), Path::Template(b)) => a.segments == b.segments,
        (Path::Pattern(a), Path::Pattern(b)) => a == b,
        (Path::Prefix(prefix), Path::Pattern(_)) => **prefix == *b"/",
        _ => false,
    }
}
