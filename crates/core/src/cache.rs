//! The response cache: a shared HTTP cache after RFC 9111, in memory, decided without a socket and without a clock.
//!
//! [`lookup`] is what happens when a request comes, [`answered`] and [`failed`] when the service has answered or has not,
//! [`changed`] when an unsafe method has succeeded, [`Fetch::take`] while the body passes. [`Cache`] is what all workers share.

mod answer;
mod change;
mod condition;
mod fetch;
mod flight;
pub mod freshness;
mod lookup;
mod range;
mod rules;
mod selection;
mod serve;
mod storable;
mod storage;
mod visit;

pub use answer::{Settled, answered, failed};
pub use change::changed;
pub use fetch::Fetch;
pub use flight::{FetchOutcome, Flight};
pub use lookup::lookup;
pub use rules::CacheRules;
pub use selection::vary::is_key;
pub use storage::entry::{Entry, Variants};
pub use storage::purge::Purge;
pub use storage::shared::{Cache, Usage};
pub use storage::store::{CacheStore, MemoryCacheStore};
pub use visit::{CacheOutcome, CacheVisit, Join, StoredResponse};

#[cfg(test)]
mod tests;
