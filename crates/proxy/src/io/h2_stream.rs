//! Presents a stream of an HTTP/2 connection as a socket that speaks HTTP/1.1.

pub(crate) mod driver;
pub(crate) mod permit;
pub(crate) mod shared;
pub(crate) mod stream;
