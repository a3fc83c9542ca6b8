//! The response cache: a shared HTTP cache after RFC 9111, in memory, decided without a socket and without a clock.
//!
//! [`lookup`] is what happens when a request comes, [`answered`] and [`failed`] when the service has answered or has not,
//! [`changed`] when an unsafe method has succeeded, [`Fetch::take`] while the body passes. [`Cache`] is what all workers share.

mod age;
mod answer;
mod change;
mod condition;
pub mod control;
mod date;
mod entry;
mod flight;
mod key;
mod language;
mod lookup;
mod part;
mod purge;
mod range;
mod shared;
mod storable;
mod store;
mod vary;
mod visit;

pub use answer::{Settled, answered, failed};
pub use change::changed;
pub use entry::{Entry, Variants};
pub use flight::{Flight, Landing};
pub use lookup::lookup;
pub use purge::Purge;
pub use shared::{Cache, Usage};
pub use store::{CacheStore, MemoryStore};
pub use vary::is_key;
pub use visit::{Fetch, Join, Outcome, Rules, Stored, Visit};

#[cfg(test)]
mod tests;
