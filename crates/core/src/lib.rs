//! The words of the gateway and its pure decisions: no socket, no runtime, no wall clock, no Python.
#![forbid(unsafe_code)]

pub mod clock;
pub mod limit;
pub mod plan;
pub mod problem;

pub use plan::Plan;
pub use problem::Problem;
