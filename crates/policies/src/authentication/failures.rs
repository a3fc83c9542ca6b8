//! Limits failed authentications per client address.

use std::net::IpAddr;
use std::time::Duration;

use pylae_core::limit::{
    Charge, ChargeOutcome, ChargeVerdict, Clocks, CounterStore, Decision, Limit, LimitAlgorithm, LimitError, LimitMode,
    LimitShape, Reservation,
};
use pylae_core::plan::Seconds;
use serde::Deserialize;

/// IPv6 prefixes that share a counter: length in bytes, multiple of the limit, and name of the counter. A client has at
/// least a /64. Many clients have a /56 or a /48 (RFC 6177), which contain 256 and 65,536 of them, but unrelated
/// clients may also share one. So larger networks may fail more often than one client, and much less often than all
/// their /64 networks together.
const NETWORKS: [(usize, u32, &str); 3] =
    [(8, 1, "authentication/failures"), (7, 4, "authentication/failures/56"), (6, 16, "authentication/failures/48")];

/// The maximum number of failures in a period.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FailureLimit {
    pub(super) limit: u32,
    pub(super) per: Seconds,
}

/// Limits of failures per client network, one for each entry of `NETWORKS`.
pub(super) struct Failures([Limit; NETWORKS.len()]);

impl Failures {
    /// Registers the limits in `counters`.
    pub(super) fn register(limit: FailureLimit, counters: &dyn CounterStore) -> Result<Self, LimitError> {
        let [client, small, large] = NETWORKS.map(|(_, times, identity)| {
            let shape =
                LimitShape::new(LimitAlgorithm::TokenBucket, limit.limit.saturating_mul(times), limit.per.0, None)?;
            counters.register(identity, shape, LimitMode::Fast)
        });
        Ok(Self([client?, small?, large?]))
    }

    /// Charges `cost` failures to all networks of `client`, or to none if any limit is used up. Returns how long the
    /// client must wait in that case.
    pub(super) fn charge(
        &self,
        client: IpAddr,
        cost: u32,
        counters: &dyn CounterStore,
        at: Clocks,
    ) -> Option<Duration> {
        let mut bytes = [0; 8];
        let (lengths, count) = match client.to_canonical() {
            IpAddr::V4(ip) => {
                bytes[..4].copy_from_slice(&ip.octets());
                ([4, 0, 0], 1)
            }
            IpAddr::V6(ip) => {
                bytes.copy_from_slice(&ip.octets()[..8]);
                (NETWORKS.map(|(length, ..)| length), NETWORKS.len())
            }
        };
        let check = |cost| {
            let network = |at: usize| Charge::new(&self.0[at], &bytes[..lengths[at]], cost);
            let mut charges = [network(0), network(1), network(2)];
            let charges = &mut charges[..count];
            let verdict = match counters.check_all(charges, at) {
                ChargeOutcome::Decided(verdict) => verdict,
                ChargeOutcome::Pending(_) => Self::charge_unasked(charges, counters, at),
            };
            match verdict {
                ChargeVerdict::Refused { by } => Err(charges[by].decision.retry_after),
                ChargeVerdict::Admitted => Ok(charges.iter().all(|charge| charge.decision.remaining > 0)),
            }
        };
        match check(cost) {
            Err(wait) => Some(wait),
            // Nothing is left: checking a cost of 1 tells how long to wait.
            Ok(false) if cost == 0 => check(1).err(),
            Ok(_) => None,
        }
    }

    /// Charges without waiting for the store: nobody waits for one because of a bad credential. A network of which this
    /// node knows that nothing is left refuses; the others learn of it with what the node tells the store next.
    fn charge_unasked(charges: &mut [Charge<'_>], counters: &dyn CounterStore, at: Clocks) -> ChargeVerdict {
        for charge in &mut *charges {
            let unknown =
                Decision { admitted: true, remaining: charge.limit().shape().capacity(), ..Decision::default() };
            charge.decision = counters.peek(charge.limit(), charge.key(), at).unwrap_or(unknown);
        }
        let used_up = (0..charges.len()).filter(|&index| charges[index].decision.remaining < charges[index].cost());
        if let Some(by) = used_up.max_by_key(|&index| charges[index].decision.retry_after) {
            return ChargeVerdict::Refused { by };
        }
        for charge in charges {
            counters.settle(charge.limit(), charge.key(), &Reservation::default(), charge.cost(), at);
        }
        ChargeVerdict::Admitted
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use pylae_core::Instant;
    use pylae_core::limit::MemoryCounterStore;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn failures(limit: u32, counters: &MemoryCounterStore) -> Failures {
        Failures::register(FailureLimit { limit, per: Seconds(Duration::from_secs(3600)) }, counters).unwrap()
    }

    fn at(second: u64) -> Clocks {
        Clocks { now: Instant::from_nanos(second * SECOND), wall: Duration::from_secs(second) }
    }

    #[test]
    fn asking_takes_nothing_and_says_how_long() {
        let counters = MemoryCounterStore::new(100);
        let failures = failures(2, &counters);
        let client = "2001:db8::1".parse().unwrap();
        for _ in 0..5 {
            assert_eq!(failures.charge(client, 0, &counters, at(0)), None);
        }
        assert_eq!(failures.charge(client, 1, &counters, at(0)), None);
        assert_eq!(failures.charge(client, 1, &counters, at(0)), None);
        for cost in [0, 1, 0] {
            assert_eq!(failures.charge(client, cost, &counters, at(0)), Some(Duration::from_secs(1800)));
        }
        assert_eq!(failures.charge(client, 0, &counters, at(1800)), None);
    }

    #[test]
    fn memory_is_that_of_a_site_not_of_its_networks() {
        let counters = MemoryCounterStore::new(100_000);
        let failures = failures(30, &counters);
        for network in 0..20_000_u128 {
            let client = IpAddr::V6(((0x2001_0db8_0001 << 80) | (network << 64)).into());
            let _ = failures.charge(client, 1, &counters, at(0));
        }
        assert!(counters.keys() <= 16 * 30 * 3, "{}", counters.keys());
    }

    #[test]
    fn figures_at_the_edge() {
        let counters = MemoryCounterStore::new(100);
        let client = "2001:db8::1".parse().unwrap();
        assert_eq!(failures(u32::MAX, &counters).charge(client, 1, &counters, at(0)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// At one point in time, a failure is admitted if and only if every network of the client has one left.
        #[test]
        fn every_network_must_admit(limit in 1_u32..4, clients in prop::collection::vec((0_u128..2, 0_u128..3, 0_u128..6, 0_u128..3), 1..400)) {
            let counters = MemoryCounterStore::new(100_000);
            let failures = failures(limit, &counters);
            let mut used: HashMap<(usize, Vec<u8>), u32> = HashMap::new();
            for (site, network, small, host) in clients {
                let ip = (0x2001_0db8_0000_u128 + site) << 80 | network << 72 | small << 64 | host;
                let client = std::net::Ipv6Addr::from(ip);
                let keys = NETWORKS.map(|(length, times, _)| ((length, client.octets()[..length].to_vec()), times));
                let has = keys.iter().all(|(key, times)| used.get(key).copied().unwrap_or_default() < limit * times);
                prop_assert_eq!(failures.charge(client.into(), 0, &counters, at(0)).is_none(), has);
                prop_assert_eq!(failures.charge(client.into(), 1, &counters, at(0)).is_none(), has);
                for (key, _) in keys.into_iter().filter(|_| has) {
                    *used.entry(key).or_default() += 1;
                }
            }
        }
    }
}
