//! Restricts the route to client addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use pylae_core::{Exchange, Problem, Rejection, Verdict};
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Allowed networks; empty allows all.
    allow: Vec<IpNet>,
    /// Denied networks. They take precedence over `allow`.
    deny: Vec<IpNet>,
}

/// The address policy.
#[derive(Debug)]
pub struct IpAccess {
    /// None allows all.
    allow: Option<Ranges>,
    deny: Ranges,
}

/// Networks as disjoint ranges of addresses in ascending order, for binary search.
#[derive(Debug)]
struct Ranges(Box<[(IpAddr, IpAddr)]>);

impl Policy for IpAccess {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        if config.allow.is_empty() && config.deny.is_empty() {
            return Err(vec![Problem::at("", "needs `allow` or `deny`")]);
        }
        let allow = (!config.allow.is_empty()).then(|| Ranges::new(&config.allow));
        Ok(Self { allow, deny: Ranges::new(&config.deny) })
    }

    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        if self.allows(exchange.request.origin.client) {
            return Verdict::Continue;
        }
        Verdict::Reject(Box::new(Rejection {
            status: 403,
            code: "address_refused",
            message: "this address may not use this path".into(),
            headers: Vec::new(),
        }))
    }

    fn preview(&self, exchange: &Exchange) -> String {
        let client = exchange.request.origin.client;
        if self.allows(client) { format!("lets {client} pass") } else { format!("refuses {client} with 403") }
    }
}

impl IpAccess {
    fn allows(&self, client: IpAddr) -> bool {
        !self.deny.contains(client) && self.allow.as_ref().is_none_or(|allow| allow.contains(client))
    }
}

/// Returns true if `one` allows an address that `other` refuses. None allows all addresses.
pub(crate) fn is_broader(one: Option<&IpAccess>, other: Option<&IpAccess>) -> bool {
    let Some(other) = other else { return false };
    let lists = one.into_iter().chain([other]).flat_map(|access| access.allow.iter().chain([&access.deny]));
    // The decision changes only at the start of a range and after its end.
    let edges = lists.flat_map(|ranges| &ranges.0).flat_map(|(first, last)| [Some(*first), next_address(*last)]);
    let lowest = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let mut edges = edges.flatten().chain(lowest);
    edges.any(|address| one.is_none_or(|one| one.allows(address)) && !other.allows(address))
}

/// Returns the following address, or None after the last one.
fn next_address(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => IpAddr::V4(u32::from(address).checked_add(1)?.into()),
        IpAddr::V6(address) => IpAddr::V6(u128::from(address).checked_add(1)?.into()),
    })
}

impl Ranges {
    fn new(networks: &[IpNet]) -> Self {
        let mut ranges = Vec::with_capacity(networks.len());
        // Networks overlap only if one contains the other, so aggregated networks are disjoint.
        ranges.extend(IpNet::aggregate(&networks.to_vec()).iter().map(|net| (net.network(), net.broadcast())));
        ranges.sort_unstable();
        Self(ranges.into())
    }

    fn contains(&self, address: IpAddr) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        // Addresses of different families are ordered by family, so a range of the other one never reaches this far.
        after.checked_sub(1).is_some_and(|at| address <= self.0[at].1 && address.is_ipv4() == self.0[at].1.is_ipv4())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn lookups_agree_with_the_networks() {
        let networks = nets(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "2001:db8::/32", "0.0.0.0/32", "::/128"]);
        let ranges = Ranges::new(&networks);
        for text in [
            "10.0.0.0",
            "10.255.255.255",
            "11.0.0.0",
            "9.255.255.255",
            "192.0.2.6",
            "192.0.2.7",
            "192.0.2.8",
            "255.255.255.255",
            "0.0.0.0",
            "0.0.0.1",
            "::",
            "::1",
            "2001:db7:ffff::",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(ranges.contains(address), networks.iter().any(|net| net.contains(&address)), "{text}");
        }
    }
}
