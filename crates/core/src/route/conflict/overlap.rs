//! Detects overlapping routes that admit different clients.
//!
//! If two routes match the same request, the first in order decides who may send it. That is intended if it is the
//! narrower one: `/login` within `/`, a pattern within a prefix. If neither contains the other, or the wider one comes
//! first, a rule decides that the author of the other route may not have considered, and the other route's guard does
//! not protect everything that its path covers.

use std::fmt::Write;

use crate::Problem;
use crate::plan::{self, PathMatch};
use crate::route::conflict::language::{Languages, Relation};
use crate::route::matching::index::NONE;
use crate::route::matching::methods::{GET, HEAD, Methods};
use crate::route::matching::pattern;
use crate::route::matching::rule::{Host, Path, Rule};
use crate::route::matching::template::Segment;
use crate::route::order::{By, RouteRank};
use crate::route::{Router, Scan};

/// Budget of pairs of states: some tenths of a second.
const BUDGET: usize = 500_000;
/// Largest number of pairs of routes.
const MAX_PAIRS: usize = 10_000_000;
/// Largest number of routes named in one warning.
const MAX_NAMED: usize = 3;

/// A route that takes precedence and admits other clients.
struct Overlap {
    /// Index of the route that comes later.
    later: usize,
    by: By,
    example: Vec<u8>,
}

/// A host that both routes match, and the criterion that orders them there.
struct Meeting {
    host: String,
    by: By,
}

impl Router {
    /// Returns a warning for each route that takes precedence over others on common requests and admits clients that
    /// they refuse, unless it is the narrower one. `routes` are those that the router was built from; `lets_in_more(a,
    /// b)` returns true if the route `a` admits any client that `b` refuses.
    ///
    /// Not counted are routes that answer without a service, since they do not expose what a service has; routes that
    /// come first by their host and lead to another service; and requests that a third route takes before both.
    pub fn overlaps(&self, routes: &[plan::RoutePlan], lets_in_more: impl Fn(usize, usize) -> bool) -> Vec<Problem> {
        let mut search = OverlapSearch {
            router: self,
            routes,
            lets_in_more,
            languages: Languages::new(&self.rules, routes, BUDGET),
            scan: Scan::default(),
            uncertain: 0,
        };
        let nearby = Nearby::new(&self.rules, routes);
        let mut pairs = 0;
        let mut warnings = Vec::new();
        for first in (0..self.rules.len()).filter(|route| routes[*route].services().next().is_some()) {
            let mut found = Vec::new();
            for later in nearby.of(first) {
                pairs += 1;
                if pairs <= MAX_PAIRS && later != first && (search.lets_in_more)(first, later) {
                    found.extend(search.overlap(first, later));
                }
            }
            if !found.is_empty() {
                warnings.push(self.overlap_warning(first, &mut found));
            }
        }
        if search.uncertain > 0 || pairs > MAX_PAIRS {
            let message = "there are more routes than could be compared, or their patterns are too large: some that \
                           overlap and differ in whom they let in may not be named";
            warnings.push(Problem::at("routes", message));
        }
        warnings
    }

    fn overlap_warning(&self, first: usize, found: &mut [Overlap]) -> Problem {
        found.sort_by_key(|overlap| overlap.later);
        let name = |route: usize| format!("`{}` (routes[{route}])", self.rules[route].name);
        let Overlap { later, by, example } = &found[0];
        let path = String::from_utf8_lossy(example);
        let mut text = format!(
            "the route takes {path} from {} and lets in some whom `{2}` refuses: {1}. Narrow either, give `{2}` a higher \
             `priority`, or guard both alike",
            name(*later),
            self.why(*by, first, *later),
            self.rules[*later].name,
        );
        for (place, other) in found[1..].iter().take(MAX_NAMED - 1).enumerate() {
            text += if place == 0 { ". The same with " } else { ", " };
            text += &name(other.later);
        }
        if let Some(more @ 1..) = found.len().checked_sub(MAX_NAMED) {
            let _ = write!(text, " and {more} more");
        }
        Problem::at(format!("routes[{first}].match.path"), text)
    }

    fn why(&self, by: By, first: usize, later: usize) -> String {
        let kind = |route: usize| match &self.rules[route].path {
            Path::Exact(_) => "an exact path",
            Path::Template(_) => "a template",
            Path::Pattern(_) => "a pattern",
            Path::Prefix(_) => "a prefix",
        };
        match by {
            By::Priority => "it has the higher `priority`".into(),
            By::Host => "its host is more specific".into(),
            By::Path => match (kind(first), kind(later)) {
                (first, later) if first != later => format!("{first} goes before {later}"),
                ("a pattern", _) => "of patterns the first in the file goes first".into(),
                _ => "its template is more specific".into(),
            },
            By::Conditions => "it has more conditions".into(),
            By::Declaration | By::Head => "it is the first in the file".into(),
        }
    }
}

/// A search through pairs of routes.
struct OverlapSearch<'a, F> {
    router: &'a Router,
    routes: &'a [plan::RoutePlan],
    lets_in_more: F,
    languages: Languages<'a>,
    scan: Scan,
    /// Number of pairs that could not be compared.
    uncertain: usize,
}

impl<F: Fn(usize, usize) -> bool> OverlapSearch<'_, F> {
    /// Returns the overlap if the route `first` takes precedence over `later` for some requests and that is not clearly
    /// intended.
    fn overlap(&mut self, first: usize, later: usize) -> Option<Overlap> {
        let rules = &self.router.rules;
        let (a, b) = (&rules[first], &rules[later]);
        let methods = with_head(a.methods) & with_head(b.methods);
        let apart = methods == 0 || a.predicates.iter().any(|one| b.predicates.iter().any(|other| one.excludes(other)));
        if apart || self.router.never.binary_search(&later).is_ok() {
            return None;
        }
        let same_service =
            self.routes[first].services().any(|one| self.routes[later].services().any(|other| one == other));
        let mut common_hosts = common_hosts(rules, first, later);
        common_hosts.retain(|meeting| match meeting.by {
            By::Host => same_service,
            By::Path => !matches!((&a.path, &b.path), (Path::Exact(_), _) | (Path::Prefix(_), Path::Prefix(_))),
            _ => true,
        });
        if common_hosts.is_empty() {
            return None;
        }
        let Some(relation) = self.languages.compare(first, later, Relation::is_complete) else {
            self.uncertain += 1;
            return None;
        };
        // For equal paths, the route with fewer methods and more conditions is the narrower one.
        let narrower =
            || methods == with_head(a.methods) && b.predicates.iter().all(|condition| a.predicates.contains(condition));
        if !relation.only_a && (relation.only_b || narrower()) {
            return None;
        }
        let mut places =
            common_hosts.iter().flat_map(|meeting| relation.common.iter().map(move |path| (meeting, path)));
        let found =
            places.find(|(meeting, path)| !self.is_decided_by_third(&meeting.host, path, methods, first, later));
        found.map(|(meeting, path)| Overlap { later, by: meeting.by, example: path.clone() })
    }

    /// Returns true if a third route takes such requests before `first` does, or would admit the same clients in place
    /// of `first`.
    fn is_decided_by_third(&mut self, host: &str, path: &[u8], methods: Methods, first: usize, later: usize) -> bool {
        let router = self.router;
        let (a, b) = (&router.rules[first], &router.rules[later]);
        let (mut own, mut other, mut thirds) = (NONE, NONE, Vec::new());
        let done = router.visit(host.as_bytes(), path, &mut self.scan, &mut |ranks| {
            for &rank in ranks {
                let entry = router.entries[rank as usize];
                let route = entry.route as usize;
                let mut conditions = router.rules[route].predicates.iter();
                if route == first {
                    own = own.min(rank);
                } else if route == later {
                    other = other.min(rank);
                } else if with_head(entry.methods) & methods == methods
                    && conditions.all(|one| a.predicates.contains(one) || b.predicates.contains(one))
                {
                    thirds.push((rank, route));
                }
            }
            NONE
        });
        let settles =
            |(rank, route): &(u32, usize)| *rank < own || (*rank < other && !(self.lets_in_more)(first, *route));
        done.is_ok() && thirds.iter().any(settles)
    }
}

/// Adds HEAD to a set with GET.
fn with_head(methods: Methods) -> Methods {
    if methods & GET == 0 { methods } else { methods | HEAD }
}

/// Returns the hosts that both routes match and at which `first` comes before `later`.
fn common_hosts(rules: &[Rule], first: usize, later: usize) -> Vec<Meeting> {
    let place = |route: usize, host: &str| {
        let hosts = rules[route].hosts.iter().enumerate().filter(|(_, one)| one.matches(host.as_bytes()));
        hosts.map(|(at, _)| RouteRank::of(&rules[route], at, route)).min()
    };
    let mut hosts: Vec<String> = [first, later].iter().flat_map(|one| &rules[*one].hosts).map(Host::sample).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let meeting = |host: String| {
        let (own, other) = (place(first, &host)?, place(later, &host)?);
        (own < other).then(|| Meeting { by: own.first_difference(&other), host })
    };
    hosts.into_iter().filter_map(meeting).collect()
}

/// Routes sorted by the start of their paths.
pub(crate) struct Nearby {
    /// Common start of the paths of a route, by index of the route.
    starts: Vec<Vec<u8>>,
    /// Shape of the paths of a route, by index; None for patterns.
    shapes: Vec<Option<PathShape>>,
    /// Indexes of routes in the order of `starts`.
    sorted: Vec<usize>,
    /// Where the routes with the start of a route begin in `sorted`, by index of the route.
    places: Vec<usize>,
    /// Where the routes begin in `sorted` that have the next shorter start, which is a part of that of the route at
    /// the same place in `sorted`.
    shorter: Vec<Option<usize>>,
}

impl Nearby {
    pub(crate) fn new(rules: &[Rule], routes: &[plan::RoutePlan]) -> Self {
        let both = rules.iter().zip(routes);
        let starts: Vec<Vec<u8>> = both.map(|(rule, route)| start(&rule.path, &route.matches.path)).collect();
        let mut sorted: Vec<usize> = (0..starts.len()).collect();
        sorted.sort_by_key(|route| &starts[*route]);
        let shapes = rules.iter().map(|rule| PathShape::of(&rule.path)).collect();
        let (mut places, mut shorter) = (vec![0; starts.len()], Vec::with_capacity(starts.len()));
        // Where the starts begin that are parts of the one that is looked at, the longest of them last.
        let mut around: Vec<usize> = Vec::new();
        for (place, &route) in sorted.iter().enumerate() {
            while around.pop_if(|top| !starts[route].starts_with(&starts[sorted[*top]])).is_some() {}
            if around.last().is_none_or(|top| starts[sorted[*top]] != starts[route]) {
                around.push(place);
            }
            places[route] = around[around.len() - 1];
            shorter.push(around.len().checked_sub(2).map(|next| around[next]));
        }
        Self { starts, shapes, sorted, places, shorter }
    }

    /// Returns all routes that may have a path in common with `route`, including itself.
    pub(crate) fn of(&self, route: usize) -> impl Iterator<Item = usize> {
        let own = &self.starts[route];
        let from = |place: usize| self.sorted[place..].iter();
        let longer = from(self.places[route]).take_while(|one| self.starts[**one].starts_with(own));
        let next = |place: &usize| self.shorter[*place];
        let shorter = std::iter::successors(next(&self.places[route]), next).flat_map(move |place| {
            from(place).take_while(move |one| self.starts[**one] == self.starts[self.sorted[place]])
        });
        longer.chain(shorter).copied().filter(move |other| match (&self.shapes[route], &self.shapes[*other]) {
            (Some(own), Some(other)) => own.may_overlap(other),
            _ => true,
        })
    }
}

/// A set of paths described by segments.
struct PathShape {
    segments: Vec<Segment>,
    /// True if further segments may follow.
    open_ended: bool,
}

impl PathShape {
    fn of(path: &Path) -> Option<Self> {
        let literals =
            |path: &[u8]| path.split(|byte| *byte == b'/').skip(1).map(|text| Segment::Literal(text.into())).collect();
        Some(match path {
            Path::Exact(path) => Self { segments: literals(path), open_ended: false },
            Path::Prefix(prefix) => {
                Self { segments: literals(prefix.strip_suffix(b"/").unwrap_or(prefix)), open_ended: true }
            }
            Path::Template(template) => {
                let (open_ended, segments) = match template.segments.split_last() {
                    Some((Segment::Rest, segments)) => (true, segments),
                    _ => (false, &template.segments[..]),
                };
                Self { segments: segments.to_vec(), open_ended }
            }
            Path::Pattern(_) => return None,
        })
    }

    /// Returns true if a path may match both.
    fn may_overlap(&self, other: &Self) -> bool {
        let (own, theirs) = (self.segments.len(), other.segments.len());
        let fits = |pair: (&Segment, &Segment)| match pair {
            (Segment::Literal(a), Segment::Literal(b)) => a == b,
            (Segment::Literal(text), param) | (param, Segment::Literal(text)) => param.param(text).is_some(),
            _ => true,
        };
        (own <= theirs || other.open_ended)
            && (theirs <= own || self.open_ended)
            && self.segments.iter().zip(&other.segments).all(fits)
    }
}

/// Returns the common start of a route's paths, as far as it is easy to find.
fn start(path: &Path, written: &PathMatch) -> Vec<u8> {
    match (path, written) {
        (Path::Exact(path) | Path::Prefix(path), _) => path.to_vec(),
        (Path::Template(template), _) => template.start(),
        (Path::Pattern(_), PathMatch::Pattern(text)) => {
            pattern::parse(text).map(|hir| pattern::start(&hir)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Nearby, PathShape, start};
    use crate::plan::RoutePlan;
    use crate::route::tests::model::path_match;
    use crate::route::tests::{build, exact, pattern, prefix, template};

    /// Two routes are near each other if the start of one is a part of that of the other, and their shapes fit.
    fn by_definition(routes: &[RoutePlan], one: usize) -> Vec<usize> {
        let rules = &build(routes).rules;
        let start = |at: usize| start(&rules[at].path, &routes[at].matches.path);
        let near = |other: &usize| {
            let (own, theirs) = (start(one), start(*other));
            let shapes = (PathShape::of(&rules[one].path), PathShape::of(&rules[*other].path));
            let fits = !matches!(&shapes, (Some(own), Some(theirs)) if !own.may_overlap(theirs));
            fits && (own.starts_with(&theirs) || theirs.starts_with(&own))
        };
        (0..routes.len()).filter(near).collect()
    }

    fn agrees(routes: &[RoutePlan]) {
        let nearby = Nearby::new(&build(routes).rules, routes);
        for route in 0..routes.len() {
            let mut found: Vec<usize> = nearby.of(route).collect();
            found.sort_unstable();
            // Equal lists: none is named twice.
            assert_eq!(found, by_definition(routes, route), "{route} of {routes:?}");
        }
    }

    #[test]
    fn starts_within_starts_are_near() {
        let nested = [
            prefix("/"),
            prefix("/a"),
            prefix("/a"),
            exact("/a/b"),
            template("/a/{x}"),
            prefix("/a/b/"),
            exact("/a/b/c"),
            exact("/a/b/c"),
            pattern("^/a/b/.*"),
            prefix("/ab"),
            prefix("/b"),
            template("/b/{x}"),
            pattern(".*"),
        ];
        agrees(&nested);
        agrees(&nested.iter().rev().cloned().collect::<Vec<_>>());
        agrees(&[]);
    }

    proptest! {
        #[test]
        fn neighbours_are_those_of_the_definition(routes in prop::collection::vec(path_match(), 0..16)) {
            agrees(&routes);
        }
    }
}
