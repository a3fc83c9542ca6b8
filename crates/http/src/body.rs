//! Message bodies: their length, and chunked coding.

pub mod chunked;
pub mod framing;
