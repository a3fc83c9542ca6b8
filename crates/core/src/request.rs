//! What the gateway derives from a request alone.

pub(crate) mod accept;
pub mod admit;
pub mod cookie;
pub mod fetch;
pub mod forwarding;
pub mod grpc;
pub(crate) mod hex;
pub mod max_forwards;
pub mod query;
pub mod readmit;
pub mod session;
pub mod trace_token;
pub mod websocket;
