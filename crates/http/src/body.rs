//! How long a message's body is, and how it is cut into chunks.

pub mod chunked;
pub mod framing;
