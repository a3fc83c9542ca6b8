//! The response cache: a shared in-memory HTTP cache after RFC 9111. It decides without sockets and without a clock.
//!
//! [`lookup()`] runs when a request arrives, [`on_response`] and [`on_failure`] when the service has responded or
//! failed, [`invalidate_changed`] after an unsafe method has succeeded, and [`CacheVisit::copy_body`] while the body
//! passes. All workers share one [`Cache`].

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

pub use answer::{Settled, on_failure, on_response};
pub use change::invalidate_changed;
pub use fetch::{Fetch, forgo};
pub use flight::{FetchOutcome, Flight};
pub use lookup::lookup;
pub use rules::CacheRules;
pub use selection::vary::is_key;
pub use storage::entry::{Entry, Variants};
pub use storage::purge::Purge;
pub use storage::shared::{Cache, ChangeListener, Usage};
pub use storage::store::{CacheStore, MemoryCacheStore};
pub use visit::{CacheOutcome, CacheVisit, Join, StoredResponse};

#[cfg(test)]
mod tests;
