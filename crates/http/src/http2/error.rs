//! Errors of HTTP/2: their codes (RFC 9113 section 7), and what they end.

use std::fmt;

/// An error code, as it stands in `RST_STREAM` and `GOAWAY`. Codes that nobody has defined are kept: whoever sends one
/// means an error like any other (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Code(pub u32);

impl Http2Code {
    /// Nothing went wrong.
    pub const NO_ERROR: Self = Self(0);
    /// A rule was broken that has no code of its own.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The sender is at fault.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More was sent than the window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// `SETTINGS` were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    /// A frame on a stream whose sender had ended it.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame of a length that its type cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Nothing has been done for the stream: it may be sent again.
    pub const REFUSED_STREAM: Self = Self(7);
    /// The stream is no longer wanted.
    pub const CANCEL: Self = Self(8);
    /// The tables of HPACK are no longer the same.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The connection behind a `CONNECT` was reset.
    pub const CONNECT_ERROR: Self = Self(10);
    /// The peer costs too much.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
    /// The transport is not as safe as it has to be.
    pub const INADEQUATE_SECURITY: Self = Self(12);
    /// The request has to be made over HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(13);

    /// Returns the name, or `None` for a code that nobody has defined.
    pub fn name(self) -> Option<&'static str> {
        NAMES.get(self.0 as usize).copied()
    }
}

const NAMES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

impl fmt::Display for Http2Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "code {:#x}", self.0),
        }
    }
}

/// What an error ends (RFC 9113 section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorScope {
    /// The connection: it is answered by `GOAWAY`.
    Connection,
    /// The stream of the frame: it is answered by `RST_STREAM`.
    Stream,
}

/// A violation of the protocol by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Error {
    /// What it ends.
    pub scope: ErrorScope,
    /// The code to answer with.
    pub code: Http2Code,
    /// What is wrong, for people.
    pub reason: &'static str,
}

impl Http2Error {
    /// Creates an error that ends the connection.
    pub const fn connection(code: Http2Code, reason: &'static str) -> Self {
        Self { scope: ErrorScope::Connection, code, reason }
    }

    /// Creates an error that ends the stream of the frame.
    pub const fn stream(code: Http2Code, reason: &'static str) -> Self {
        Self { scope: ErrorScope::Stream, code, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_rfc() {
        assert_eq!(Http2Code::HTTP_1_1_REQUIRED.to_string(), "HTTP_1_1_REQUIRED");
        assert_eq!(Http2Code::ENHANCE_YOUR_CALM.name(), Some("ENHANCE_YOUR_CALM"));
        assert_eq!(Http2Code(14).to_string(), "code 0xe");
    }
}
