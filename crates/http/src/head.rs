//! Message heads: request line or status line, and fields, as positions in the buffer they were read into.

use crate::{Method, Name, NameSet, Span};

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

/// One field line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The name as sent.
    pub name: Span,
    /// The value without surrounding white space.
    pub value: Span,
    /// The known name that this spells.
    pub id: Name,
    /// The name was spelt with `_` where the known name has `-`: such a line never counts as that field, and
    /// where the known name is one that the gateway owns or that frames the message, it is never forwarded.
    pub underscore: bool,
}

/// The fields of a head, in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
    seen: NameSet,
}
impl Fields {
    /// All lines in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }
    /// Number of lines.
    pub fn len(&self) -> usize {
        self.list.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    /// Whether a line of this known name (spelt with `-`) is present: one bit test.
    pub fn has(&self, name: Name) -> bool {
        self.seen.has(name)
    }
    /// The first value of a known name.
    pub fn get<'b>(&self, _buf: &'b [u8], _name: Name) -> Option<&'b [u8]> {
        todo!()
    }
    /// How many lines have this known name.
    pub fn count(&self, _name: Name) -> usize {
        todo!()
    }
    /// All values of the field called `name` (any name, case ignored), in order.
    pub fn values<'a>(&'a self, _buf: &'a [u8], _name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        std::iter::empty()
    }
    /// Adds a line. For heads that do not come from an HTTP/1 buffer.
    pub fn push(&mut self, _field: Field) {
        todo!()
    }
    /// Forgets all lines and keeps the memory.
    pub fn clear(&mut self) {
        todo!()
    }
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
        todo!()
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
}
impl RequestHead {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        todo!()
    }
    /// Reads on where the last call stopped. `buf` starts at the same byte in every call and only grows.
    /// Returns `true` once the head is complete.
    pub fn parse(&mut self, _buf: &[u8], _limits: &HeadLimits) -> Result<bool, HeadError> {
        todo!()
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
}
impl ResponseHead {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        todo!()
    }
    /// As `RequestHead::parse`.
    pub fn parse(&mut self, _buf: &[u8], _limits: &HeadLimits) -> Result<bool, HeadError> {
        todo!()
    }
}
