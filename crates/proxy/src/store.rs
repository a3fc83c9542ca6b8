//! The store that the nodes of a cluster share: a Valkey or Redis server, alone, behind Sentinels, or as a Cluster.
//!
//! Any thread may call a [`Store`]. A thread of its own drives the connections: see [`Store::drive`]. No call waits
//! longer than the time-out, and while a server is not connected, calls to it fail at once.

mod call;
mod client;
mod driver;
mod figures;
#[cfg(test)]
pub(crate) mod fixture;
mod keeper;
mod link;
mod links;
mod node;
mod nodes;
mod servers;
mod shared;
mod slots;
mod socket;
mod stream;

pub use self::call::StoreValue;
pub(crate) use self::call::{Script, ScriptArg, ScriptCall, StoreError, StoreResult};
pub(crate) use self::call::{ledger, places, registry};
pub(crate) use self::client::Store;
pub(crate) use self::slots::Reach;
