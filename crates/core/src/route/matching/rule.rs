//! A route in the form used for matching.

use crate::route::matching::literal;
use crate::route::matching::methods::Methods;
use crate::route::matching::predicate::Predicate;
use crate::route::matching::template::Template;
use crate::route::split::Split;

/// The hosts that a route matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// Exactly this host.
    Exact(Box<str>),
    /// Hosts with this suffix, which starts with a dot.
    Suffix(Box<str>),
    /// All hosts.
    Any,
}

impl Host {
    /// Parses a host name, with `*.` in front for any labels.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        match text.strip_prefix("*.") {
            Some(name) => literal::check_host(name).map(|()| Self::Suffix(text[1..].into())),
            None => literal::check_host(text).map(|()| Self::Exact(text.into())),
        }
    }

    /// Returns true if it matches `host`.
    pub(crate) fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(name) => name.as_bytes() == host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_bytes()),
            Self::Any => true,
        }
    }

    /// Returns a host that it matches. `*` occurs in no real host, so it can represent all hosts of a suffix, or all
    /// hosts.
    pub(crate) fn sample(&self) -> String {
        match self {
            Self::Exact(name) => name.to_string(),
            Self::Suffix(suffix) => format!("*{suffix}"),
            Self::Any => "*".into(),
        }
    }
}

/// How a path is compared.
#[derive(Clone, Debug)]
pub(crate) enum Path {
    Exact(Box<[u8]>),
    Template(Template),
    Prefix(Box<[u8]>),
    /// Index among the router's patterns.
    Pattern(u32),
}

/// A route in the router.
pub(crate) struct Rule {
    pub(crate) name: Box<str>,
    pub(crate) priority: i32,
    pub(crate) hosts: Vec<Host>,
    pub(crate) path: Path,
    pub(crate) methods: Methods,
    pub(crate) predicates: Vec<Predicate>,
    pub(crate) params: Box<[Box<str>]>,
    /// True if `%2F` is data within a segment.
    pub(crate) keeps_slashes: bool,
    /// How the requests are split over services.
    pub(crate) split: Option<Split>,
}

/// Returns true if the prefix matches the path.
pub(crate) fn prefix_matches(prefix: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| prefix.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/"))
}
