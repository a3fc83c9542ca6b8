//! Affinity of clients to instances: the hash for the balancer, and the sticky cookie.

use std::net::IpAddr;

use super::balance::{BalancerRole, BalancerRow};
use super::hashing::hash;
use super::sticky::StickyCookie;
use crate::exchange::Exchange;
use crate::plan::{self, HashOn};
use crate::request::cookie;

/// What a service reads from a request for affinity. Empty for most services.
#[derive(Debug)]
pub(super) struct Affinity {
    key: Option<HashSource>,
    cookie: Option<StickyCookie>,
}

#[derive(Debug)]
enum HashSource {
    Address,
    Field(Box<str>),
    Cookie(Box<[u8]>),
    User,
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
    /// `balancer` is that of the service.
    pub(super) fn build(plan: &plan::ServicePlan, balancer: &BalancerRow) -> Self {
        let key = match &plan.load_balancer.on {
            None if balancer.has(BalancerRole::Address) => Some(HashSource::Address),
            None => None,
            Some(HashOn::Header(name)) => Some(HashSource::Field(name.as_str().into())),
            Some(HashOn::Cookie(name)) => Some(HashSource::Cookie(name.as_bytes().into())),
            Some(HashOn::User) => Some(HashSource::User),
        };
        Self { key, cookie: plan.sticky.as_ref().map(StickyCookie::from_plan) }
    }

    /// Reads the affinity of the request in `exchange`.
    #[inline]
    pub(super) fn affinity_key(&self, exchange: &Exchange) -> AffinityKey {
        let Self { key, cookie: set } = self;
        AffinityKey {
            hash: key.as_ref().and_then(|key| key.hash(exchange)),
            sticky: set.as_ref().and_then(|set| set.read(exchange)),
        }
    }

    /// Appends the value of Set-Cookie for the instance with `id`.
    pub(super) fn write_cookie(&self, id: u64, secure: bool, out: &mut Vec<u8>) {
        if let Some(set) = &self.cookie {
            set.write(id, secure, out);
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
            Self::Cookie(name) => cookie::first(exchange, name).map(hash),
            Self::User => exchange.request.user.as_ref().map(|user| hash(user.id.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests;
