//! Everything that touches a socket, a task or a timer.

mod admission;
mod attempt;
mod auxiliary;
mod body;
mod buffers;
mod client;
mod clock;
mod connect;
mod connection;
mod deadline;
mod decide;
mod download;
mod engine;
mod explain;
mod flow;
mod forward;
mod gather;
mod health;
mod log;
mod mirror;
mod observe;
mod pool;
mod receive;
mod respond;
mod route;
mod sink;
mod snapshot;
mod socket;
mod source;
mod upload;
mod worker;

pub use engine::{Engine, Stats};
pub use explain::{Explanation, Question, check, explain};
pub use log::Record;
pub use observe::Totals;
pub use sink::SinkStats;
