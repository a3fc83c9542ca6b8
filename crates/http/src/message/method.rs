//! Request methods (RFC 9110 section 9, RFC 5789).

/// A request method. Methods are case-sensitive; any other token is `Other` and is forwarded unchanged.
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
    /// Any other token; `RequestHead::method_span` has its spelling.
    Other,
}

impl Method {
    /// Returns the method that `token` spells.
    #[inline]
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"PATCH" => Self::Patch,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Returns the spelling, or an empty text for `Other`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
            Self::Other => "",
        }
    }

    /// Returns true if repeating the request has the same effect as sending it once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }

    /// Returns true if the request asks for no change (RFC 9110 section 9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_and_token_agree_and_case_counts() {
        for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
            assert_eq!(Method::from_token(name.as_bytes()).as_str(), name);
            assert_eq!(Method::from_token(name.to_lowercase().as_bytes()), Method::Other);
        }
        assert_eq!(Method::Other.as_str(), "");
    }

    #[test]
    fn put_and_delete_are_idempotent_but_not_safe() {
        assert!(Method::Put.is_idempotent() && !Method::Put.is_safe());
        assert!(Method::Get.is_idempotent() && Method::Get.is_safe());
        assert!(!Method::Post.is_idempotent() && !Method::Patch.is_idempotent() && !Method::Other.is_idempotent());
    }
}
