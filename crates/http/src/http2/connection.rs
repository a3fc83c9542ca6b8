//! An HTTP/2 connection without its socket, in either role. Its owner hands it the bytes that it has received, asks it
//! what has changed, and sends what it has to say.
//!
//! Nothing is allocated per stream or per field on the usual path: slots of streams are used again, heads are decoded
//! straight into the text of HTTP/1.1 that one parser reads for both protocols, and all frames go into one buffer,
//! which the owner writes at once. Every buffer is bounded: what is received by the windows, what is sent by
//! `MAX_OUTPUT`.

mod bytes;
mod frames;
mod heads;
mod input;
mod mistakes;
mod read;
mod send;
mod share;
mod state;
mod turns;

pub use self::read::Received;
pub use self::send::StreamSent;
pub use self::state::{Http2Connection, Http2Event, Http2Grants, PREFACE, Role};
pub use super::head_fields::HeadUnfit;
pub use super::stream::{StreamKey, StreamReset};

#[cfg(test)]
mod tests;
