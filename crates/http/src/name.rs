//! The field names that the gateway itself looks at, recognised once while the head is parsed.

/// A known field name, or `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Name {
    /// Any name not listed here.
    #[default]
    Other,
    Accept,
    AcceptEncoding,
    AccessControlRequestHeaders,
    AccessControlRequestMethod,
    Age,
    Authorization,
    CacheControl,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentRange,
    ContentType,
    Cookie,
    Date,
    Etag,
    Expect,
    Expires,
    Forwarded,
    Host,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    IfUnmodifiedSince,
    KeepAlive,
    LastModified,
    Location,
    Origin,
    Pragma,
    Proxy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Range,
    RetryAfter,
    Server,
    SetCookie,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Vary,
    Via,
    Warning,
    WwwAuthenticate,
    XApiKey,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedProto,
    XRealIp,
    XRequestId,
    XUserEmail,
    XUserId,
    XUserRole,
    SecWebsocketKey,
    SecWebsocketVersion,
    SecWebsocketAccept,
    SecWebsocketProtocol,
    SecWebsocketExtensions,
    Http2Settings,
    AccessControlAllowOrigin,
}
impl Name {
    /// The name that `bytes` spells, ignoring case and taking `_` for `-` (see `Field::underscore`).
    pub fn classify(_bytes: &[u8]) -> Self {
        todo!()
    }
    /// The usual spelling, e.g. `X-Request-ID`; empty for `Other`.
    pub fn as_str(self) -> &'static str {
        todo!()
    }
}

/// A set of known names, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NameSet(u128);
impl NameSet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);
    /// The set of these names.
    pub const fn of(_names: &[Name]) -> Self {
        todo!()
    }
    /// Whether `name` is in the set. `Other` never is.
    pub const fn has(self, _name: Name) -> bool {
        todo!()
    }
    /// Adds `name`; `Other` is ignored.
    pub const fn add(&mut self, _name: Name) {
        todo!()
    }
    /// Both sets together.
    pub const fn with(self, _other: Self) -> Self {
        todo!()
    }
}
