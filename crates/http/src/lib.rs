//! HTTP/1.1 for gateways: bytes ↔ messages, without a socket.
//!
//! Strict where RFC 9110 and RFC 9112 leave room for two readings: a message that two parsers could read differently
//! is refused, never repaired. Nothing here allocates per field: a head is a list of positions in the buffer that
//! it was read into, and every container is cleared and used again.
#![forbid(unsafe_code)]

pub mod chunked;
mod class;
pub mod connection;
pub mod edits;
pub mod encode;
pub mod fields;
pub mod frames;
pub mod framing;
pub mod head;
pub mod host;
pub mod method;
pub mod name;
pub mod span;
pub mod target;
pub mod websocket;

pub use chunked::{ChunkedDecoder, Decoded};
pub use edits::{Edits, InvalidHeader};
pub use fields::{Field, Fields};
pub use framing::Framing;
pub use head::{HeadError, HeadLimits, RequestHead, ResponseHead, Version};
pub use method::Method;
pub use name::{Name, NameSet};
pub use span::Span;
pub use target::{Form, Target, TargetError};
