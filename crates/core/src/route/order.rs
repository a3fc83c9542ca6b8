//! The order of preference of routes.

use std::cmp::Reverse;

use super::matching::rule::{Host, Path, Rule};

/// Position of a path in the order of preference.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum PathKey {
    Exact,
    Template(Vec<(u8, Reverse<usize>, u8)>),
    Pattern(u32),
    Prefix(Reverse<usize>),
}

/// Position of a route at one of its hosts in the order of preference: smaller comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RouteRank {
    priority: Reverse<i32>,
    host: (u8, Reverse<usize>),
    path: PathKey,
    conditions: Reverse<usize>,
    declared: usize,
}

/// The criterion by which a route comes before another: the first in which they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// It has the higher priority.
    Priority,
    /// Its host is more specific.
    Host,
    /// Its path is more specific.
    Path,
    /// It has more conditions on fields and query.
    Conditions,
    /// It was declared first.
    Declaration,
    /// It names HEAD, while the other route, otherwise equal, matches HEAD as GET.
    Head,
}

impl RouteRank {
    /// Returns the rank of `rule`, the route at index `declared`, at its host at index `host`.
    pub(super) fn of(rule: &Rule, host: usize, declared: usize) -> Self {
        Self {
            priority: Reverse(rule.priority),
            host: match &rule.hosts[host] {
                Host::Exact(_) => (0, Reverse(0)),
                Host::Suffix(suffix) => (1, Reverse(suffix.len())),
                Host::Any => (2, Reverse(0)),
            },
            path: match &rule.path {
                Path::Exact(_) => PathKey::Exact,
                Path::Template(template) => PathKey::Template(template.key()),
                Path::Pattern(at) => PathKey::Pattern(*at),
                Path::Prefix(prefix) => PathKey::Prefix(Reverse(prefix.len())),
            },
            conditions: Reverse(rule.predicates.len()),
            declared,
        }
    }

    /// Returns the criterion that decides between this and `other`.
    pub(super) fn first_difference(&self, other: &Self) -> By {
        if self.priority != other.priority {
            By::Priority
        } else if self.host != other.host {
            By::Host
        } else if self.path != other.path {
            By::Path
        } else if self.conditions != other.conditions {
            By::Conditions
        } else {
            By::Declaration
        }
    }
}
