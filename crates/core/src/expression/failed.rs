//! Expressions that could not be evaluated for an exchange, until they are counted and logged.

use crate::exchange::Exchange;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};

/// What an expression is for. What happens if it cannot be evaluated depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpressionPlace {
    /// `require`: the request is refused.
    Require,
    /// The key of a limit: all such requests share one key.
    Key,
    /// A member of a split: the condition is not met.
    Split,
    /// The filter of the access log: the line is written.
    AccessLog,
}

impl ExpressionPlace {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Require, Self::Key, Self::Split, Self::AccessLog];

    /// The place as a label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Key => "key",
            Self::Split => "split",
            Self::AccessLog => "access_log",
        }
    }
}

/// The failures of an exchange: the last one of each place, in the order of [`ExpressionPlace::ALL`].
#[derive(Debug, Default)]
pub struct FailedExpressions([Option<String>; ExpressionPlace::ALL.len()]);

impl FeatureMemory for FailedExpressions {
    fn reset(&mut self) {
        self.0 = Default::default();
    }
}

impl Feature for FailedExpressions {
    const POSITION: FeatureSlot = FeatureSlot::Expression;
}

impl Exchange {
    /// Remembers that an expression could not be evaluated. `told` says why.
    pub fn record_failure(&mut self, place: ExpressionPlace, told: String) {
        self.slots.get_or_default::<FailedExpressions>().0[place as usize] = Some(told);
    }

    /// Returns the expressions that could not be evaluated, with the reasons.
    #[inline]
    pub fn failures(&self) -> impl Iterator<Item = (ExpressionPlace, &str)> {
        let failed = self.slots.get::<FailedExpressions>();
        let told = failed.into_iter().flat_map(|failed| ExpressionPlace::ALL.into_iter().zip(&failed.0));
        told.filter_map(|(place, told)| Some((place, told.as_deref()?)))
    }
}
