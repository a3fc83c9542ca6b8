//! Which exchanges are sampled: by the client's decision, by ratio, by route; and which are sent all the same once they
//! are over.

use std::time::Duration;

use super::context::{RANDOM_PART, TraceContext};
use crate::plan::{ParentDecision, TracesPlan};

/// A share of all exchanges, in steps of 2⁻⁵⁶.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio {
    /// Draws below this are out.
    threshold: u64,
}

/// How it is decided whether an exchange is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Whether the decision of a client that sends a context holds.
    pub follows_parent: bool,
    /// The share of all others on routes without a ratio of their own.
    pub ratio: Ratio,
    /// The highest ratio of any route, that above included.
    pub highest: Ratio,
    /// What is sent although it was not sampled.
    pub tail: TailRule,
}

/// What is sent although it was not sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailRule {
    /// Exchanges that failed: a status of 500 or above, or no complete answer.
    pub errors: bool,
    /// Exchanges that took longer than this.
    pub slower_than: Option<Duration>,
}

impl Ratio {
    /// None at all.
    pub const NONE: Self = Self { threshold: RANDOM_PART + 1 };

    /// A share from 0 to 1.
    #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "exact, and never negative")]
    pub fn new(share: f64) -> Self {
        let admitted = share.clamp(0.0, 1.0) * (RANDOM_PART + 1) as f64;
        Self { threshold: RANDOM_PART + 1 - admitted as u64 }
    }

    /// Whether a draw of 56 bits is within the share. Every gateway, and every SDK that samples consistently, decides
    /// the same of a trace id that is random.
    #[inline]
    pub const fn admits(self, draw: u64) -> bool {
        draw >= self.threshold
    }

    /// The larger one of two.
    #[must_use]
    pub fn or_higher(self, other: Self) -> Self {
        self.min(other)
    }
}

impl Sampling {
    /// What the plan says.
    pub fn of(plan: &TracesPlan) -> Self {
        let ratio = Ratio::new(plan.ratio);
        let tail = plan
            .keep
            .as_ref()
            .map(|keep| TailRule { errors: keep.errors, slower_than: keep.slower_than.map(|limit| limit.0) });
        Self {
            follows_parent: plan.parent == ParentDecision::Follow,
            ratio,
            highest: plan.routes.values().fold(ratio, |highest, share| highest.or_higher(Ratio::new(*share))),
            tail: tail.unwrap_or_default(),
        }
    }

    /// Whether an exchange may turn out to be sent, before its route is known.
    #[inline]
    pub fn may_send(&self, context: &TraceContext) -> bool {
        self.tail.is_on() || self.samples(context, self.highest)
    }

    /// Whether an exchange is sampled, on a route with this ratio.
    #[inline]
    pub fn samples(&self, context: &TraceContext, ratio: Ratio) -> bool {
        if self.follows_parent && context.parent_id != 0 {
            context.flags.is_sampled()
        } else {
            ratio.admits(context.draw)
        }
    }
}

impl TailRule {
    /// Whether there is anything to it.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.errors || self.slower_than.is_some()
    }

    /// Whether an exchange is sent that was not sampled.
    pub fn keeps(&self, failed: bool, duration: Duration) -> bool {
        self.errors && failed || self.slower_than.is_some_and(|limit| duration > limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::context::TraceFlags;
    use super::*;

    fn context(parent_id: u64, sampled: bool, draw: u64) -> TraceContext {
        let flags = TraceFlags::default().sampled(sampled);
        TraceContext { trace_id: 1, parent_id, flags, draw, ..TraceContext::default() }
    }

    fn sampling(follows_parent: bool, ratio: f64) -> Sampling {
        let ratio = Ratio::new(ratio);
        Sampling { follows_parent, ratio, highest: ratio, tail: TailRule::default() }
    }

    #[test]
    fn none_and_all_are_exact() {
        for draw in [0, 1, RANDOM_PART / 2, RANDOM_PART] {
            assert!(!Ratio::new(0.0).admits(draw) && !Ratio::NONE.admits(draw));
            assert!(Ratio::new(1.0).admits(draw) && Ratio::new(7.0).admits(draw));
        }
        assert!(!Ratio::new(f64::NAN).admits(RANDOM_PART));
    }

    #[test]
    fn the_parent_decides_if_it_is_followed_and_the_ratio_otherwise() {
        for (parent, sampled, follows, ratio, decision) in [
            (1, true, true, 0.0, true),
            (1, false, true, 1.0, false),
            (1, true, false, 0.0, false),
            (1, false, false, 1.0, true),
            (0, false, true, 1.0, true),
            (0, true, true, 0.0, false),
        ] {
            let sampling = sampling(follows, ratio);
            let context = context(parent, sampled, RANDOM_PART / 3);
            assert_eq!(sampling.samples(&context, sampling.ratio), decision, "{context:?} {sampling:?}");
        }
    }

    #[test]
    fn what_a_route_may_sample_is_recorded_from_the_start() {
        let (low, high) = (Ratio::new(0.1), Ratio::new(0.5));
        assert_eq!(low.or_higher(high), high);
        let sampling = Sampling { highest: high, ..sampling(true, 0.1) };
        let between = context(0, false, (RANDOM_PART / 10) * 7);
        assert!(sampling.may_send(&between) && !sampling.samples(&between, low) && sampling.samples(&between, high));
        assert!(!sampling.may_send(&context(0, false, RANDOM_PART / 10)));
    }

    #[test]
    fn a_tail_rule_keeps_what_failed_and_what_was_slow() {
        let (fast, slow) = (Duration::from_millis(999), Duration::from_millis(1001));
        let rule = TailRule { errors: true, slower_than: Some(Duration::from_secs(1)) };
        assert!(rule.is_on() && rule.keeps(true, fast) && rule.keeps(false, slow) && !rule.keeps(false, fast));
        let none = TailRule::default();
        assert!(!none.is_on() && !none.keeps(true, slow));
        let sampling = Sampling { tail: rule, ..sampling(true, 0.0) };
        assert!(sampling.may_send(&context(1, false, 0)));
    }

    proptest! {
        #[test]
        fn a_higher_ratio_admits_all_that_a_lower_one_does(a in 0.0..=1.0, b in 0.0..=1.0, draw in 0..=RANDOM_PART) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(!Ratio::new(low).admits(draw) || Ratio::new(high).admits(draw));
        }

        #[test]
        fn a_ratio_admits_its_share(share in 0.0..=1.0) {
            let draws = (0..1000_u64).map(|number| number * (RANDOM_PART / 1000));
            let admitted = draws.filter(|draw| Ratio::new(share).admits(*draw)).count();
            prop_assert!((f64::from(u32::try_from(admitted).unwrap()) / 1000.0 - share).abs() < 0.002, "{} of {}", admitted, share);
        }
    }
}
