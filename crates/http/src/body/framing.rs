//! Determines the length of bodies; no other code does (RFC 9112 section 6).

use crate::{Fields, Method, Name, RequestHead, ResponseHead, Version};

/// How the end of a body is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// Exactly this many bytes.
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
pub fn request(head: &RequestHead, buf: &[u8]) -> Result<Framing, FramingError> {
    Ok(stated(&head.fields, buf, head.version)?.unwrap_or(Framing::None))
}

/// Framing of a response body to a request with `method`; the same rules, plus bodies up to the end of the connection.
/// HEAD, 1xx, 204 and 304 have none whatever their fields say (but contradictory fields are refused all the same).
pub fn response(head: &ResponseHead, buf: &[u8], method: Method) -> Result<Framing, FramingError> {
    let stated = stated(&head.fields, buf, head.version)?;
    if method == Method::Head || matches!(head.status, 100..=199 | 204 | 304) {
        return Ok(Framing::None);
    }
    Ok(stated.unwrap_or(Framing::Close))
}

/// Returns the framing that the fields state, if there are such fields. Requests and responses share this function.
#[inline]
fn stated(fields: &Fields, buf: &[u8], version: Version) -> Result<Option<Framing>, FramingError> {
    let coding = fields.has(Name::TransferEncoding);
    let length = fields.has(Name::ContentLength);
    match (coding, length) {
        (false, false) => Ok(None),
        (true, true) => Err(FramingError("Transfer-Encoding and Content-Length together")),
        (true, false) => {
            if version == Version::Http10 {
                return Err(FramingError("Transfer-Encoding in HTTP/1.0"));
            }
            let value = only(fields, buf, Name::TransferEncoding)?;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(FramingError("Transfer-Encoding other than chunked"));
            }
            Ok(Some(Framing::Chunked))
        }
        (false, true) => length_of(only(fields, buf, Name::ContentLength)?).map(|n| Some(Framing::Length(n))),
    }
}

fn only<'b>(fields: &Fields, buf: &'b [u8], name: Name) -> Result<&'b [u8], FramingError> {
    let mut lines = fields.named(name);
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line.value.of(buf)),
        _ => Err(FramingError("repeated framing field")),
    }
}

fn length_of(value: &[u8]) -> Result<u64, FramingError> {
    if !(1..=19).contains(&value.len()) {
        return Err(FramingError("Content-Length is not 1 to 19 digits"));
    }
    let mut length = 0;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return Err(FramingError("Content-Length is not a number"));
        }
        // Nineteen digits fit into 64 bits.
        length = length * 10 + u64::from(byte - b'0');
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
