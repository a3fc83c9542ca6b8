//! Connections to instances that are kept for further requests, per worker.

pub(crate) mod http1;
pub(crate) mod http2;
