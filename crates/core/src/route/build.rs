//! Builds the router from the plan's routes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use regex_syntax::hir::Hir;

use super::conflict::shadow;
use super::matching::index::Hosts;
use super::matching::methods::{MethodTable, Methods};
use super::matching::pattern::{self, Groups, PatternSet};
use super::matching::predicate::{ConditionSource, Predicate, ValuePatterns};
use super::matching::rule::{Host, Path, Rule};
use super::matching::template::Template;
use super::matching::{literal, methods};
use super::split::Split;
use super::{RankedRoute, Router};
use crate::Problem;
use crate::plan::{self, EncodedSlash, PathMatch};

/// Cache for the determinised states of all path patterns in every worker, in bytes.
const PATTERN_CACHE: usize = 4 * 1024 * 1024;

/// Ids of routers, by which a `Scratch` notices that the router has changed. No router has the id 0.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Path patterns found so far, without duplicates.
#[derive(Default)]
struct Patterns {
    known: HashMap<String, u32>,
    hirs: Vec<Hir>,
    groups: Vec<Option<Groups>>,
    names: Vec<Box<[Box<str>]>>,
    memory: usize,
}

/// What is collected over all routes.
struct Builder {
    patterns: Patterns,
    methods: MethodTable,
    values: ValuePatterns,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Router {
    /// Compiles the routes, or returns everything that is wrong with them.
    pub fn build(routes: &[plan::RoutePlan]) -> Result<Self, Vec<Problem>> {
        let mut builder = Builder {
            patterns: Patterns::default(),
            methods: MethodTable::new(),
            values: ValuePatterns::default(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        let rules: Vec<Rule> =
            routes.iter().enumerate().filter_map(|(i, r)| builder.rule(r, &format!("routes[{i}]"))).collect();
        let Builder { patterns, methods, values, mut problems, warnings } = builder;
        let mut set = None;
        if !patterns.hirs.is_empty() {
            match PatternSet::build(&patterns.hirs, PATTERN_CACHE) {
                Ok(built) => set = Some(built),
                Err(e) => problems.push(Problem::at("routes", format!("all patterns together: {e}"))),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let entries = rank(&rules);
        let mut hosts = Hosts::default();
        for (rank, entry) in entries.iter().enumerate() {
            let rule = &rules[entry.route as usize];
            hosts.insert(&rule.hosts[entry.host as usize], &rule.path, rank as u32);
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let mut router = Self {
            id,
            rules,
            entries,
            hosts,
            set,
            patterns: patterns.groups,
            methods,
            values,
            warnings,
            never: Box::default(),
        };
        let shadowed = shadow::find(&router, routes);
        router.never = shadowed.iter().map(|(route, _)| *route).collect();
        router.warnings.extend(shadowed.into_iter().map(|(_, problem)| problem));
        Ok(router)
    }
}

/// Returns all routes at all their hosts, the most specific first.
fn rank(rules: &[Rule]) -> Vec<RankedRoute> {
    let mut all = Vec::new();
    for (route, rule) in rules.iter().enumerate() {
        for at in 0..rule.hosts.len() {
            let plain = rule.predicates.is_empty();
            all.push(RankedRoute { route: route as u32, host: at as u32, methods: rule.methods, plain });
        }
    }
    all.sort_by_cached_key(|entry| entry.place(rules));
    all
}

impl Builder {
    fn rule(&mut self, route: &plan::RoutePlan, route_at: &str) -> Option<Rule> {
        let (from, at) = (&route.matches, &*format!("{route_at}.match"));
        let before = self.problems.len();
        let path = self.path(&from.path, &format!("{at}.path"));
        let methods = self.methods(&from.methods, at);
        let hosts = self.hosts(&from.hosts, at);
        let mut predicates = Vec::new();
        for (source, key, list) in
            [(ConditionSource::Field, "headers", &from.headers), (ConditionSource::Query, "query", &from.query)]
        {
            for (i, value) in list.iter().enumerate() {
                match Predicate::build(source, value, &mut self.values) {
                    Ok(predicate) => predicates.push(predicate),
                    Err((part, message)) => self.problems.push(Problem::at(format!("{at}.{key}[{i}].{part}"), message)),
                }
            }
        }
        let split = route.split.as_ref().map(|split| {
            Split::build(&route.name, split, &mut self.values).map_err(|found| {
                let at = format!("{route_at}.split");
                self.problems.extend(found.into_iter().map(|problem| problem.under(&at)));
            })
        });
        let (path, params) = path?;
        (self.problems.len() == before).then(|| Rule {
            name: route.name.as_str().into(),
            priority: route.priority,
            hosts,
            path,
            methods,
            predicates,
            params,
            keeps_slashes: route.encoded_slash == EncodedSlash::Keep,
            split: split.and_then(Result::ok),
        })
    }

    fn path(&mut self, from: &PathMatch, at: &str) -> Option<(Path, Box<[Box<str>]>)> {
        let read = match from {
            // The target of `OPTIONS *` is the only path without a slash.
            PathMatch::Exact(path) if path == "*" => Ok((Path::Exact(path.as_bytes().into()), Box::default())),
            PathMatch::Exact(path) => {
                literal::check(path).map(|()| (Path::Exact(path.as_bytes().into()), Box::default()))
            }
            PathMatch::Prefix(path) => {
                literal::check_prefix(path).map(|()| (Path::Prefix(path.as_bytes().into()), Box::default()))
            }
            PathMatch::Template(text) => Template::parse(text).map(|t| {
                let params = t.params.clone();
                (Path::Template(t), params)
            }),
            PathMatch::Pattern(text) => {
                self.pattern(text, at).map(|p| (Path::Pattern(p), self.patterns.names[p as usize].clone()))
            }
        };
        read.map_err(|message| self.problems.push(Problem::at(at, message))).ok()
    }

    fn pattern(&mut self, text: &str, at: &str) -> Result<u32, String> {
        if let Some(known) = self.patterns.known.get(text) {
            return Ok(*known);
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
            return Err(format!("`{c}` never occurs in a path: write it percent-encoded, in upper case"));
        }
        let hir = pattern::parse(text)?;
        if pattern::never_matches_a_path(&hir) {
            let message = "the pattern can never match: it matches from the start of the path, which is `/`";
            self.warnings.push(Problem::at(at, message));
        } else if pattern::needs(&hir, b';') {
            let message =
                "the pattern can never match: parameters of segments (`;…`) are left out of the path before routing";
            self.warnings.push(Problem::at(at, message));
        }
        let nfa = pattern::compile(&hir)?;
        let patterns = &mut self.patterns;
        patterns.memory += nfa.memory_usage();
        if patterns.memory > pattern::MAX_AUTOMATA {
            let most = pattern::MAX_AUTOMATA / (1024 * 1024);
            return Err(format!(
                "the automata of all patterns up to this one are larger than {most} MB; use templates"
            ));
        }
        let names = pattern::group_names(&nfa);
        patterns.groups.push(if names.is_empty() { None } else { Some(Groups::build(&nfa)?) });
        patterns.names.push(names.into());
        let new = patterns.hirs.len() as u32;
        patterns.hirs.push(hir);
        patterns.known.insert(text.to_owned(), new);
        Ok(new)
    }

    fn methods(&mut self, from: &[String], at: &str) -> Methods {
        if from.is_empty() {
            return methods::ANY;
        }
        let mut set = 0;
        for (i, name) in from.iter().enumerate() {
            match self.methods.add(name) {
                Ok(bit) => set |= bit,
                Err(message) => self.problems.push(Problem::at(format!("{at}.methods[{i}]"), message)),
            }
        }
        set
    }

    fn hosts(&mut self, from: &[String], at: &str) -> Vec<Host> {
        let mut all = Vec::new();
        for (i, text) in from.iter().enumerate() {
            match Host::read(text) {
                Ok(host) if all.contains(&host) => {}
                Ok(host) => all.push(host),
                Err(message) => self.problems.push(Problem::at(format!("{at}.hosts[{i}]"), message)),
            }
        }
        if all.is_empty() {
            all.push(Host::Any);
        }
        all
    }
}
