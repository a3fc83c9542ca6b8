//! The rate limit policies.

/// A rate limit policy.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// The one before authentication.
    Address,
    /// The one after authentication.
    Rate,
}

impl Limiter {
    /// All of them, by position.
    pub const ALL: [Self; 2] = [Self::Address, Self::Rate];

    /// Name of the policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address_limit",
            Self::Rate => "rate_limit",
        }
    }
}
