//! Writing heads. Framing and connection fields are always the encoder's own; those that came with a message never pass.

use crate::connection::ConnectionOptions;
use crate::{Edits, Fields, Framing, NameSet};

/// The request line and what only a request has.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// Method as spelt.
    pub method: &'a [u8],
    /// Path, canonical or rewritten.
    pub path: &'a [u8],
    /// Query without `?`.
    pub query: Option<&'a [u8]>,
    /// Value of the Host field.
    pub host: &'a [u8],
}

/// The fields of a message and what is to become of them.
#[derive(Clone, Copy, Debug)]
pub struct FieldSource<'a> {
    /// The field lines that came with the message.
    pub fields: &'a Fields,
    /// The buffer that they lie in.
    pub buf: &'a [u8],
    /// What its Connection field said.
    pub options: &'a ConnectionOptions,
    /// Known names that are left out besides hop-by-hop and framing names (also when spelt with `_`).
    pub drop: NameSet,
    /// Changes made by policies.
    pub edits: &'a Edits,
}

/// Appends a request head for an instance: `METHOD path?query HTTP/1.1`, Host, the fields, the edits, the framing.
/// `Expect` never passes. A `Length(0)` body is written as `Content-Length: 0`; `None` writes no framing field.
pub fn request(_out: &mut Vec<u8>, _line: RequestLine<'_>, _source: FieldSource<'_>, _framing: Framing) {
    todo!()
}

/// What only a response has.
#[derive(Clone, Copy, Debug)]
pub struct StatusLine<'a> {
    /// Status code.
    pub status: u16,
    /// Reason phrase; when empty the registered one is written.
    pub reason: &'a [u8],
    /// `Some(n)`: the Content-Length to state although no body follows (answers to HEAD, 304).
    pub stated_length: Option<u64>,
    /// Write `Connection: close`.
    pub close: bool,
    /// Write `Connection: keep-alive` (an HTTP/1.0 client that asked for it).
    pub keep_alive: bool,
}

/// Appends a response head for a client: `HTTP/1.1 status reason`, the fields, the edits, the framing.
/// `Close` writes no framing field (the caller sets `close`).
pub fn response(_out: &mut Vec<u8>, _line: StatusLine<'_>, _source: FieldSource<'_>, _framing: Framing) {
    todo!()
}

/// The registered reason phrase of a status code (RFC 9110 section 15 and the IANA registry), empty if there is none.
pub fn reason(_status: u16) -> &'static str {
    todo!()
}
