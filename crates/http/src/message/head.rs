//! Message heads: request line or status line, and fields, as positions in the buffer they were read into.

mod cursor;
mod error;
mod known;
mod start_line;

use self::cursor::Stage;
use self::start_line::{VERSION, method_end, status, version};
use crate::class;
use crate::{Fields, Method, Span};

pub(crate) use self::cursor::{Cursor, complete_line};
pub use self::error::HeadError;
pub use self::known::KnownLines;
pub use self::start_line::Version;

/// Limits of a head. A head that exceeds them is refused, not truncated.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Size of the whole head in bytes, including the blank line.
    pub head: usize,
    /// Size of the request target in bytes.
    pub target: usize,
    /// Number of fields.
    pub fields: usize,
}

/// The head of a request. Reused from one request to the next.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as spelt.
    pub method_span: Span,
    /// The request target as sent.
    pub target: Span,
    /// The client's version.
    pub version: Version,
    /// The field lines.
    pub fields: Fields,
    /// Size of the complete head in the buffer, including the leading empty line and the blank line.
    pub len: usize,
    /// Size of a head whose field lines are known; otherwise 0.
    known: usize,
    cursor: Cursor,
}

impl RequestHead {
    /// Clears everything and keeps the memory.
    pub fn clear(&mut self) {
        self.method = Method::default();
        self.method_span = Span::default();
        self.target = Span::default();
        self.version = Version::default();
        self.fields.clear();
        self.len = 0;
        self.known = 0;
        self.cursor = Cursor::default();
    }

    /// Takes field lines that are known. The next call of [`parse`](Self::parse) is the first, and its buffer begins
    /// with the whole head that they are of.
    pub fn adopt(&mut self, lines: &mut KnownLines) {
        if lines.len > 0 {
            std::mem::swap(&mut self.fields, &mut lines.fields);
            self.known = lines.len;
        }
        lines.clear();
    }

    /// Continues parsing where the last call stopped. `buf` starts at the same byte in every call and only grows.
    /// Returns true once the head is complete.
    pub fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<bool, HeadError> {
        let view = &buf[..buf.len().min(limits.head)];
        if self.cursor.stage != Stage::Fields && !self.start_line(view, limits)? {
            let in_target = self.cursor.stage == Stage::Target;
            return incomplete(buf, limits, if in_target { HeadError::TargetTooLong } else { HeadError::TooLarge });
        }
        if self.known > 0 {
            let fits = self.known <= limits.head && self.fields.len() <= limits.fields;
            self.len = self.known;
            return if fits { Ok(true) } else { Err(HeadError::TooLarge) };
        }
        let Some(len) = self.cursor.fields(&mut self.fields, view, limits.fields)? else {
            return incomplete(buf, limits, HeadError::TooLarge);
        };
        self.len = len;
        Ok(true)
    }

    fn start_line(&mut self, view: &[u8], limits: &HeadLimits) -> Result<bool, HeadError> {
        let cursor = &mut self.cursor;
        if cursor.stage == Stage::Start {
            // One empty line before a request is tolerated (RFC 9112 section 2.2), because some clients end a body with
            // it.
            let start = match view {
                [] | [b'\r'] => return Ok(false),
                [b'\r', b'\n', ..] => 2,
                [b'\r', ..] => return Err(HeadError::Syntax("CR without LF")),
                _ => 0,
            };
            cursor.enter(Stage::Method, start);
        }
        if cursor.stage == Stage::Method {
            let Some(end) = method_end(view, cursor)? else { return Ok(false) };
            self.method_span = Span::new(cursor.line, end);
            self.method = Method::from_token(&view[cursor.line..end]);
            cursor.enter(Stage::Target, end + 1);
        }
        if cursor.stage == Stage::Target {
            let end = class::target_end_from(view, cursor.at);
            cursor.at = end;
            if end - cursor.line > limits.target {
                return Err(HeadError::TargetTooLong);
            }
            match view.get(end) {
                None => return Ok(false),
                Some(b' ') if end > cursor.line => {}
                Some(b' ') => return Err(HeadError::Syntax("more than one space in the request line")),
                Some(_) => return Err(HeadError::Syntax("invalid byte in the request target")),
            }
            self.target = Span::new(cursor.line, end);
            cursor.enter(Stage::Version, end + 1);
        }
        let Some(version) = version(&view[cursor.line..], true)? else { return Ok(false) };
        self.version = version;
        cursor.enter(Stage::Fields, cursor.line + VERSION.len() + 2);
        Ok(true)
    }
}

/// The head of a response. Reused from one response to the next.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Status code, 100–599.
    pub status: u16,
    /// Reason phrase as sent, possibly empty.
    pub reason: Span,
    /// The instance's version.
    pub version: Version,
    /// The field lines.
    pub fields: Fields,
    /// Bytes of the head in the buffer once it is complete.
    pub len: usize,
    cursor: Cursor,
}

impl ResponseHead {
    /// Copies the complete head `other` and reuses the memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.status = other.status;
        self.reason = other.reason;
        self.version = other.version;
        self.fields.copy_from(&other.fields);
        self.len = other.len;
        self.cursor = Cursor::default();
    }

    /// Clears everything and keeps the memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.reason = Span::default();
        self.version = Version::default();
        self.fields.clear();
        self.len = 0;
        self.cursor = Cursor::default();
    }

    /// Like [`RequestHead::parse`].
    pub fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<bool, HeadError> {
        let view = &buf[..buf.len().min(limits.head)];
        if self.cursor.stage != Stage::Fields && !self.start_line(view)? {
            return incomplete(buf, limits, HeadError::TooLarge);
        }
        let Some(len) = self.cursor.fields(&mut self.fields, view, limits.fields)? else {
            return incomplete(buf, limits, HeadError::TooLarge);
        };
        self.len = len;
        Ok(true)
    }

    fn start_line(&mut self, view: &[u8]) -> Result<bool, HeadError> {
        let cursor = &mut self.cursor;
        if cursor.stage == Stage::Start {
            let Some(version) = version(view, false)? else { return Ok(false) };
            let Some(status) = status(&view[VERSION.len()..])? else { return Ok(false) };
            self.version = version;
            self.status = status;
            let after = VERSION.len() + 4;
            let reason = match view.get(after) {
                None => return Ok(false),
                Some(b' ') => after + 1,
                // The space before an empty reason is often missing.
                Some(b'\r') => after,
                Some(_) => return Err(HeadError::Syntax("invalid status code")),
            };
            cursor.enter(Stage::Reason, reason);
        }
        let Some(end) = cursor.line_end(view)? else { return Ok(false) };
        self.reason = Span::new(cursor.line, end);
        cursor.enter(Stage::Fields, end + 2);
        Ok(true)
    }
}

fn incomplete(buf: &[u8], limits: &HeadLimits, error: HeadError) -> Result<bool, HeadError> {
    if buf.len() >= limits.head { Err(error) } else { Ok(false) }
}

#[cfg(test)]
mod tests;
