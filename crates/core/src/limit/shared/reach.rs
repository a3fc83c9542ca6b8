//! Which keys the store answers for: some of its servers may be gone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::name::StoreKey;

/// Which keys the store answers for.
#[derive(Clone, Default)]
pub enum StoreReach {
    /// All.
    #[default]
    All,
    /// None.
    Nothing,
    /// Those for which this returns true.
    Some(Arc<dyn Fn(&StoreKey) -> bool + Send + Sync>),
}

/// What a node knows of that. As long as it is all, it costs one load.
#[derive(Debug)]
pub(in crate::limit) struct KnownReach {
    whole: AtomicBool,
    reach: RwLock<StoreReach>,
}

impl StoreReach {
    fn covers(&self, key: &StoreKey) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Some(covers) => covers(key),
        }
    }
}

impl From<bool> for StoreReach {
    fn from(available: bool) -> Self {
        if available { Self::All } else { Self::Nothing }
    }
}

impl fmt::Debug for StoreReach {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::All => "All",
            Self::Nothing => "Nothing",
            Self::Some(_) => "Some",
        })
    }
}

impl Default for KnownReach {
    fn default() -> Self {
        Self { whole: AtomicBool::new(true), reach: RwLock::default() }
    }
}

impl KnownReach {
    pub(in crate::limit) fn set(&self, reach: StoreReach) {
        let mut current = self.reach.write();
        self.whole.store(matches!(reach, StoreReach::All), Ordering::Release);
        *current = reach;
    }

    /// Returns true if the store answers for all keys.
    pub(in crate::limit) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Returns true if the store answers for no key.
    pub(in crate::limit) fn is_empty(&self) -> bool {
        !self.is_whole() && matches!(*self.reach.read(), StoreReach::Nothing)
    }

    pub(in crate::limit) fn covers(&self, key: &StoreKey) -> bool {
        self.is_whole() || self.reach.read().covers(key)
    }
}
