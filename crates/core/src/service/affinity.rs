//! Affinity of clients to instances: the hash for the balancer, and the sticky cookie.

use std::io::Write;
use std::net::IpAddr;

use super::hashing::hash;
use super::sticky;
use crate::exchange::Exchange;
use crate::plan::{self, HashOn, LoadBalancer};

/// What a service reads from a request for affinity. Empty for most services.
#[derive(Debug)]
pub(super) struct Affinity {
    key: Option<HashSource>,
    cookie: Option<Cookie>,
}

#[derive(Debug)]
enum HashSource {
    Address,
    Field(Box<str>),
    Cookie(Box<[u8]>),
    User,
}

#[derive(Debug)]
struct Cookie {
    name: Box<[u8]>,
    max_age: Option<u64>,
}

/// The affinity of a request, for [`super::PickInput`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AffinityKey {
    /// Hash of the balancer's key, if the request has it.
    pub hash: Option<u64>,
    /// The id in its sticky cookie.
    pub sticky: Option<u64>,
}

impl Affinity {
    pub(super) fn build(plan: &plan::ServicePlan) -> Self {
        let key = match &plan.load_balancer {
            LoadBalancer::IpHash => Some(HashSource::Address),
            LoadBalancer::ConsistentHash { on: HashOn::Header(name) } => Some(HashSource::Field(name.as_str().into())),
            LoadBalancer::ConsistentHash { on: HashOn::Cookie(name) } => {
                Some(HashSource::Cookie(name.as_bytes().into()))
            }
            LoadBalancer::ConsistentHash { on: HashOn::User } => Some(HashSource::User),
            _ => None,
        };
        let cookie = plan.sticky.as_ref().map(|sticky| Cookie {
            name: sticky.cookie.as_bytes().into(),
            max_age: sticky.ttl.map(|ttl| ttl.0.as_secs().max(1)),
        });
        Self { key, cookie }
    }

    /// Reads the affinity of the request in `exchange`.
    #[inline]
    pub(super) fn affinity_key(&self, exchange: &Exchange) -> AffinityKey {
        let Self { key, cookie: set } = self;
        AffinityKey {
            hash: key.as_ref().and_then(|key| key.hash(exchange)),
            sticky: set.as_ref().and_then(|set| sticky::parse(cookie(exchange, &set.name)?)),
        }
    }

    /// Appends the value of Set-Cookie for the instance with `id`.
    pub(super) fn write_cookie(&self, id: u64, secure: bool, out: &mut Vec<u8>) {
        let Some(set) = &self.cookie else { return };
        out.extend_from_slice(&set.name);
        out.push(b'=');
        out.extend_from_slice(&sticky::format(id));
        out.extend_from_slice(b"; Path=/; HttpOnly; SameSite=Lax");
        if secure {
            out.extend_from_slice(b"; Secure");
        }
        if let Some(seconds) = set.max_age {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "; Max-Age={seconds}");
        }
    }
}

impl HashSource {
    fn hash(&self, exchange: &Exchange) -> Option<u64> {
        match self {
            Self::Address => Some(match exchange.request.origin.client.to_canonical() {
                IpAddr::V4(address) => hash(&address.octets()),
                IpAddr::V6(address) => hash(&address.octets()),
            }),
            Self::Field(name) => exchange.request.values(name).next().map(hash),
            Self::Cookie(name) => cookie(exchange, name).map(hash),
            Self::User => exchange.request.user.as_ref().map(|user| hash(user.id.as_bytes())),
        }
    }
}

/// Returns the value of the first cookie called `name`, without quotes (RFC 6265 section 5.4; HTTP/2 may send several
/// lines).
fn cookie<'e>(exchange: &'e Exchange, name: &[u8]) -> Option<&'e [u8]> {
    let pairs = exchange.request.values("cookie").flat_map(|line| line.split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name)?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

#[cfg(test)]
mod tests;
