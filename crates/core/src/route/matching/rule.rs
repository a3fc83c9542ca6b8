//! A route as it is matched.

use crate::route::matching::literal;
use crate::route::matching::methods::Methods;
use crate::route::matching::predicate::Predicate;
use crate::route::matching::template::Template;

/// Which hosts a route takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// This one.
    Exact(Box<str>),
    /// What ends in this, which starts with a dot.
    Suffix(Box<str>),
    /// All.
    Any,
}

impl Host {
    /// Reads a name of a host, `*.` in front for any labels there.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        match text.strip_prefix("*.") {
            Some(name) => literal::check_host(name).map(|()| Self::Suffix(text[1..].into())),
            None => literal::check_host(text).map(|()| Self::Exact(text.into())),
        }
    }

    /// Whether it takes `host`.
    pub(crate) fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(name) => name.as_bytes() == host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_bytes()),
            Self::Any => true,
        }
    }

    /// A host that it takes. `*` occurs in no other one, so that it stands for all hosts of a suffix, or for all.
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
    /// Place in the router's patterns.
    Pattern(u32),
}

/// One route as the router knows it.
pub(crate) struct Rule {
    pub(crate) name: Box<str>,
    pub(crate) priority: i32,
    pub(crate) hosts: Vec<Host>,
    pub(crate) path: Path,
    pub(crate) methods: Methods,
    pub(crate) predicates: Vec<Predicate>,
    pub(crate) params: Box<[Box<str>]>,
    /// `%2F` is a letter of its segment.
    pub(crate) keeps_slashes: bool,
}

/// Whether the prefix takes the path.
pub(crate) fn prefix_matches(prefix: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| prefix.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/"))
}
