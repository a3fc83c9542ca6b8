//! Rate limits, quotas and concurrency: who may still come in, decided without a clock of its own.
//!
//! Every function takes the time as an argument. A clock that stands still or jumps back never admits more.

mod carry;
mod charge;
pub mod concurrency;
mod decision;
pub mod fixed_window;
pub mod headers;
pub mod key;
mod shape;
pub mod sliding_window;
pub mod store;
mod tag;
pub mod token_bucket;

pub use charge::{Charge, CounterStore, Limit, Verdict};
pub use concurrency::{InFlight, Permit};
pub use decision::{Decision, Reading};
pub use fixed_window::FixedWindow;
pub use key::{Key, KeySource};
pub use shape::{Algorithm, LONGEST, LimitError, Shape};
pub use sliding_window::SlidingWindow;
pub use store::MemoryStore;
pub use token_bucket::TokenBucket;

/// Policies that limit rates.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// Before authentication.
    Address,
    /// Behind it.
    Rate,
}

impl Limiter {
    /// All of them, by position.
    pub const ALL: [Self; 2] = [Self::Address, Self::Rate];

    /// Name of the policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address_limit",
            Self::Rate => "rate_limit",
        }
    }
}
