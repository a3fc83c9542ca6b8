//! Which entries are to be forgotten.

use pylae_http::{Method, Target};
use serde::Deserialize;

use crate::cache::selection::key;
use crate::cache::storage::entry::Entry;

/// What is to be forgotten. A host is written as in requests, with the port if it is not the usual one; none means any.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Purge {
    /// Everything.
    All,
    /// What answers this path and query, for all users and in all variants.
    Target(PurgeAddress),
    /// What answers paths that start so.
    Prefix(PurgeAddress),
    /// What this service has answered.
    Service(String),
    /// What carries this tag.
    Tag(String),
}

/// Host and path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeAddress {
    host: Option<String>,
    path: String,
}

impl Purge {
    /// Brings paths into the canonical form that keys have. Tells apart what no request can ask for.
    pub fn canonical(mut self) -> Result<Self, &'static str> {
        if let Self::Target(place) | Self::Prefix(place) = &mut self {
            let mut target = Target::default();
            target.read_with_slashes(place.path.as_bytes(), Method::Get).map_err(|error| error.0)?;
            let query = place.path.find('?').map_or("", |at| &place.path[at..]);
            let path = std::str::from_utf8(&target.path).map_err(|_| "not a path")?;
            place.path = format!("{path}{query}");
            place.host = place.host.take().map(|host| host.to_ascii_lowercase());
        }
        Ok(self)
    }

    /// Whether the entry is one of those.
    pub(crate) fn names(&self, key: &[u8], entry: &Entry) -> bool {
        let (host, path, query) = key::read(key);
        let here = |place: &PurgeAddress| place.host.as_ref().is_none_or(|wanted| wanted.as_bytes() == host);
        match self {
            Self::All => true,
            Self::Target(place) => {
                let wanted = place.path.as_bytes();
                here(place)
                    && wanted.len() == path.len() + query.len()
                    && wanted.starts_with(path)
                    && wanted.ends_with(query)
            }
            Self::Prefix(place) => here(place) && path.starts_with(place.path.as_bytes()),
            Self::Service(name) => *entry.service == **name,
            Self::Tag(tag) => entry.tags.iter().any(|other| **other == **tag),
        }
    }
}
