//! Panics: each is logged with its place and counted by what panicked, which then starts again.

mod count;
mod hook;
mod supervise;

pub use self::count::Duty;
pub(crate) use self::count::Panics;
pub(crate) use self::hook::{enter, install};
pub use self::supervise::supervise;
pub(crate) use self::supervise::supervise_task;

#[cfg(not(panic = "unwind"))]
compile_error!("a panic ends the task that it happens in, not the process: build with panic = \"unwind\"");

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
