//! The `Connection` field: what it says of this connection, and which fields it nominates as hop-by-hop.

use crate::{Fields, Span, Version};

/// What the Connection field lines of one head say (RFC 9110 section 7.6.1).
#[derive(Clone, Debug, Default)]
pub struct ConnectionOptions {
    /// `close` was named.
    pub close: bool,
    /// `keep-alive` was named.
    pub keep_alive: bool,
    /// `upgrade` was named.
    pub upgrade: bool,
    /// Other names: fields that must not be forwarded. At most 16.
    pub nominated: Vec<Span>,
}

/// A head nominates a field that may not be nominated, or more than 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nomination(pub &'static str);

impl ConnectionOptions {
    /// Reads all Connection lines of a head into `self`, which is cleared first. A request that nominates a protected name
    /// (authorization, cookie, host, content-length, transfer-encoding, forwarded and identity names, x-request-id, …) is refused.
    pub fn read(&mut self, _fields: &Fields, _buf: &[u8]) -> Result<(), Nomination> {
        todo!()
    }
    /// Whether the sender keeps the connection open after this message (RFC 9112 section 9.3).
    pub fn persists(&self, _version: Version) -> bool {
        todo!()
    }
    /// Whether the field `name` was nominated.
    pub fn nominates(&self, _buf: &[u8], _name: &[u8]) -> bool {
        todo!()
    }
}
