//! HTTP/2 (RFC 9113) without sockets: frames, and HPACK (RFC 7541).

pub mod error;
pub mod frame;
pub mod hpack;
pub mod settings;
