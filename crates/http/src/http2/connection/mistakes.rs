//! What is wrong with what a peer has sent.

use crate::http2::error::{Http2Code, Http2Error};

/// A frame behind the last one of its stream.
pub(super) const CLOSED: Http2Error =
    Http2Error::stream(Http2Code::STREAM_CLOSED, "a frame behind the end of its stream");

/// An error that ends the connection.
pub(super) fn protocol(reason: &'static str) -> Http2Error {
    Http2Error::connection(Http2Code::PROTOCOL_ERROR, reason)
}

/// An error that ends the stream.
pub(super) fn stream_error(reason: &'static str) -> Http2Error {
    Http2Error::stream(Http2Code::PROTOCOL_ERROR, reason)
}
