//! Which route takes a request.
//!
//! The most specific one that takes it. Compared one after the other, the first difference decides:
//!
//! 1. `priority`, the higher one;
//! 2. host: named exactly, then `*.` with the longer name behind it, then any. A route with several hosts stands at several places;
//! 3. path: exact, then template, then patterns in the order in which they are first declared, then the longer prefix.
//!    Templates compare segment by segment: literal, then a parameter with text around it (the more text first), then `int`, then `str`, then `path`;
//! 4. the number of conditions on fields and query, the higher one;
//! 5. the order of declaration.
//!
//! A route whose method does not fit is passed over; when nothing else takes the request, the answer is 405 with the methods of all
//! routes that would have taken it. A route for GET takes HEAD too, at its own place; only among routes with equal hosts, paths,
//! priorities and numbers of conditions does one that names HEAD go first.
//!
//! A CORS preflight concerns the route of the request that it announces: set [`RouteQuery::method`] and [`RouteQuery::method_token`] to
//! what `Access-Control-Request-Method` names, and ask as usual.
//!
//! Exact paths, prefixes (`/api` takes `/api` and `/api/x`, not `/apix`; `/api/` takes what starts so) and templates are found by hashing
//! whole paths and segments, hosts by hashing their tails, so the time does not depend on the number of routes. Regular expressions, all
//! of them, are one automaton that passes over the path once. They are anchored at its start, see bytes, and have ASCII classes
//! (`\d` is `[0-9]`): a canonical path is ASCII. `{rest:path}` may be empty, other parameters never are.
//! Paths have no parameters here (`/users;v=1/7` is routed as `/users/7`), so neither has what is captured.
//! The target of `OPTIONS *` has the path `*`, which only an exact path `*` takes.

mod allow;
mod build;
mod conflict;
mod explain;
mod matching;
mod order;
pub mod rewrite;
mod served;
mod slashes;
#[cfg(test)]
mod tests;

use pylae_http::{Fields, Method, Span};
use regex_automata::hybrid::dfa::Cache;

use self::matching::index::{Hosts, NONE};
use self::matching::methods::{ANY, GET, HEAD, MethodTable, Methods};
use self::matching::pattern::{GroupCaches, Groups, PatternSet, ScanFailed};
use self::matching::predicate::{FieldValues, InHead, ValuePatterns, ValueScratch};
use self::matching::rule::{Path, Rule};
use self::order::RouteRank;
use crate::{Exchange, Problem};

pub use self::explain::{Considered, RouteVerdict};
pub use self::order::By;
pub use self::served::ServedHosts;

/// What routing looks at.
#[derive(Clone, Copy, Debug)]
pub struct RouteQuery<'a> {
    /// The canonical host without port; empty if the request has none.
    pub host: &'a [u8],
    /// The method.
    pub method: Method,
    /// The method as spelt; looked at only when `method` is `Other`.
    pub method_token: &'a [u8],
    /// The canonical path, without parameters of segments.
    pub path: &'a [u8],
    /// The query as sent, without `?`.
    pub query: Option<&'a [u8]>,
    /// The field lines.
    pub fields: &'a Fields,
    /// The buffer that `fields` lie in.
    pub buf: &'a [u8],
}

impl<'a> RouteQuery<'a> {
    /// What routing looks at in the request of `exchange`.
    pub fn of(exchange: &'a Exchange) -> Self {
        Self {
            host: exchange.request.host_name(),
            method: exchange.request.head.method,
            method_token: exchange.request.head.method_span.of(&exchange.request.buffer),
            path: exchange.request.target.routing_path(),
            query: exchange.request.query(),
            fields: &exchange.request.head.fields,
            buf: &exchange.request.buffer,
        }
    }
}

/// The answer of [`Router::find`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteMatch {
    /// This place in the plan's routes.
    Route(usize),
    /// Routes take the request in everything but its method: [`Scratch::allow`] names theirs.
    MethodNotAllowed,
    /// No route.
    NotFound,
}

/// Memory that lookups use again: one per worker, since it holds the states of the regular expressions met so far. May be passed to
/// different routers; it starts afresh when the router changes.
#[derive(Default)]
pub struct Scratch {
    owner: u64,
    captures: Vec<Span>,
    allow: String,
    scan: Scan,
    groups: GroupCaches,
    values: ValueScratch,
}

impl Scratch {
    /// Where the parameters of the route just found lie in the path, parallel to [`Router::params`]. A group that took no part is empty.
    pub fn captures(&self) -> &[Span] {
        &self.captures
    }

    /// After [`RouteMatch::MethodNotAllowed`] the value of `Allow`, e.g. `GET, HEAD, POST`.
    pub fn allow(&self) -> &str {
        &self.allow
    }

    fn reset_for(&mut self, owner: u64) {
        if self.owner != owner {
            self.owner = owner;
            self.scan = Scan::default();
            self.values.reset();
        }
    }
}

/// Patterns that matched a path.
#[derive(Default)]
struct Scan {
    cache: Option<Cache>,
    matched: Vec<u32>,
    /// One bit per pattern: it is in `matched`.
    seen: Vec<u64>,
}

/// A route at one of its hosts; its place in [`Router::entries`] is its rank.
#[derive(Clone, Copy)]
struct RankedRoute {
    route: u32,
    /// Place in the route's hosts.
    host: u32,
    methods: Methods,
    /// The route has no conditions.
    plain: bool,
}

impl RankedRoute {
    fn place(self, rules: &[Rule]) -> RouteRank {
        RouteRank::of(&rules[self.route as usize], self.host as usize, self.route as usize)
    }
}

/// Finds routes. Immutable; shared by all workers.
pub struct Router {
    id: u64,
    rules: Vec<Rule>,
    entries: Vec<RankedRoute>,
    hosts: Hosts,
    set: Option<PatternSet>,
    /// How the groups of each pattern are found; none if it has no groups.
    patterns: Vec<Option<Groups>>,
    methods: MethodTable,
    values: ValuePatterns,
    warnings: Vec<Problem>,
    /// Places of routes that can never match, ascending.
    never: Box<[usize]>,
}

/// A lookup under way.
struct RouteSearch<'a, H> {
    router: &'a Router,
    headers: &'a H,
    query: Option<&'a [u8]>,
    method: Methods,
    values: &'a mut ValueScratch,
    best: u32,
    passed_over: bool,
}

impl Router {
    /// Routes that can never match, each with the name of the one that takes its requests.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Names of the parameters or groups of a route; groups without name are `1`, `2`, ….
    pub fn params(&self, route: usize) -> &[Box<str>] {
        &self.rules[route].params
    }

    /// The route that takes the request. Allocates nothing once `scratch` is warm.
    pub fn find(&self, lookup: &RouteQuery<'_>, scratch: &mut Scratch) -> RouteMatch {
        self.find_where(lookup, &InHead { fields: lookup.fields, buf: lookup.buf }, scratch)
    }

    fn search<'a, H>(
        &'a self,
        lookup: &RouteQuery<'a>,
        headers: &'a H,
        values: &'a mut ValueScratch,
    ) -> RouteSearch<'a, H> {
        let method = self.methods.bit(lookup.method, lookup.method_token);
        RouteSearch { router: self, headers, query: lookup.query, method, values, best: NONE, passed_over: false }
    }

    fn find_where<H: FieldValues>(&self, lookup: &RouteQuery<'_>, headers: &H, scratch: &mut Scratch) -> RouteMatch {
        scratch.reset_for(self.id);
        scratch.captures.clear();
        scratch.allow.clear();
        let mut search = self.search(lookup, headers, &mut scratch.values);
        let done = self.visit(lookup.host, lookup.path, &mut scratch.scan, &mut |ranks| search.consider(ranks));
        if done.is_err() {
            return RouteMatch::NotFound;
        }
        if search.best == NONE {
            if !search.passed_over {
                return RouteMatch::NotFound;
            }
            let allowed = self.allowed(lookup, &mut search, &mut scratch.scan);
            if allowed == 0 {
                return RouteMatch::NotFound;
            }
            self.methods.write(allowed, &mut scratch.allow);
            return RouteMatch::MethodNotAllowed;
        }
        let route = self.entries[search.best as usize].route as usize;
        self.capture(route, lookup.path, scratch);
        RouteMatch::Route(route)
    }

    fn capture(&self, route: usize, path: &[u8], scratch: &mut Scratch) {
        let rule = &self.rules[route];
        match &rule.path {
            Path::Template(template) if !rule.params.is_empty() => {
                template.find(path, &mut scratch.captures);
            }
            Path::Pattern(at) => {
                if let Some(groups) = &self.patterns[*at as usize] {
                    groups.find(&mut scratch.groups, path, rule.params.len(), &mut scratch.captures);
                }
            }
            _ => {}
        }
    }

    /// Calls `each` with lists of ranks, ascending, whose host and path fit; `each` returns the rank from which on nothing is of interest.
    fn visit(
        &self,
        host: &[u8],
        path: &[u8],
        scan: &mut Scan,
        each: &mut impl FnMut(&[u32]) -> u32,
    ) -> Result<(), ScanFailed> {
        let mut limit = NONE;
        let mut scanned = false;
        self.hosts.visit(host, |table| {
            if table.best >= limit {
                return Ok(());
            }
            limit = table.visit(path, limit, each);
            // The path of `OPTIONS *` is for routes that name it.
            if table.best_pattern < limit && path.first() == Some(&b'/') {
                if !scanned {
                    self.scan(path, scan)?;
                    scanned = true;
                }
                for pattern in &scan.matched {
                    limit = table.visit_pattern(*pattern, limit, each);
                }
            }
            Ok(())
        })
    }

    /// Leaves in `scan.matched` the patterns that match `path`.
    fn scan(&self, path: &[u8], scan: &mut Scan) -> Result<(), ScanFailed> {
        let Some(set) = &self.set else { return Ok(()) };
        let Scan { cache, matched, seen } = scan;
        let cache = cache.get_or_insert_with(|| {
            seen.resize(self.patterns.len().div_ceil(64), 0);
            set.cache()
        });
        for pattern in matched.drain(..) {
            seen[pattern as usize / 64] = 0;
        }
        set.scan(cache, path, |pattern| {
            let (word, bit) = (&mut seen[pattern / 64], 1 << (pattern % 64));
            if *word & bit == 0 {
                *word |= bit;
                matched.push(pattern as u32);
            }
            false
        })
    }
}

impl<H: FieldValues> RouteSearch<'_, H> {
    fn matches(&mut self, entry: RankedRoute) -> bool {
        entry.plain
            || self.router.rules[entry.route as usize]
                .predicates
                .iter()
                .all(|p| p.matches(self.headers, self.query, &self.router.values, self.values))
    }

    /// Takes the first of `ranks` that fits if it is better than the best so far; returns the best.
    fn consider(&mut self, ranks: &[u32]) -> u32 {
        for (i, &rank) in ranks.iter().enumerate() {
            if rank >= self.best {
                break;
            }
            let entry = self.router.entries[rank as usize];
            if !method_matches(entry.methods, self.method) {
                self.passed_over = true;
            } else if self.matches(entry) {
                self.best = rank;
                if entry.methods & self.method == 0 {
                    self.prefer_head(entry, &ranks[i + 1..]);
                }
                break;
            }
        }
        self.best
    }

    /// `chosen` takes a HEAD only because it takes GET: a route at the same place that names HEAD goes first.
    fn prefer_head(&mut self, chosen: RankedRoute, following: &[u32]) {
        let rules = &self.router.rules;
        let place = |entry: RankedRoute| {
            let rule = &rules[entry.route as usize];
            (rule.priority, rule.predicates.len())
        };
        for &rank in following {
            let entry = self.router.entries[rank as usize];
            if place(entry) != place(chosen) {
                break;
            }
            if entry.methods != ANY && entry.methods & HEAD != 0 && self.matches(entry) {
                self.best = rank;
                break;
            }
        }
    }
}

/// Whether a route with `methods` takes a request of `method`.
fn method_matches(methods: Methods, method: Methods) -> bool {
    methods & method != 0 || (method == HEAD && methods & GET != 0)
}
