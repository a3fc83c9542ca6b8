//! Limits that all nodes of a cluster count together: a charge may have to wait for the store.

use std::array;

use pylae_core::limit::{
    AwaitedCharges, Charge, ChargeOutcome, ChargeVerdict, Clocks, CounterStore, Decision, Reservation,
};
use pylae_core::{Exchange, Resume, Verdict};

use super::request::LimitKeys;
use super::{LimitRule, RateLimit, clocks};

impl RateLimit {
    /// Charges the cost to all limits, or to none, if the cluster counts some of them. Those that this node counts are
    /// charged first: what they refuse is no business of the store, and what they were charged comes back at once. A
    /// charge that waits for the store runs this policy again when the store has decided.
    pub(super) fn charge_shared<const N: usize>(&self, exchange: &mut Exchange) -> Verdict {
        let keys = LimitKeys::<N>::write(exchange, self.names(), |index| Some(&self.limits.get(index)?.key));
        let mut decisions = [Decision::default(); N];
        let awaited = exchange.admitted_mut().awaited.take();
        let verdict = match awaited {
            Some(awaited) => {
                self.place(false, awaited.own.iter().map(|(decision, _)| *decision), &mut decisions);
                self.place(true, awaited.shared.decisions, &mut decisions);
                self.conclude(exchange, &keys, &mut decisions, &awaited.own, awaited.shared.verdict)
            }
            None => match self.check(exchange, &keys, &mut decisions) {
                Ok(verdict) => verdict,
                Err(wait) => {
                    exchange.scratch = keys.bytes;
                    return wait;
                }
            },
        };
        self.finish(exchange, keys, verdict, &decisions[..self.limits.len()])
    }

    /// The limits that the cluster counts, or those that this node counts, with their positions.
    fn counted(&self, shared: bool) -> impl Iterator<Item = (usize, &LimitRule)> {
        self.limits.iter().enumerate().filter(move |(_, limit)| limit.shared == shared)
    }

    fn place<const N: usize>(
        &self,
        shared: bool,
        made: impl IntoIterator<Item = Decision>,
        decisions: &mut [Decision; N],
    ) {
        for ((index, _), decision) in self.counted(shared).zip(made) {
            decisions[index] = decision;
        }
    }

    /// Charges all limits, or returns a verdict that waits for the store.
    fn check<const N: usize>(
        &self,
        exchange: &mut Exchange,
        keys: &LimitKeys<N>,
        decisions: &mut [Decision; N],
    ) -> Result<ChargeVerdict, Verdict> {
        let asked = clocks(exchange);
        let (verdict, own) = self.check_own(keys, asked);
        self.place(false, own.iter().map(|(decision, _)| *decision), decisions);
        if let ChargeVerdict::Refused { by } = verdict {
            let known = |(index, limit): (usize, &LimitRule)| {
                let known = self.shared.cluster_counters().peek(&limit.limit, keys.of(index), asked);
                known.unwrap_or(Decision { remaining: limit.limit.shape().capacity(), ..Decision::default() })
            };
            self.place(true, self.counted(true).map(known), decisions);
            return Ok(ChargeVerdict::Refused { by });
        }
        let last = self.limits.len() - 1;
        let mut order = [last; N];
        let count = order.iter_mut().zip(self.counted(true)).map(|(place, (index, _))| *place = index).count();
        let mut charges: [Charge<'_>; N] = array::from_fn(|place| {
            let limit = &self.limits[order[place]];
            Charge::new(&limit.limit, keys.of(order[place]), limit.cost)
        });
        match self.shared.cluster_counters().check_all(&mut charges[..count], asked) {
            ChargeOutcome::Decided(verdict) => {
                self.place(true, charges[..count].iter().map(|charge| charge.decision), decisions);
                Ok(self.conclude(exchange, keys, decisions, &own, verdict))
            }
            ChargeOutcome::Pending(pending) => {
                Err(Verdict::Wait(Box::pin(async move {
                    let shared = pending.await;
                    Box::new(move |exchange: &mut Exchange| {
                        exchange.admitted_mut().awaited = Some(AwaitedCharges { own, shared });
                        // This policy runs again.
                        exchange.entered -= 1;
                        Verdict::Continue
                    }) as Resume
                })))
            }
        }
    }

    /// Charges the limits that this node counts. Returns the decisions, and what it takes to give it back.
    fn check_own<const N: usize>(
        &self,
        keys: &LimitKeys<N>,
        at: Clocks,
    ) -> (ChargeVerdict, Vec<(Decision, Reservation)>) {
        if self.counted(false).next().is_none() {
            return (ChargeVerdict::Admitted, Vec::new());
        }
        let mut own: Vec<_> =
            self.counted(false).map(|(index, limit)| Charge::new(&limit.limit, keys.of(index), limit.cost)).collect();
        let verdict = self.shared.counters.check_all(&mut own, at);
        let verdict = match verdict {
            ChargeVerdict::Refused { by } => ChargeVerdict::Refused { by: self.nth(false, by) },
            ChargeVerdict::Admitted => ChargeVerdict::Admitted,
        };
        (verdict, own.iter().map(|charge| (charge.decision, charge.reservation(at))).collect())
    }

    /// Keeps what the cluster has admitted, and gives back what this node has charged if that is a refusal.
    fn conclude<const N: usize>(
        &self,
        exchange: &mut Exchange,
        keys: &LimitKeys<N>,
        decisions: &mut [Decision; N],
        own: &[(Decision, Reservation)],
        shared: ChargeVerdict,
    ) -> ChargeVerdict {
        let ChargeVerdict::Refused { by } = shared else {
            self.keep(exchange, keys, decisions, own);
            return ChargeVerdict::Admitted;
        };
        for ((index, limit), (_, reservation)) in self.counted(false).zip(own) {
            self.shared.counters.settle(&limit.limit, keys.of(index), reservation, 0, clocks(exchange));
            decisions[index].remaining += limit.cost;
        }
        ChargeVerdict::Refused { by: self.nth(true, by) }
    }

    /// Settles by their estimates what this node has charged and keeps, and reserves the limits whose true cost comes
    /// later.
    fn keep<const N: usize>(
        &self,
        exchange: &mut Exchange,
        keys: &LimitKeys<N>,
        decisions: &[Decision; N],
        own: &[(Decision, Reservation)],
    ) {
        let at = clocks(exchange);
        let is_settled = |index| self.settled.iter().any(|settled| settled.limit == index);
        for ((index, limit), (_, reservation)) in self.counted(false).zip(own).filter(|((at, _), _)| !is_settled(*at)) {
            self.shared.counters.settle(&limit.limit, keys.of(index), reservation, limit.cost, at);
        }
        if self.settled.is_empty() {
            return;
        }
        self.reserve(exchange, |index| {
            let (limit, key) = (&self.limits[index], keys.of(index));
            let known = self.counted(false).zip(own).find(|((at, _), _)| *at == index);
            let from_cluster = || {
                let mut charge = Charge::new(&limit.limit, key, limit.cost);
                charge.decision = decisions[index];
                charge.reservation(at)
            };
            let reservation = known.map_or_else(from_cluster, |(_, (_, reservation))| *reservation);
            (key, reservation)
        });
    }

    /// The position of the `by`-th limit that the cluster, or this node, counts.
    fn nth(&self, shared: bool, by: usize) -> usize {
        self.counted(shared).nth(by).map_or(0, |(index, _)| index)
    }

    /// Counts this limit.
    pub(super) fn counters_of(&self, limit: &LimitRule) -> &dyn CounterStore {
        if limit.shared { self.shared.cluster_counters() } else { &self.shared.counters }
    }
}
