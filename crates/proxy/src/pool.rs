//! Pools of connections to instances, per worker.

pub(crate) mod http1;
pub(crate) mod http2;
