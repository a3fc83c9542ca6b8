//! Rate limits, quotas and concurrency: who may still come in, decided without a clock of its own.
//!
//! Every function takes the time as an argument. A clock that stands still or jumps back never admits more.

mod admitted;
mod carry;
mod charge;
pub mod concurrency;
mod decision;
pub mod fixed_window;
pub mod headers;
pub mod key;
mod limiter;
mod shape;
pub mod sliding_window;
pub mod store;
mod tag;
pub mod token_bucket;

pub use admitted::Admitted;
pub use charge::{Charge, CounterStore, Limit, Verdict};
pub use concurrency::{InFlight, Permit};
pub use decision::{Decision, Reading};
pub use fixed_window::FixedWindow;
pub use key::{Key, KeySource};
pub use limiter::Limiter;
pub use shape::{Algorithm, LONGEST, LimitError, Shape};
pub use sliding_window::SlidingWindow;
pub use store::MemoryStore;
pub use token_bucket::TokenBucket;
