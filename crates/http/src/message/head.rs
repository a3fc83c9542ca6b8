//! Message heads: request line or status line, and fields, as positions in the buffer they were read into.

use crate::class::{self, TOKEN};
use crate::{Field, Fields, Method, Name, Span};

/// HTTP version of a message. Minor versions above 1 are read as 1.1 (RFC 9110 section 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// Bounds of a head. What exceeds them is refused, not truncated.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, blank line included.
    pub head: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Number of fields.
    pub fields: usize,
}

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP/1.x syntax: 400.
    Syntax(&'static str),
    /// An HTTP version that is not 1.x: 505.
    Version,
    /// Request target too long: 414.
    TargetTooLong,
    /// Head too large or too many fields: 431.
    TooLarge,
}
impl HeadError {
    /// The status a client gets for it.
    pub fn status(self) -> u16 {
        match self {
            Self::Syntax(_) => 400,
            Self::Version => 505,
            Self::TargetTooLong => 414,
            Self::TooLarge => 431,
        }
    }
}

/// The head of a request. Reused from exchange to exchange.
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
    /// Bytes of the head in the buffer once it is complete, leading empty line and blank line included.
    pub len: usize,
    cursor: Cursor,
}
impl RequestHead {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.method = Method::default();
        self.method_span = Span::default();
        self.target = Span::default();
        self.version = Version::default();
        self.fields.clear();
        self.len = 0;
        self.cursor = Cursor::default();
    }
    /// Reads on where the last call stopped. `buf` starts at the same byte in every call and only grows.
    /// Returns `true` once the head is complete.
    pub fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<bool, HeadError> {
        let view = &buf[..buf.len().min(limits.head)];
        if self.cursor.stage != Stage::Fields && !self.start_line(view, limits)? {
            let in_target = self.cursor.stage == Stage::Target;
            return incomplete(buf, limits, if in_target { HeadError::TargetTooLong } else { HeadError::TooLarge });
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
            // One empty line before a request is tolerated (RFC 9112 section 2.2): some clients end a body with it.
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

/// The head of a response. Reused from exchange to exchange.
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
    /// Makes this the complete head `other`, in memory that is used again.
    pub fn copy_from(&mut self, other: &Self) {
        self.status = other.status;
        self.reason = other.reason;
        self.version = other.version;
        self.fields.copy_from(&other.fields);
        self.len = other.len;
        self.cursor = Cursor::default();
    }
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.reason = Span::default();
        self.version = Version::default();
        self.fields.clear();
        self.len = 0;
        self.cursor = Cursor::default();
    }
    /// As `RequestHead::parse`.
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
                // The space before an empty reason is often forgotten.
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

/// What the byte that is read next belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    Method,
    Target,
    Version,
    Reason,
    Fields,
}

/// Where reading stopped for want of bytes. No byte is looked at twice, however small the pieces are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    stage: Stage,
    /// Start of the element (of the line, once the fields are reached) that is being read.
    line: usize,
    /// The next byte to look at.
    at: usize,
    /// The name of the line, once its colon has been seen.
    name: Option<Field>,
}

impl Cursor {
    #[inline]
    fn enter(&mut self, stage: Stage, at: usize) {
        self.stage = stage;
        self.line = at;
        self.at = at;
    }

    /// Reads field lines up to the blank line. Returns where that ends once it is there.
    pub(crate) fn fields(&mut self, fields: &mut Fields, view: &[u8], most: usize) -> Result<Option<usize>, HeadError> {
        loop {
            if self.name.is_none() {
                if self.at == self.line {
                    while fields.len() < most
                        && let Some((field, end)) = whole_line(view, self.line)
                    {
                        fields.add(field);
                        self.line = end;
                        self.at = end;
                    }
                    match view.get(self.at) {
                        None => return Ok(None),
                        Some(b'\r') => {
                            let Some(&next) = view.get(self.at + 1) else { return Ok(None) };
                            if next != b'\n' {
                                return Err(HeadError::Syntax("CR without LF"));
                            }
                            fields.complete(self.at);
                            return Ok(Some(self.at + 2));
                        }
                        Some(_) if fields.len() >= most => return Err(HeadError::TooLarge),
                        Some(_) => {}
                    }
                }
                if !self.field_name(view)? {
                    return Ok(None);
                }
            }
            let Some(end) = self.line_end(view)? else { return Ok(None) };
            let Some(mut field) = self.name.take() else { return Ok(None) };
            field.value = trimmed(view, field.name.end() + 1, end);
            fields.add(field);
            self.line = end + 2;
            self.at = self.line;
        }
    }

    /// Reads on in a name. Returns `true` behind its colon.
    #[inline]
    fn field_name(&mut self, view: &[u8]) -> Result<bool, HeadError> {
        let at = self.at + view[self.at..].iter().take_while(|&&byte| class::is(byte, TOKEN)).count();
        self.at = at;
        match view.get(at) {
            None => return Ok(false),
            Some(b':') if at > self.line => {}
            Some(&byte) => return Err(HeadError::Syntax(bad_name(byte, at == self.line))),
        }
        let (id, underscore) = Name::recognise(view, self.line, at);
        self.name = Some(Field { name: Span::new(self.line, at), value: Span::default(), id, underscore });
        self.at = at + 1;
        Ok(true)
    }

    /// Reads on in text up to `CR LF`. Returns where the CR is once both are there.
    #[inline]
    fn line_end(&mut self, view: &[u8]) -> Result<Option<usize>, HeadError> {
        loop {
            self.at = class::control_from(view, self.at);
            match view.get(self.at) {
                None => return Ok(None),
                Some(b'\t') => self.at += 1,
                Some(b'\r') => match view.get(self.at + 1) {
                    None => return Ok(None),
                    Some(b'\n') => return Ok(Some(self.at)),
                    Some(_) => return Err(HeadError::Syntax("CR without LF")),
                },
                Some(b'\n') => return Err(HeadError::Syntax("LF without CR")),
                Some(_) => return Err(HeadError::Syntax("control character in a line")),
            }
        }
    }
}

/// Reads a field line that is there as a whole and has no fault, and says where it ends. What it leaves is read by `Cursor`,
/// which knows how to stop and what is wrong.
#[inline]
fn whole_line(view: &[u8], start: usize) -> Option<(Field, usize)> {
    // At the blank line: what follows is body, and no colon is looked for in it.
    if view.get(start) == Some(&b'\r') {
        return None;
    }
    let colon = class::colon_from(view, start);
    if colon == view.len() {
        return None;
    }
    let (id, underscore) = Name::recognise(view, start, colon);
    if id == Name::Other && !class::is_token(&view[start..colon]) {
        return None;
    }
    let mut at = colon + 1;
    loop {
        at = class::control_from(view, at);
        match view.get(at..) {
            Some([b'\r', b'\n', ..]) => break,
            Some([b'\t', ..]) => at += 1,
            _ => return None,
        }
    }
    let field = Field { name: Span::new(start, colon), value: trimmed(view, colon + 1, at), id, underscore };
    Some((field, at + 2))
}

fn incomplete(buf: &[u8], limits: &HeadLimits, error: HeadError) -> Result<bool, HeadError> {
    if buf.len() >= limits.head { Err(error) } else { Ok(false) }
}

fn bad_name(byte: u8, first: bool) -> &'static str {
    match byte {
        b' ' | b'\t' if first => "folded field line",
        b' ' | b'\t' => "white space in a field name",
        b':' => "empty field name",
        b'\r' | b'\n' => "field line without a colon",
        _ => "invalid byte in a field name",
    }
}

#[inline]
fn trimmed(view: &[u8], mut start: usize, mut end: usize) -> Span {
    while start < end && matches!(view[start], b' ' | b'\t') {
        start += 1;
    }
    while end > start && matches!(view[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    Span::new(start, end)
}

/// Longest method. All registered ones are shorter.
const LONGEST_METHOD: usize = 32;

/// Reads on in the method. Returns where the space behind it is.
#[inline]
fn method_end(view: &[u8], cursor: &mut Cursor) -> Result<Option<usize>, HeadError> {
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

const VERSION: &[u8] = b"HTTP/1.1";

/// Reads `HTTP/1.x` and, at the end of a request line, `CR LF`. `None`: right so far, but not yet whole.
#[inline]
fn version(bytes: &[u8], ends_line: bool) -> Result<Option<Version>, HeadError> {
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

/// Reads ` 200`.
fn status(bytes: &[u8]) -> Result<Option<u16>, HeadError> {
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

#[cfg(test)]
mod tests;
