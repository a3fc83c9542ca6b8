//! What limits remember of an exchange.

use super::concurrency::ConcurrencyPermit;
use super::limiter::Limiter;
use crate::exchange::Exchange;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};

/// How the limits of a route took an exchange.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Whether each of [`Limiter::ALL`] admitted it; none where it was not asked.
    pub by: [Option<bool>; Limiter::ALL.len()],
    /// Places under limits of concurrency, held until the exchange is over.
    pub permits: Vec<ConcurrencyPermit>,
}

impl FeatureMemory for Admitted {
    fn reset(&mut self) {
        self.by = Default::default();
        self.permits.clear();
    }
}

impl Feature for Admitted {
    const POSITION: FeatureSlot = FeatureSlot::Limit;
}

impl Exchange {
    /// How limits took it, where there are some.
    #[inline]
    pub fn admitted(&self) -> Option<&Admitted> {
        self.slots.get()
    }

    /// The same, to be written.
    #[inline]
    pub fn admitted_mut(&mut self) -> &mut Admitted {
        self.slots.get_or_default()
    }
}
