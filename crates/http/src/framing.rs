//! How long a body is: decided here and nowhere else (RFC 9112 section 6).

use crate::{Method, RequestHead, ResponseHead};

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Up to the end of the connection (responses only).
    Close,
}

/// Why the framing was refused; always 400 for a request and 502 for a response, and the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramingError(pub &'static str);

/// Framing of a request body: no Transfer-Encoding and at most one Content-Length of 1–19 ASCII digits, or
/// Transfer-Encoding exactly `chunked`, once, on HTTP/1.1, without Content-Length. Anything else is refused.
pub fn request(_head: &RequestHead, _buf: &[u8]) -> Result<Framing, FramingError> {
    todo!()
}

/// Framing of a response body to a request with `method`; the same rules, plus bodies up to the end of the connection.
/// HEAD, 1xx, 204 and 304 have none whatever their fields say (but contradictory fields are refused all the same).
pub fn response(_head: &ResponseHead, _buf: &[u8], _method: Method) -> Result<Framing, FramingError> {
    todo!()
}
