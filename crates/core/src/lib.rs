//! The gateway's data types and pure decisions: no socket, no runtime, no wall clock, no Python.
#![forbid(unsafe_code)]

pub mod cache;
pub mod clock;
pub mod cluster;
pub mod connection;
pub mod exchange;
pub mod expression;
pub mod hook;
pub mod limit;
pub mod location;
pub mod maintenance;
pub mod plan;
pub mod request;
pub mod route;
pub mod service;
pub mod trace;

pub use clock::Instant;
pub use connection::delivery::Delivery;
pub use connection::pace::Pace;
pub use exchange::Exchange;
pub use exchange::answer::{Answer, civil_date};
pub use exchange::halt::{Halt, Rejection, Shortage};
pub use exchange::transform::{BodyTransform, Transforms};
pub use exchange::user::User;
pub use exchange::verdict::{Resume, Verdict};
pub use expression::Expression;
pub use plan::{Plan, Problem};
