//! Fields as HPACK hands them out, and what they are in a head (RFC 9113 sections 8.2 and 8.3).

use crate::class::{self, LOWER};
use crate::{Name, NameSet};

/// Fields of the connection, which HTTP/2 does without (RFC 9113 section 8.2.2).
pub const OF_CONNECTION: NameSet =
    NameSet::of(&[Name::Connection, Name::KeepAlive, Name::ProxyConnection, Name::TransferEncoding, Name::Upgrade]);

/// A field of a block.
#[derive(Clone, Copy, Debug)]
pub struct HpackField<'a> {
    line: &'a [u8],
    name_len: usize,
    part: HeadPart,
    never_indexed: bool,
}

impl<'a> HpackField<'a> {
    pub(super) fn new(line: &'a [u8], name_len: usize, part: HeadPart, never_indexed: bool) -> Self {
        Self { line, name_len, part, never_indexed }
    }

    /// Returns the name as sent.
    pub fn name(&self) -> &'a [u8] {
        &self.line[..self.name_len]
    }

    /// Returns the value as sent.
    pub fn value(&self) -> &'a [u8] {
        &self.line[self.name_len + 2..self.line.len() - 2]
    }

    /// Returns the field as a line of HTTP/1: `name: value`, CR and LF. Only for a field that is not
    /// [malformed](HeadPart::Malformed).
    pub fn line(&self) -> &'a [u8] {
        self.line
    }

    /// Returns what it is in a head.
    pub fn part(&self) -> HeadPart {
        self.part
    }

    /// Returns true if it must not be put into a table when it is sent on (RFC 7541 section 6.2.3).
    pub fn never_indexed(&self) -> bool {
        self.never_indexed
    }
}

/// What a field is in a head. That its name and its value have only bytes that they may have was found once, when it
/// came into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadPart {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:protocol` (RFC 8441 section 4)
    Protocol,
    /// `:status`
    Status,
    /// A field line.
    Line {
        /// The known name that it spells.
        id: Name,
        /// See [`Field::underscore`](crate::Field::underscore).
        underscore: bool,
    },
    /// A field that makes its message malformed, wherever it stands: an unknown pseudo-field, a name that is no token
    /// or has capitals, a value with control characters or with blanks around it (RFC 9113 section 8.2.1), or a field
    /// of the connection (section 8.2.2).
    Malformed,
}

impl HeadPart {
    /// Returns what the line of a name with `name_len` bytes is.
    pub(super) fn of(line: &[u8], name_len: usize) -> Self {
        let name = &line[..name_len];
        let part = if name.first() == Some(&b':') {
            Self::of_pseudo(name)
        } else if !name.is_empty() && class::all(name, LOWER) {
            let (id, underscore) = Name::recognise(line, 0, name_len);
            Self::Line { id, underscore }
        } else {
            Self::Malformed
        };
        part.with_value(&line[name_len + 2..line.len() - 2])
    }

    /// Returns what a field of the same name is, given its value.
    pub(super) fn with_value(self, value: &[u8]) -> Self {
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if blank(value.first()) || blank(value.last()) || !class::is_value(value) {
            return Self::Malformed;
        }
        match self {
            Self::Line { id: Name::Te, .. } if !value.eq_ignore_ascii_case(b"trailers") => Self::Malformed,
            Self::Line { id, underscore: false } if OF_CONNECTION.has(id) => Self::Malformed,
            _ => self,
        }
    }

    /// Returns what a field of the static table is.
    pub(super) const fn of_known(name: &'static str) -> Self {
        if name.as_bytes()[0] == b':' {
            return Self::of_pseudo(name.as_bytes());
        }
        let id = Name::of_spelling(name);
        if OF_CONNECTION.has(id) { Self::Malformed } else { Self::Line { id, underscore: false } }
    }

    const fn of_pseudo(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            _ => Self::Malformed,
        }
    }
}
