//! What the store does with one key of a limit that several nodes share, as a pure function of a state.
//!
//! `ledger.lua` does the same in the store, number for number. All times are the store's, in microseconds; all
//! quantities are tokens, the units of the limit.
//!
//! **What is exact.** Whatever the order of takes, leases, late reports, returns and lost nodes, takes and leases never
//! grant what one limiter with the same figures would refuse, if that limiter is charged when something is used. Only
//! whole numbers are stored, and a charge rounds nothing. A clock that is set back counts as one that stands still, or
//! as one that refuses longer. `debits` are charged whatever is left; the excess is repaid.

mod bucket;
mod carry;
mod charged;
mod leases;
mod log;
mod shape;
mod window;

use charged::Charged;
pub use leases::GENERATION;
use leases::{LeaseTable, Reported};
pub use shape::LedgerShape;

use super::shape::LimitAlgorithm;

/// Takes of the same cost in a row.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LedgerTake {
    /// Cost of each.
    pub cost: u32,
    /// How many.
    pub count: u32,
}

/// What a node reports of leases of one generation.
///
/// A report is sent once: a node that has no answer does not know whether it has arrived, and does not repeat it. It
/// does not report what is no longer valid either, since that is written off.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LeaseReport {
    /// The generation, as it was answered.
    pub generation: u64,
    /// Tokens.
    pub count: u32,
}

/// What a node asks of one key. The parts are applied in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerCall {
    /// The figures of the limit.
    pub shape: LedgerShape,
    /// Tokens of leases that have been used: they are charged now.
    pub used: Vec<LeaseReport>,
    /// Tokens of leases that will not be used.
    pub returned: Vec<LeaseReport>,
    /// Tokens given back that were charged before.
    pub credits: u64,
    /// How long ago the oldest of them was charged, in microseconds, or longer. A charge that no longer counts cannot
    /// be given back: the one of another window.
    pub credit_age: u64,
    /// Tokens that the node has admitted by its view, charged whatever is left.
    pub debits: u64,
    /// Costs to take, in this order, up to the first that does not fit.
    pub takes: Vec<LedgerTake>,
    /// True if what is taken is held like a lease until the node reports it: another limit of the same request may yet
    /// refuse.
    pub hold: bool,
    /// Tokens to lease. Nothing is leased when a take was refused.
    pub lease: u32,
    /// At most the `share`-th part of what is left is leased.
    pub share: u32,
}

impl LedgerCall {
    /// A call that asks for nothing; the answer says what is left.
    pub const fn new(shape: LedgerShape) -> Self {
        Self {
            shape,
            used: Vec::new(),
            returned: Vec::new(),
            credits: 0,
            credit_age: 0,
            debits: 0,
            takes: Vec::new(),
            hold: false,
            lease: 0,
            share: 1,
        }
    }
}

/// The answer to a call.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerAnswer {
    /// How many takes were granted.
    pub granted: u32,
    /// Tokens leased.
    pub leased: u32,
    /// Generation of what is leased, or held for takes.
    pub generation: u64,
    /// For how many microseconds it is valid, counted by the node from when it sent the call.
    pub valid_for: u64,
    /// Tokens left for everybody.
    pub left: u32,
    /// Microseconds until the first refused take fits if nothing else is charged and what is held is used; without a
    /// refused one, until one token is left. `u64::MAX` if it never fits.
    pub ready_after: u64,
    /// Microseconds until everything is left again. Until then a token bucket refills evenly, and the others stay as
    /// they are or become freer.
    pub full_after: u64,
    /// True if the store had something under this key that is no state of a ledger. The limit then counts as used up.
    pub replaced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LedgerState {
    /// The figures that it was counted with.
    shape: LedgerShape,
    charged: Charged,
    leases: Option<LeaseTable>,
}

/// The state of one key. The default has nothing used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(Option<LedgerState>);

impl Ledger {
    /// Returns a ledger with everything used: what the store makes of a state that it cannot read.
    pub fn used_up(now: u64, shape: &LedgerShape) -> Self {
        let mut state = LedgerState::new(now, shape);
        state.charge(shape.capacity.into(), now);
        Self(Some(state))
    }

    /// Applies a call.
    pub fn apply(&mut self, now: u64, call: &LedgerCall) -> LedgerAnswer {
        let state = self.0.get_or_insert_with(|| LedgerState::new(now, &call.shape));
        state.advance(now);
        if state.shape != call.shape {
            state.carry_over(now, &call.shape);
        }
        let answer = state.apply(now, call);
        if state.idle_at(now) <= now {
            self.0 = None;
        }
        answer
    }

    /// Returns in how many microseconds the state is of no use: nothing is charged any more, and no lease is out. It is
    /// zero for a ledger that has nothing to remember.
    pub fn expires_after(&self, now: u64) -> u64 {
        self.0.as_ref().map_or(0, |state| state.idle_at(now).saturating_sub(now))
    }
}

impl LedgerState {
    fn new(now: u64, shape: &LedgerShape) -> Self {
        Self { shape: *shape, charged: Charged::new(now, shape, 0, 1), leases: None }
    }

    /// Tokens that are held. With figures that were changed meanwhile, they may be more than can be owed.
    fn held(&self) -> u64 {
        self.leases.map_or(0, |leases| leases.total()).min(self.shape.most_debt())
    }

    /// Does what is due by the time.
    fn advance(&mut self, now: u64) {
        let held = self.held();
        if let Charged::Window(window) = &mut self.charged
            && window.advance(now, held, &self.shape)
            && let Some(leases) = &mut self.leases
        {
            leases.forget(now);
        }
        self.leases = self.leases.filter(|leases| !leases.is_over(now));
        if let Some(leases) = &mut self.leases {
            for (at, count) in leases.advance(now) {
                self.charged.charge(count, at, &self.shape);
            }
        }
        match &mut self.charged {
            Charged::Bucket(bucket) => bucket.advance(now, &self.shape),
            Charged::Log(log) => log.advance(now, &self.shape),
            Charged::Window(_) => {}
        }
    }

    fn carry_over(&mut self, now: u64, shape: &LedgerShape) {
        match &mut self.charged {
            Charged::Log(log) if shape.algorithm == LimitAlgorithm::SlidingWindow => {
                log.scale(self.shape.limit, shape.limit);
                log.advance(now, shape);
            }
            charged => {
                let (used, whole) = charged.share(now, &self.shape);
                *charged = Charged::new(now, shape, used, whole);
            }
        }
        self.shape = *shape;
    }

    fn apply(&mut self, now: u64, call: &LedgerCall) -> LedgerAnswer {
        for report in &call.used {
            self.report_used(now, *report);
        }
        for report in &call.returned {
            if let Some(leases) = &mut self.leases {
                leases.report(report.generation, report.count.into());
            }
        }
        self.charged.credit(call.credits, call.credit_age, now, &self.shape);
        self.charge(call.debits, now);
        let (granted, refused) = self.take(now, call);
        let leased = if refused.is_none() { u64::from(call.lease).min(self.left(now) / share(call)) } else { 0 };
        self.hold(leased, now);
        let left = self.left(now);
        LedgerAnswer {
            granted,
            leased: leased as u32,
            generation: self.leases.map_or(0, |leases| leases.name),
            valid_for: self.valid_for(now),
            left: left as u32,
            ready_after: self.ready_at(refused.unwrap_or(1), now).map_or(u64::MAX, |at| at.saturating_sub(now)),
            full_after: self.charged.full_at(self.held(), now, &self.shape).saturating_sub(now),
            replaced: false,
        }
    }

    fn report_used(&mut self, now: u64, report: LeaseReport) {
        let reported = self
            .leases
            .as_mut()
            .map_or(Reported::Unknown, |leases| leases.report(report.generation, report.count.into()));
        if reported != Reported::WrittenOff {
            self.charge(report.count.into(), now);
        }
    }

    /// Grants takes in their order; returns how many, and the cost of the first that does not fit.
    fn take(&mut self, now: u64, call: &LedgerCall) -> (u32, Option<u32>) {
        let (mut left, mut granted, mut refused, mut sum) = (self.left(now), 0_u32, None, 0);
        for take in &call.takes {
            let fits = left.checked_div(take.cost.into()).unwrap_or(u64::MAX).min(take.count.into()) as u32;
            let cost = u64::from(fits) * u64::from(take.cost);
            granted = granted.saturating_add(fits);
            sum += cost;
            left -= cost;
            if fits < take.count {
                refused = Some(take.cost);
                break;
            }
        }
        if call.hold {
            self.hold(sum, now);
        } else {
            self.charge(sum, now);
        }
        (granted, refused)
    }

    fn charge(&mut self, tokens: u64, now: u64) {
        self.charged.charge(tokens, now, &self.shape);
    }

    fn hold(&mut self, tokens: u64, now: u64) {
        if tokens > 0 {
            self.leases.get_or_insert_with(|| LeaseTable::new(now)).held += tokens;
        }
    }

    fn left(&self, now: u64) -> u64 {
        u64::from(self.shape.capacity).saturating_sub(self.charged.debt(now, &self.shape) + self.held())
    }

    /// Returns for how long what is leased now is valid.
    fn valid_for(&self, now: u64) -> u64 {
        let end = self.leases.map_or(now, |leases| leases.end());
        match &self.charged {
            Charged::Window(window) => end.min(window.until).min(now + self.shape.per) - now,
            _ => end - now,
        }
    }

    /// Returns when a cost fits if what is held is charged now; None for never.
    fn ready_at(&self, cost: u32, now: u64) -> Option<u64> {
        let shape = &self.shape;
        if cost > shape.capacity {
            return None;
        }
        let missing =
            (self.charged.debt(now, shape) + self.held() + u64::from(cost)).saturating_sub(shape.capacity.into());
        if missing == 0 {
            return Some(now);
        }
        Some(match &self.charged {
            Charged::Bucket(bucket) => {
                let more = self.held().cast_signed() + i64::from(cost) - i64::from(shape.capacity);
                bucket.full_at(more, shape).max(now)
            }
            Charged::Window(window) => window.ready_at(self.held(), cost.into(), shape),
            Charged::Log(log) => log.left_at(missing, now, shape),
        })
    }

    /// Returns when the state says nothing any more: all is charged that may be, and no longer counts.
    fn idle_at(&self, now: u64) -> u64 {
        let held = self.held();
        let written_off = self.leases.map_or(now, |leases| leases.end());
        let at = if held > 0 { written_off } else { now };
        let charged = match &self.charged {
            Charged::Bucket(bucket) => bucket.full_at(0, &self.shape).max(at) + self.shape.refill_time(held),
            charged => charged.full_at(held, at, &self.shape),
        };
        charged.max(written_off)
    }
}

fn share(call: &LedgerCall) -> u64 {
    call.share.max(1).into()
}

#[cfg(test)]
mod tests;
