//! How short a resource is, and what is done about it.

/// What is done while a resource is short. Each level does what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OverloadLevel {
    /// Nothing.
    #[default]
    Normal,
    /// Idle connections are closed.
    Shedding,
    /// New requests are refused.
    Refusing,
    /// No connections are accepted.
    Paused,
}

/// Use at which each level begins, in percent.
const BEGINS: [(OverloadLevel, u64); 3] =
    [(OverloadLevel::Shedding, SHED), (OverloadLevel::Refusing, 90), (OverloadLevel::Paused, 95)];
/// Use at which idle connections begin to be closed, in percent.
pub(super) const SHED: u64 = 85;
/// How far use must fall below the beginning of a level to end it, in percent, so that levels do not flap.
const HYSTERESIS: u64 = 5;

impl OverloadLevel {
    pub(super) const ALL: [Self; 4] = [Self::Normal, Self::Shedding, Self::Refusing, Self::Paused];

    /// The level that follows this one when `used` of `limit` is in use.
    pub(super) fn next(self, used: u64, limit: u64) -> Self {
        let reached = |percent: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
        let holds = |(level, begins): &(Self, u64)| reached(begins - if self >= *level { HYSTERESIS } else { 0 });
        BEGINS.iter().rev().find(|one| limit > 0 && holds(one)).map_or(Self::Normal, |(level, _)| *level)
    }

    /// Its name, for operators.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shedding => "shedding",
            Self::Refusing => "refusing",
            Self::Paused => "paused",
        }
    }

    /// What is done, for the log.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Normal => "connections and requests are taken as usual",
            Self::Shedding => "idle connections are closed",
            Self::Refusing => "idle connections are closed and new requests refused",
            Self::Paused => "idle connections are closed, new requests refused and no connections accepted",
        }
    }
}

/// How many of `used` must go so that no level is left.
pub(super) fn excess(used: u64, limit: u64) -> u64 {
    let target = u128::from(limit) * u128::from(SHED - HYSTERESIS) / 100;
    used.saturating_sub(u64::try_from(target).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn levels_begin_at_their_share_and_end_five_points_below() {
        let mut level = OverloadLevel::Normal;
        let mut seen = Vec::new();
        for used in (0..=100).chain((0..100).rev()) {
            let next = level.next(used, 100);
            if next != level {
                seen.push((used, next));
            }
            level = next;
        }
        let (shedding, refusing, paused) = (OverloadLevel::Shedding, OverloadLevel::Refusing, OverloadLevel::Paused);
        assert_eq!(
            seen,
            [(85, shedding), (90, refusing), (95, paused), (89, refusing), (84, shedding), (79, OverloadLevel::Normal)]
        );
    }

    #[test]
    fn without_a_limit_nothing_is_short() {
        assert_eq!(OverloadLevel::Paused.next(u64::MAX, 0), OverloadLevel::Normal);
    }

    proptest! {
        #[test]
        fn a_steady_use_never_flaps(used in 0_u64..1000, limit in 0_u64..1000, from in 0_usize..4) {
            let first = OverloadLevel::ALL[from].next(used, limit);
            prop_assert_eq!(first.next(used, limit), first);
        }
    }
}
