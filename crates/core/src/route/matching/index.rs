//! Lookup tables: hosts, then per host exact paths, a trie of segments, and patterns.
//!
//! A rank is the position of a route at one host in the order of preference; 0 is the best. Entries are inserted by
//! ascending rank, so every list of ranks is ascending, and every table and node knows its best rank: the search skips
//! what cannot beat the best match so far.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use memchr::memchr;

use crate::route::matching::rule::{Host, Path};
use crate::route::matching::template::Segment;

type Map<K, V> = HashMap<K, V, RandomState>;

/// No rank.
pub(crate) const NONE: u32 = u32::MAX;

/// Tables of paths by host.
#[derive(Default)]
pub(crate) struct Hosts {
    tables: Vec<Table>,
    exact: Map<Box<[u8]>, u32>,
    /// By the text after the first dot.
    suffix: Map<Box<[u8]>, u32>,
    longest_suffix: usize,
    any: Option<u32>,
}

impl Hosts {
    /// Adds a rank, which must be higher than all before.
    pub(crate) fn insert(&mut self, host: &Host, path: &Path, rank: u32) {
        let new = self.tables.len() as u32;
        let at = match host {
            Host::Exact(name) => *self.exact.entry(name.as_bytes().into()).or_insert(new),
            Host::Suffix(suffix) => {
                self.longest_suffix = self.longest_suffix.max(suffix.len() - 1);
                *self.suffix.entry(suffix.as_bytes()[1..].into()).or_insert(new)
            }
            Host::Any => *self.any.get_or_insert(new),
        };
        if at == new {
            self.tables.push(Table::new(rank));
        }
        self.tables[at as usize].insert(path, rank);
    }

    /// Calls `each` with the tables for `host`, the most specific first.
    pub(crate) fn visit<'t, E>(
        &'t self,
        host: &[u8],
        mut each: impl FnMut(&'t Table) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.exact.is_empty()
            && let Some(at) = self.exact.get(host)
        {
            each(&self.tables[*at as usize])?;
        }
        if !self.suffix.is_empty() {
            let mut rest = host;
            while let Some(dot) = memchr(b'.', rest) {
                let front = dot + (host.len() - rest.len());
                rest = &rest[dot + 1..];
                // `front` is 0 for a host that starts with a dot: there is no label in front of it.
                if front > 0
                    && rest.len() <= self.longest_suffix
                    && let Some(at) = self.suffix.get(rest)
                {
                    each(&self.tables[*at as usize])?;
                }
            }
        }
        self.any.map_or(Ok(()), |at| each(&self.tables[at as usize]))
    }
}

/// The paths of one host.
pub(crate) struct Table {
    /// The best rank in this table.
    pub(crate) best: u32,
    exact: Map<Box<[u8]>, Vec<u32>>,
    nodes: Vec<Node>,
    /// The best rank in `patterns`.
    pub(crate) best_pattern: u32,
    patterns: Map<u32, Vec<u32>>,
}

/// A node of the trie, at the end of a segment.
struct Node {
    best: u32,
    literals: Map<Box<[u8]>, u32>,
    /// Parameters with text around them, then `int`, then `str`, by their first rank.
    params: Vec<(Segment, u32)>,
    /// Templates that end here.
    end: Vec<u32>,
    /// Templates whose last parameter matches everything after the next `/`.
    rest: Vec<u32>,
    /// Prefixes that end here, without and with a trailing `/`.
    prefix: Vec<u32>,
    prefix_slash: Vec<u32>,
}

impl Node {
    fn new(best: u32) -> Self {
        Self {
            best,
            literals: Map::default(),
            params: Vec::new(),
            end: Vec::new(),
            rest: Vec::new(),
            prefix: Vec::new(),
            prefix_slash: Vec::new(),
        }
    }
}

impl Table {
    fn new(best: u32) -> Self {
        Self { best, exact: Map::default(), nodes: Vec::new(), best_pattern: NONE, patterns: Map::default() }
    }

    fn insert(&mut self, path: &Path, rank: u32) {
        match path {
            Path::Exact(path) => self.exact.entry(path.clone()).or_default().push(rank),
            Path::Pattern(at) => {
                self.best_pattern = self.best_pattern.min(rank);
                self.patterns.entry(*at).or_default().push(rank);
            }
            Path::Template(template) => {
                let mut at = self.root(rank);
                for segment in &template.segments {
                    if *segment == Segment::Rest {
                        self.nodes[at].rest.push(rank);
                        return;
                    }
                    at = self.child(at, segment, rank);
                }
                self.nodes[at].end.push(rank);
            }
            Path::Prefix(prefix) => {
                let mut at = self.root(rank);
                let inner = &prefix[1..];
                let (inner, slash) = match inner.strip_suffix(b"/") {
                    Some(inner) => (inner, true),
                    None => (inner, inner.is_empty()),
                };
                for text in inner.split(|b| *b == b'/').filter(|text| !text.is_empty()) {
                    at = self.child(at, &Segment::Literal(text.into()), rank);
                }
                let node = &mut self.nodes[at];
                if slash { node.prefix_slash.push(rank) } else { node.prefix.push(rank) }
            }
        }
    }

    fn root(&mut self, rank: u32) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::new(rank));
        }
        0
    }

    fn child(&mut self, at: usize, segment: &Segment, rank: u32) -> usize {
        let new = self.nodes.len() as u32;
        let node = &mut self.nodes[at];
        let child = if let Segment::Literal(text) = segment {
            *node.literals.entry(text.clone()).or_insert(new)
        } else {
            let known = node.params.iter().find(|(known, _)| known == segment).map(|(_, child)| *child);
            known.unwrap_or_else(|| {
                node.params.push((segment.clone(), new));
                new
            })
        };
        if child == new {
            self.nodes.push(Node::new(rank));
        }
        child as usize
    }

    /// Calls `each` with every list of ranks whose exact path, template or prefix matches `path`. `each` returns the
    /// rank from which on the search can stop.
    pub(crate) fn visit(&self, path: &[u8], mut limit: u32, each: &mut impl FnMut(&[u32]) -> u32) -> u32 {
        if !self.exact.is_empty()
            && let Some(ranks) = self.exact.get(path)
        {
            limit = each(ranks);
        }
        if !self.nodes.is_empty() && path.first() == Some(&b'/') {
            limit = self.walk(0, Some(&path[1..]), limit, each);
        }
        limit
    }

    /// Like `visit`, for the routes of one pattern.
    pub(crate) fn visit_pattern(&self, pattern: u32, limit: u32, each: &mut impl FnMut(&[u32]) -> u32) -> u32 {
        self.patterns.get(&pattern).map_or(limit, |ranks| each(ranks))
    }

    /// `rest` is what follows the `/` after the segments read so far, or None at the end of the path.
    fn walk(&self, at: u32, rest: Option<&[u8]>, mut limit: u32, each: &mut impl FnMut(&[u32]) -> u32) -> u32 {
        let node = &self.nodes[at as usize];
        if node.best >= limit {
            return limit;
        }
        let mut offer = |ranks: &[u32], limit: u32| if ranks.is_empty() { limit } else { each(ranks) };
        let Some(rest) = rest else {
            limit = offer(&node.end, limit);
            return offer(&node.prefix, limit);
        };
        let (segment, next) = match memchr(b'/', rest) {
            Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
            None => (rest, None),
        };
        if !node.literals.is_empty()
            && let Some(child) = node.literals.get(segment)
        {
            limit = self.walk(*child, next, limit, each);
        }
        for (param, child) in &node.params {
            if self.nodes[*child as usize].best < limit && param.param(segment).is_some() {
                limit = self.walk(*child, next, limit, each);
            }
        }
        let mut offer = |ranks: &[u32], limit: u32| if ranks.is_empty() { limit } else { each(ranks) };
        limit = offer(&node.rest, limit);
        limit = offer(&node.prefix_slash, limit);
        offer(&node.prefix, limit)
    }
}
