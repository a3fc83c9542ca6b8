//! Limits that all nodes of a cluster count together: a charge may have to wait for the store.

use pylae_core::limit::store::MAX_CHARGES;
use pylae_core::limit::{Charge, ChargeDecisions, ChargeOutcome, ChargeVerdict, Clocks, CounterStore, Decision};
use pylae_core::{Exchange, Resume, Verdict};

use super::{KeyRequest, LimitRule, RateLimit, clocks};

/// The keys of all limits of a policy for one request.
struct Keys {
    bytes: Vec<u8>,
    ends: [usize; MAX_CHARGES],
}

impl Keys {
    fn of(&self, index: usize) -> &[u8] {
        let start = if index > 0 { self.ends[index - 1] } else { 0 };
        &self.bytes[start..self.ends[index]]
    }
}

impl RateLimit {
    /// Charges the cost to all limits, or to none, if the cluster counts some of them. Those are charged first, because
    /// the node can take back a charge of its own at once. A charge that waits for the store runs this policy again
    /// when the store has decided.
    pub(super) fn charge_shared(&self, exchange: &mut Exchange) -> Verdict {
        let keys = self.write_keys(exchange);
        let (checked, asked) = match exchange.admitted_mut().awaited.take() {
            Some(awaited) => awaited,
            None => match self.check_shared(exchange, &keys) {
                Ok(checked) => (checked, clocks(exchange)),
                Err(wait) => {
                    exchange.scratch = keys.bytes;
                    return wait;
                }
            },
        };
        let (verdict, decisions) = self.check_own(exchange, &keys, &checked, asked);
        let mut bytes = keys.bytes;
        self.finish(exchange, &mut bytes, verdict, &decisions[..self.limits.len()])
    }

    fn write_keys(&self, exchange: &mut Exchange) -> Keys {
        let mut keys = Keys { bytes: std::mem::take(&mut exchange.scratch), ends: [0; MAX_CHARGES] };
        keys.bytes.clear();
        let request = KeyRequest { exchange, route: &self.route };
        for (limit, end) in self.limits.iter().zip(&mut keys.ends) {
            limit.key.write_key(&request, &mut keys.bytes);
            *end = keys.bytes.len();
        }
        keys
    }

    /// The limits that the cluster counts, or those that this node counts, with their positions.
    fn counted(&self, shared: bool) -> impl Iterator<Item = (usize, &LimitRule)> {
        self.limits.iter().enumerate().filter(move |(_, limit)| limit.shared == shared)
    }

    /// Charges the limits that the cluster counts, or returns a verdict that waits for that.
    fn check_shared(&self, exchange: &Exchange, keys: &Keys) -> Result<ChargeDecisions, Verdict> {
        let mut charges: Vec<_> =
            self.counted(true).map(|(index, limit)| Charge::new(&limit.limit, keys.of(index), limit.cost)).collect();
        match self.shared.cluster_counters().check_all(&mut charges, clocks(exchange)) {
            ChargeOutcome::Decided(verdict) => {
                Ok(ChargeDecisions { verdict, decisions: charges.iter().map(|charge| charge.decision).collect() })
            }
            ChargeOutcome::Pending(pending) => {
                let asked = clocks(exchange);
                Err(Verdict::Wait(Box::pin(async move {
                    let checked = pending.await;
                    Box::new(move |exchange: &mut Exchange| {
                        exchange.admitted_mut().awaited = Some((checked, asked));
                        // This policy runs again.
                        exchange.entered -= 1;
                        Verdict::Continue
                    }) as Resume
                })))
            }
        }
    }

    /// Charges the limits that this node counts, unless the cluster has refused. If one of them refuses, the cluster's
    /// get back what they were charged. Returns the verdict and the decisions on all limits.
    fn check_own(
        &self,
        exchange: &Exchange,
        keys: &Keys,
        checked: &ChargeDecisions,
        asked: Clocks,
    ) -> (ChargeVerdict, [Decision; MAX_CHARGES]) {
        let at = clocks(exchange);
        let refused = matches!(checked.verdict, ChargeVerdict::Refused { .. });
        let mut own: Vec<_> = self
            .counted(false)
            .map(|(index, limit)| Charge::new(&limit.limit, keys.of(index), if refused { 0 } else { limit.cost }))
            .collect();
        let verdict = self.shared.counters.check_all(&mut own, at);
        let mut decisions = [Decision::default(); MAX_CHARGES];
        for ((index, _), charge) in self.counted(false).zip(&own) {
            decisions[index] = charge.decision;
        }
        for ((index, _), decision) in self.counted(true).zip(&checked.decisions) {
            decisions[index] = *decision;
        }
        let nth = |shared, by| self.counted(shared).nth(by).map_or(0, |(index, _)| index);
        let verdict = match (checked.verdict, verdict) {
            (ChargeVerdict::Refused { by }, _) => ChargeVerdict::Refused { by: nth(true, by) },
            (ChargeVerdict::Admitted, ChargeVerdict::Refused { by }) => {
                for (index, limit) in self.counted(true) {
                    let mut charge = Charge::new(&limit.limit, keys.of(index), limit.cost);
                    charge.decision = decisions[index];
                    let reservation = charge.reservation(asked);
                    self.shared.cluster_counters().settle(&limit.limit, keys.of(index), &reservation, 0, at);
                    decisions[index].remaining += limit.cost;
                }
                ChargeVerdict::Refused { by: nth(false, by) }
            }
            (ChargeVerdict::Admitted, ChargeVerdict::Admitted) => ChargeVerdict::Admitted,
        };
        (verdict, decisions)
    }

    /// Counts this limit.
    pub(super) fn counters_of(&self, limit: &LimitRule) -> &dyn CounterStore {
        if limit.shared { self.shared.cluster_counters() } else { &self.shared.counters }
    }
}
