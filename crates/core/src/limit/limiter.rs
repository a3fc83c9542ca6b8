//! The policies that limit.

/// Policies that limit rates.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// Before authentication.
    Address,
    /// Behind it.
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
