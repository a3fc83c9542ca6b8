//! Which of two routes goes first.

use std::cmp::Reverse;

use super::matching::rule::{Host, Path, Rule};

/// Place of a path in the order of preference.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum PathKey {
    Exact,
    Template(Vec<(u8, Reverse<usize>, u8)>),
    Pattern(u32),
    Prefix(Reverse<usize>),
}

/// Place of a route at one of its hosts in the order of preference: smaller goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RouteRank {
    priority: Reverse<i32>,
    host: (u8, Reverse<usize>),
    path: PathKey,
    conditions: Reverse<usize>,
    declared: usize,
}

/// What a route goes before another one by: the first in which they differ.
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
    /// It is declared first.
    Declaration,
    /// It names HEAD, and the other one, which is otherwise equal, takes it as it takes GET.
    Head,
}

impl RouteRank {
    /// The place of `rule`, which is declared at `declared`, at the host at `host` of its hosts.
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

    /// What decides between it and `other`.
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
