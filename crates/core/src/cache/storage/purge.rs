//! Purging of entries.

use pylae_http::{Method, Target};
use serde::{Deserialize, Serialize};

use crate::cache::selection::key;
use crate::cache::storage::entry::Entry;

/// Which entries to purge. A host is written as in requests, with the port unless it is the default; None means any
/// host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Purge {
    /// Everything.
    All,
    /// Entries for this path and query, of all users and in all variants.
    Target(PurgeAddress),
    /// Entries for paths with this prefix.
    Prefix(PurgeAddress),
    /// Entries from this service.
    Service(String),
    /// Entries with this tag.
    Tag(String),
}

/// Host and path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeAddress {
    host: Option<String>,
    path: String,
}

impl Purge {
    /// Brings paths into the canonical form that keys have. Fails for a path that no request can ask for.
    pub fn canonicalize(mut self) -> Result<Self, &'static str> {
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

    /// Returns how many bytes its texts take.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Target(place) | Self::Prefix(place) => place.path.len() + place.host.as_ref().map_or(0, String::len),
            Self::Service(name) | Self::Tag(name) => name.len(),
        }
    }

    /// Returns true if this purge covers the entry.
    pub(crate) fn matches(&self, key: &[u8], entry: &Entry) -> bool {
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
