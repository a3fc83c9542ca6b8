//! The limit of exchanges at once.

use pylae_core::limit::concurrency::ConcurrencyIdentity;
use pylae_core::limit::{LimitKey, headers};
use serde::{Deserialize, Serialize};

use super::scope::{Scope, identity};
use crate::Parts;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConcurrencyConfig {
    name: String,
    pub(super) limit: u32,
    pub(super) key: LimitKey,
    per_route: bool,
    scope: Option<Scope>,
    headers: bool,
}

pub(super) struct Concurrency {
    pub(super) name: Box<str>,
    pub(super) counted: ConcurrencyCounter,
    pub(super) limit: u32,
    pub(super) key: LimitKey,
    pub(super) reported: bool,
}

/// Who counts.
pub(super) enum ConcurrencyCounter {
    /// This node, by salt.
    Node(u64),
    Cluster(ConcurrencyIdentity),
}

impl Concurrency {
    /// Builds the limit, and adds it to the value of `RateLimit-Policy`.
    pub(super) fn build(config: ConcurrencyConfig, policy: &str, parts: &Parts<'_>, policies: &mut Vec<u8>) -> Self {
        let ConcurrencyConfig { name, limit, key, per_route, scope, headers: reported } = config;
        if reported {
            headers::write_concurrency_policy(policies, &name, limit);
        }
        let identity = identity(per_route, policy, &name, parts.route);
        let shared = parts.shared.shared_in_flight.as_ref().filter(|_| Scope::is_shared(scope));
        let counted = shared.map_or_else(
            || ConcurrencyCounter::Node(parts.shared.in_flight.salt(&identity)),
            |shared| ConcurrencyCounter::Cluster(shared.register(&identity)),
        );
        Self { name: name.into(), counted, limit, key, reported }
    }
}
