//! HTTP/2 (RFC 9113) without sockets: frames, and HPACK (RFC 7541).

pub mod connection;
pub mod error;
pub mod frame;
mod head_fields;
mod head_text;
pub mod hpack;
pub mod settings;
mod stream;
mod window;
