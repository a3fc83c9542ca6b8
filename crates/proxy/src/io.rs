//! Bytes in and out: sockets of every kind, what is read from them, and time.

pub(crate) mod buffers;
pub(crate) mod clock;
pub(crate) mod deadline;
pub(crate) mod h2_stream;
pub(crate) mod socket;
pub(crate) mod source;
pub(crate) mod tls;
pub(crate) mod unread;
pub(crate) mod wire;
