//! Rate limits, quotas and concurrency limits, decided without a clock.
//!
//! Every function takes the time as an argument. A clock that stands still or jumps back never admits more.

mod admitted;
mod charge;
pub mod concurrency;
mod decision;
pub mod fixed_window;
pub mod headers;
pub mod key;
pub mod ledger;
mod limiter;
mod shape;
pub mod shared;
pub mod sliding_window;
pub mod store;
mod tag;
pub mod token_bucket;

pub use admitted::{Admitted, AwaitedCharges, ReservedCosts};
pub use charge::{
    Charge, ChargeDecisions, ChargeOutcome, ChargeVerdict, CounterStore, Limit, LimitMode, PendingCharges,
};
pub use concurrency::{
    ConcurrencyIdentity, ConcurrencyPermit, InFlightTable, PendingPlace, PlaceCall, PlaceOutcome, PlaceVerdict, Places,
    PlacesAnswer, PlacesCall, SharedInFlight,
};
pub use decision::{Clocks, Decision, Reservation};
pub use fixed_window::FixedWindow;
pub use key::{KeySource, LimitKey};
pub use ledger::{GENERATION, LeaseReport, Ledger, LedgerAnswer, LedgerCall, LedgerShape, LedgerTake};
pub use limiter::Limiter;
pub use shape::{LONGEST, LimitAlgorithm, LimitError, LimitShape};
pub use shared::{OnStoreError, SharedCounterStore};
pub use sliding_window::SlidingWindow;
pub use store::MemoryCounterStore;
pub use token_bucket::TokenBucket;
