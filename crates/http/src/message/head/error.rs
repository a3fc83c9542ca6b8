//! Errors of head parsing.

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
    /// Status of the response to such a request.
    pub fn status(self) -> u16 {
        match self {
            Self::Syntax(_) => 400,
            Self::Version => 505,
            Self::TargetTooLong => 414,
            Self::TooLarge => 431,
        }
    }
}
