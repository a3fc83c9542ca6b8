//! Request targets, made canonical once: policies, routing, cache key and instances all see the same path (RFC 9112 section 3.2).

use crate::{Method, Span};

/// Form of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `*`, only with OPTIONS
    Asterisk,
}

/// A canonical target. Reused from exchange to exchange.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The canonical path, always starting with `/` (`*` in asterisk form): only unreserved characters decoded, hex in upper case,
    /// dot segments removed, `//` merged.
    pub path: Vec<u8>,
    /// The query as sent, without `?`, as a span of the raw target.
    pub query: Option<Span>,
    /// The authority of an absolute-form target, as a span of the raw target.
    pub authority: Option<Span>,
    /// The form.
    pub form: Form,
}

/// Why a target was refused: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetError(pub &'static str);

impl Target {
    /// Reads the raw target of a request into `self`, which is cleared first.
    ///
    /// Refused: `%2F`, `%5C`, `%00`, `\`, `#`, control characters and bytes above 0x7E as sent, broken percent-encoding,
    /// percent-encoded bytes that are not UTF-8, `..;` segments, dot segments that leave the root, authority form, asterisk with anything but OPTIONS.
    pub fn read(&mut self, _raw: &[u8], _method: Method) -> Result<(), TargetError> {
        todo!()
    }
}
