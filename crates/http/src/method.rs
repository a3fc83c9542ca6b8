//! Request methods (RFC 9110 section 9, RFC 5789).

/// A request method. Methods are case-sensitive; any other token is `Other` and is forwarded as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// PATCH
    Patch,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// CONNECT
    Connect,
    /// Any other token; its spelling lies in `RequestHead::method_span`.
    Other,
}
impl Method {
    /// The method that `token` spells.
    pub fn from_token(_token: &[u8]) -> Self {
        todo!()
    }
    /// The spelling; empty for `Other`.
    pub fn as_str(self) -> &'static str {
        todo!()
    }
    /// Whether repeating the request has the effect of sending it once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        todo!()
    }
    /// Whether the request asks for no change (RFC 9110 section 9.2.1).
    pub fn is_safe(self) -> bool {
        todo!()
    }
}
