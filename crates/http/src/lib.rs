//! HTTP for gateways: converts between bytes and messages, without sockets.
//!
//! Strict where RFC 9110 and RFC 9112 are ambiguous: a message that two parsers could read differently is refused,
//! never repaired. Nothing here allocates per field: a head is a list of positions in the buffer that it was read into,
//! and every container is cleared and reused.
#![forbid(unsafe_code)]

pub mod body;
mod class;
pub mod encode;
pub mod http2;
pub mod message;
mod perfect_hash;
pub mod websocket;

pub use body::chunked::{ChunkedDecoder, Decoded};
pub use body::framing::Framing;
pub use message::edits::{Edits, InvalidHeader};
pub use message::fields::{Field, Fields};
pub use message::head::{HeadError, HeadLimits, KnownLines, RequestHead, ResponseHead, Version};
pub use message::method::Method;
pub use message::name::{Name, NameSet};
pub use message::span::Span;
pub use message::target::{Form, Target, TargetError};
