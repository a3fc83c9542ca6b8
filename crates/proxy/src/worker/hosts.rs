//! Hook hosts: processes that run hooks. A worker and a host share memory with a ring for each direction, and wake each
//! other by descriptors of events. The gateway copies what a host has written before it looks at it, and trusts no
//! length in it: a host that has gone mad breaks its own calls.

mod bell;
mod exchange;
mod hosted;
mod lane;
mod link;
mod memory;
mod serve;
mod set;
mod stream;
mod turn;

pub use self::hosted::HostedStage;
pub use self::link::{HostEnds, HostState};
pub use self::serve::{HostDuty, HostStop, serve_host};
pub use self::set::{HostFigures, HostSet};
