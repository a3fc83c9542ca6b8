//! What a shared limit says about its counting, and what its figures mean for a node.

use crate::limit::charge::{Limit, LimitMode};
use crate::limit::shape::{LimitAlgorithm, LimitShape};

/// What a node does about a shared limit while the store does not answer.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreError {
    /// It admits its share: the limit divided by the number of nodes, beginning with what was left.
    #[default]
    Share,
    /// It admits everything.
    Allow,
    /// It refuses everything.
    Deny,
}

/// Which calls are collected.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Those that cannot wait for the next flush.
    Urgent,
    /// All that have something to tell the store: a flush.
    All,
}

/// How a limit is counted. [`Limit`] carries it as its id, of which the shared store has no other use.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) mode: LimitMode,
    pub(super) on_store_error: OnStoreError,
}

impl Terms {
    pub(super) fn id(self) -> u32 {
        let error = match self.on_store_error {
            OnStoreError::Share => 0,
            OnStoreError::Allow => 2,
            OnStoreError::Deny => 4,
        };
        error + u32::from(self.mode == LimitMode::Exact)
    }

    pub(super) fn of(limit: &Limit) -> Self {
        let mode = if limit.id & 1 == 0 { LimitMode::Fast } else { LimitMode::Exact };
        let on_store_error = match limit.id & 6 {
            2 => OnStoreError::Allow,
            4 => OnStoreError::Deny,
            _ => OnStoreError::Share,
        };
        Self { mode, on_store_error }
    }
}

impl LimitShape {
    /// How near the limit a view is not trusted any more: a tenth of the capacity, at least a token for each node, but
    /// never more than half.
    pub(super) fn margin(&self, nodes: u32) -> u32 {
        (self.capacity / 10).max(nodes).min(self.capacity / 2)
    }

    /// What a node may admit before the store has acknowledged it. All nodes together stay within the margin, or within
    /// a token for each node.
    pub(super) fn most_debits(&self, nodes: u32) -> u32 {
        (self.margin(nodes) / nodes).max(1)
    }

    /// Returns the share of one node. A bucket's rate is divided exactly; a window, and the capacity, have at least one
    /// token.
    pub(super) fn share_of(&self, nodes: u32) -> Self {
        Self {
            limit: (self.limit / nodes).max(1),
            capacity: (self.capacity / nodes).max(1),
            every: self.every.saturating_mul(nodes.into()),
            ..*self
        }
    }

    /// Returns the nanoseconds in which a bucket gets `tokens`, rounded up.
    pub(super) fn time_for(&self, tokens: u32) -> u64 {
        if tokens == 0 {
            return 0;
        }
        let (tokens, refill) = (u64::from(tokens), u64::from(self.refill));
        tokens.checked_mul(self.every).map_or_else(
            || {
                let nanos = (u128::from(tokens) * u128::from(self.every)).div_ceil(u128::from(refill));
                u64::try_from(nanos).unwrap_or(u64::MAX)
            },
            |scaled| scaled.div_ceil(refill),
        )
    }

    /// Returns the tokens that a bucket gets in `nanos`, rounded up.
    pub(super) fn tokens_in(&self, nanos: u64) -> u32 {
        if nanos == 0 {
            return 0;
        }
        let tokens = nanos.checked_mul(self.refill.into()).map_or_else(
            || (u128::from(nanos) * u128::from(self.refill)).div_ceil(self.every.into()),
            |scaled| u128::from(scaled.div_ceil(self.every)),
        );
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    pub(super) fn is_bucket(&self) -> bool {
        self.algorithm == LimitAlgorithm::TokenBucket
    }
}
