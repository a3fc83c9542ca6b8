//! Load balancing: how one of the usable instances is chosen. A file per kind; the table below registers them.

mod kind;
mod turns;
mod view;

use super::instance::InstanceSlot;
use crate::plan::Problem;
use crate::plan::{InstancePlan, LoadBalancer};
use kind::Balance;

pub(super) use view::InstanceView;
pub use view::Tried;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct BalancerRow {
    /// Name of the balancer, as written in the plan.
    pub name: &'static str,
    /// What it picks.
    pub summary: &'static str,
    /// What sets it apart from others.
    pub roles: &'static [BalancerRole],
    build: fn(&[InstanceSlot], &[u32]) -> AnyBalancer,
}

/// What sets a balancer apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancerRole {
    /// It ignores weights: all instances count alike.
    Unweighted,
    /// It needs latencies.
    Latency,
    /// Weights are turns in a table of bounded size: some are so far apart that rounding would change the shares.
    Turns,
    /// It goes by a hash of the client's address.
    Address,
    /// It goes by a hash of what the plan says under `on`.
    Key,
}

impl BalancerRole {
    /// The role as Python knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unweighted => "unweighted",
            Self::Latency => "latency",
            Self::Turns => "turns",
            Self::Address => "address",
            Self::Key => "key",
        }
    }
}

/// Declares the modules of the balancers, and [`AnyBalancer`] with one variant per row of the table. `mod` declares the
/// file of a balancer; `in` shares that of another.
macro_rules! balancer_table {
    ($($name:ident: $(mod $own:ident::$kind:ident)? $(in $file:ident::$shared:ident)?,
        $summary:literal, [$($role:ident),*];)+) => {
        $($(mod $own;)?)+

        /// All balancers.
        pub const BALANCERS: &[BalancerRow] = &[
            $(BalancerRow {
                name: stringify!($name),
                summary: $summary,
                roles: &[$(BalancerRole::$role),*],
                build: |slots, weights| AnyBalancer::$name(Balance::build(slots, weights)),
            }),+
        ];

        /// A balancer of any kind.
        #[derive(Debug)]
        #[allow(non_camel_case_types)] // the variant is the balancer's name, spelt as everywhere else
        enum AnyBalancer {
            $($name($($own::$kind)? $($file::$shared)?)),+
        }

        impl AnyBalancer {
            #[inline]
            fn select(&self, view: &InstanceView<'_>) -> Option<usize> {
                match self { $(Self::$name(balancer) => balancer.select(view)),+ }
            }
        }
    };
}

balancer_table! {
    round_robin: mod round_robin::RoundRobin, "in turn", [Unweighted];
    weighted_round_robin: in round_robin::RoundRobin, "in turn by weight, smoothly", [Turns];
    least_connections: mod least_connections::LeastConnections, "the fewest exchanges in flight for the weight", [];
    random: mod random::Random, "any, by weight", [Turns];
    ip_hash: in consistent_hash::ConsistentHash, "by client address", [Address];
    consistent_hash: mod consistent_hash::ConsistentHash, "by `on`, for which it ranks all instances", [Key];
    p2c: mod p2c::P2c, "the less loaded of two random ones", [Latency];
    maglev: mod maglev::Maglev, "by `on`, with one look into a table", [Key, Turns];
}

impl BalancerRow {
    /// Finds the balancer that the plan names, and checks that its settings fit. Paths of problems are relative to the
    /// service.
    pub(super) fn of(how: &LoadBalancer) -> Result<&'static Self, Problem> {
        let Some(row) = BALANCERS.iter().find(|row| row.name == how.kind) else {
            let names: Vec<_> = BALANCERS.iter().map(|row| row.name).collect();
            let text = format!("unknown balancer; known are {}", names.join(", "));
            return Err(Problem::at("load_balancer.kind", text));
        };
        if row.has(BalancerRole::Key) != how.on.is_some() {
            let text = if how.on.is_none() { "this balancer needs it" } else { "is not for this balancer" };
            return Err(Problem::at("load_balancer.on", text));
        }
        Ok(row)
    }

    /// Returns true if no instance gets another share of the picks because its weight is rounded.
    pub(super) fn keeps_shares(&self, instances: &[InstancePlan]) -> bool {
        let weights: Vec<u32> = instances.iter().map(|instance| instance.weight).collect();
        !self.has(BalancerRole::Turns) || turns::keeps_shares(&weights)
    }

    /// Returns true if the balancer has this role.
    pub fn has(&self, role: BalancerRole) -> bool {
        self.roles.contains(&role)
    }
}

/// The balancer of one service. It knows positions and weights; the state of the instances comes in with an
/// [`InstanceView`].
#[derive(Debug)]
pub(super) struct Balancer {
    kind: AnyBalancer,
    name: &'static str,
    uses_latency: bool,
}

impl Balancer {
    pub(super) fn build(row: &'static BalancerRow, slots: &[InstanceSlot]) -> Self {
        let weighted = !row.has(BalancerRole::Unweighted);
        let weights: Vec<u32> = slots.iter().map(|slot| if weighted { slot.weight } else { 1 }).collect();
        let kind = (row.build)(slots, &weights);
        Self { kind, name: row.name, uses_latency: row.has(BalancerRole::Latency) }
    }

    /// As written in the plan.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns true if the balancer needs latencies.
    pub(super) fn uses_latency(&self) -> bool {
        self.uses_latency
    }

    /// Returns the position of the instance to use.
    #[inline]
    pub(super) fn select(&self, view: &InstanceView<'_>) -> Option<usize> {
        if view.slots.is_empty() { None } else { self.kind.select(view) }
    }
}

#[cfg(test)]
mod tests;
