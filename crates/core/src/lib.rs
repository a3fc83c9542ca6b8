//! The words of the gateway and its pure decisions: no socket, no runtime, no wall clock, no Python.
#![forbid(unsafe_code)]

pub mod admit;
pub mod answer;
pub mod cache;
pub mod certificate;
pub mod clock;
pub mod delivery;
pub mod exchange;
pub mod flood;
pub mod forwarding;
pub mod grpc;
pub mod halt;
mod hex;
pub mod hook;
pub mod limit;
pub mod location;
pub mod max_forwards;
pub mod pace;
pub mod plan;
pub mod problem;
pub mod proxy_protocol;
pub mod query;
pub mod route;
pub mod service;
pub mod transform;
pub mod websocket;

pub use answer::civil_date;
pub use clock::Instant;
pub use delivery::Delivery;
pub use exchange::{Answer, Exchange, Resume, User, Verdict};
pub use halt::{Halt, Rejection};
pub use pace::Pace;
pub use plan::Plan;
pub use problem::Problem;
pub use transform::{BodyTransform, Transforms};
