//! The policies. Each has a file of its own; `table.rs` registers them and sets their order.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod address_limit;
mod admission;
pub mod authentication;
pub mod authorization;
pub mod cache;
mod chain;
pub mod compression;
mod config;
pub mod cors;
pub mod hooks;
pub mod ip_access;
mod media;
pub mod mirror;
mod policy;
pub mod rate_limit;
pub mod redirect;
pub mod require;
pub mod security_headers;
pub mod static_response;
mod table;
pub mod transform;
pub mod validation;

pub use admission::RouteAccess;
pub use chain::Chain;
pub use policy::{Parts, Policy, PolicyShared};
pub use table::{AnyPolicy, Outlet, PolicyRole, PolicyRow, TABLE};
