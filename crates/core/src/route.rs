//! Finds the route of a request.
//!
//! The most specific matching route wins. Two routes are compared by these criteria; the first difference decides:
//!
//! 1. `priority`: the higher one wins;
//! 2. host: an exact name, then `*.` with the longer name after it, then any. A route with several hosts has one
//!    position for each;
//! 3. path: exact, then template, then patterns in the order of their first declaration, then the longer prefix.
//!    Templates are compared segment by segment: a literal, then a parameter with text around it (more text first),
//!    then `int`, then `str`, then `path`;
//! 4. the number of conditions on fields and query: the higher one wins;
//! 5. the order of declaration.
//!
//! A route for other methods is skipped. If no other route matches, the answer is 405 with the methods of all routes
//! that match otherwise. A route for GET also matches HEAD, at its own position; a route that names HEAD comes first
//! only among routes with equal hosts, paths, priorities and numbers of conditions.
//!
//! A CORS preflight concerns the route of the request that it announces: set [`RouteQuery::method`] and
//! [`RouteQuery::method_token`] to the value of `Access-Control-Request-Method`, and search as usual.
//!
//! Exact paths, prefixes (`/api` matches `/api` and `/api/x`, not `/apix`; `/api/` matches what starts with it) and
//! templates are found by hashing whole paths and segments, hosts by hashing their suffixes, so the time does not
//! depend on the number of routes. All regular expressions together are one automaton, which reads the path once. They
//! are anchored at its start, match bytes, and have ASCII classes (`\d` is `[0-9]`), since a canonical path is ASCII.
//! `{rest:path}` may be empty, other parameters never are. Routing ignores path parameters (`/users;v=1/7` is routed as
//! `/users/7`), and captures do not contain them. The target of `OPTIONS *` has the path `*`, which only an exact path
//! `*` matches.

mod allow;
mod build;
mod conflict;
mod explain;
mod matching;
mod order;
pub mod rewrite;
mod served;
mod slashes;
mod split;
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
pub use self::split::{Choice, ChosenBy, ChosenMember, Member, MemberStanding, Split, SplitExplanation};

/// The properties of a request that routing uses.
#[derive(Clone, Copy, Debug)]
pub struct RouteQuery<'a> {
    /// The canonical host without port; empty if the request has none.
    pub host: &'a [u8],
    /// The method.
    pub method: Method,
    /// The method as spelt; used only if `method` is `Other`.
    pub method_token: &'a [u8],
    /// The canonical path, without parameters of segments.
    pub path: &'a [u8],
    /// The query as sent, without `?`.
    pub query: Option<&'a [u8]>,
    /// The field lines.
    pub fields: &'a Fields,
    /// The buffer that `fields` refer to.
    pub buf: &'a [u8],
}

impl<'a> RouteQuery<'a> {
    /// Returns the properties of the request in `exchange`.
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

/// The result of [`Router::find`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteMatch {
    /// Index among the plan's routes.
    Route(usize),
    /// Routes match except for the method; [`Scratch::allow`] lists their methods.
    MethodNotAllowed,
    /// No route.
    NotFound,
}

/// Reusable memory of lookups: one per worker, since it caches states of the regular expressions. It may be passed to
/// different routers; it starts afresh when the router changes.
#[derive(Default)]
pub struct Scratch {
    owner: u64,
    captures: Vec<Span>,
    allow: String,
    scan: Scan,
    groups: GroupCaches,
    values: ValueScratch,
    /// Why a condition could not be told.
    failed: Option<String>,
}

impl Scratch {
    /// Takes the reason for which the last condition of a split that failed could not be told.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failed.take()
    }

    /// Positions of the parameters of the last route found, parallel to [`Router::params`]. A group that did not
    /// participate is empty.
    pub fn captures(&self) -> &[Span] {
        &self.captures
    }

    /// Value of `Allow` after [`RouteMatch::MethodNotAllowed`], e.g. `GET, HEAD, POST`.
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

/// The patterns that match a path.
#[derive(Default)]
struct Scan {
    cache: Option<Cache>,
    matched: Vec<u32>,
    /// One bit per pattern that is in `matched`.
    seen: Vec<u64>,
}

/// A route at one of its hosts; its index in [`Router::entries`] is its rank.
#[derive(Clone, Copy)]
struct RankedRoute {
    route: u32,
    /// Index among the route's hosts.
    host: u32,
    methods: Methods,
    /// True if the route has no conditions.
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
    /// The matcher for the groups of each pattern; None if it has no groups.
    patterns: Vec<Option<Groups>>,
    methods: MethodTable,
    values: ValuePatterns,
    warnings: Vec<Problem>,
    /// Routes that can never match, ascending.
    never: Box<[usize]>,
}

/// A lookup in progress.
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
    /// Warnings about routes that can never match, each with the route that takes its requests.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Names of the parameters or groups of a route; groups without a name are `1`, `2`, ….
    pub fn params(&self, route: usize) -> &[Box<str>] {
        &self.rules[route].params
    }

    /// Returns the route of a request. Allocates nothing once `scratch` is warm.
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

    /// Calls `each` with ascending lists of ranks whose host and path match. `each` returns the rank from which on the
    /// search can stop.
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
            // Only routes that name it match the path of `OPTIONS *`.
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

    /// Stores the patterns that match `path` in `scan.matched`.
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

    /// Selects the first of `ranks` that matches, if it is better than the best so far; returns the best.
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

    /// `chosen` matches HEAD only as GET: a route at the same position that names HEAD comes first.
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

/// Returns true if a route with `methods` matches a request with `method`.
fn method_matches(methods: Methods, method: Methods) -> bool {
    methods & method != 0 || (method == HEAD && methods & GET != 0)
}
