//! Parts of request lines and status lines.

use super::cursor::Cursor;
use super::error::HeadError;
use crate::class::{self, TOKEN};

/// HTTP version of a message. Minor versions above 1 count as 1.1 (RFC 9110 section 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// Longest method. All registered ones are shorter.
const LONGEST_METHOD: usize = 32;

/// Continues in the method. Returns the position of the space after it.
#[inline]
pub(super) fn method_end(view: &[u8], cursor: &mut Cursor) -> Result<Option<usize>, HeadError> {
    while let Some(&byte) = view.get(cursor.at) {
        if !class::is(byte, TOKEN) {
            let ended = byte == b' ' && cursor.at > cursor.line;
            return if ended { Ok(Some(cursor.at)) } else { Err(HeadError::Syntax("invalid method")) };
        }
        if cursor.at - cursor.line == LONGEST_METHOD {
            return Err(HeadError::Syntax("method too long"));
        }
        cursor.at += 1;
    }
    Ok(None)
}

pub(super) const VERSION: &[u8] = b"HTTP/1.1";

/// Parses `HTTP/1.x` and, at the end of a request line, `CR LF`. Returns None if the bytes are valid so far but
/// incomplete.
#[inline]
pub(super) fn version(bytes: &[u8], ends_line: bool) -> Result<Option<Version>, HeadError> {
    if ends_line && bytes.starts_with(b"HTTP/1.1\r\n") {
        return Ok(Some(Version::Http11));
    }
    let end: &[u8] = if ends_line { b"\r\n" } else { b"" };
    for (place, &byte) in bytes.iter().take(VERSION.len() + end.len()).enumerate() {
        let right = match place {
            5 | 7 => byte.is_ascii_digit(),
            8.. => byte == end[place - VERSION.len()],
            _ => byte == VERSION[place],
        };
        if !right {
            return Err(HeadError::Syntax("invalid HTTP version"));
        }
        if place == 7 && bytes[5] != b'1' {
            return Err(HeadError::Version);
        }
    }
    if bytes.len() < VERSION.len() + end.len() {
        return Ok(None);
    }
    Ok(Some(if bytes[7] == b'0' { Version::Http10 } else { Version::Http11 }))
}

/// Parses ` 200`.
pub(super) fn status(bytes: &[u8]) -> Result<Option<u16>, HeadError> {
    let mut status = 0;
    for (place, &byte) in bytes.iter().take(4).enumerate() {
        let right = match place {
            0 => byte == b' ',
            1 => (b'1'..=b'5').contains(&byte),
            _ => byte.is_ascii_digit(),
        };
        if !right {
            return Err(HeadError::Syntax("invalid status code"));
        }
        if place > 0 {
            status = status * 10 + u16::from(byte - b'0');
        }
    }
    Ok((bytes.len() >= 4).then_some(status))
}
