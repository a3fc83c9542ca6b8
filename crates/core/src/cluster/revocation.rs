//! One revocation.

use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};

use crate::request::hex;

/// What to revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked<'a> {
    /// The token with this `jti`.
    Token(&'a str),
    /// All credentials issued to this user so far.
    User(&'a str),
}

/// Names what is revoked by 128 bits of its SHA-256. So the memory for it does not depend on the length of names, and
/// the store has no names in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevokedName {
    /// The `jti` of a token.
    Token(u128),
    /// A user.
    User(u128),
}

/// A revocation in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What is revoked.
    pub name: RevokedName,
    /// Credentials issued in this second or earlier are revoked, in seconds since the Unix epoch. Has a meaning for
    /// users only; 0 for tokens.
    pub since: u64,
    /// When the revocation ends, in milliseconds since the Unix epoch.
    pub until: u64,
}

impl From<Revoked<'_>> for RevokedName {
    fn from(what: Revoked<'_>) -> Self {
        match what {
            Revoked::Token(id) => Self::Token(shorten(id)),
            Revoked::User(id) => Self::User(shorten(id)),
        }
    }
}

impl RevokedName {
    /// Returns the name as the store has it: `token:` or `user:`, and 32 hex digits.
    pub fn text(self) -> String {
        let (kind, bits) = match self {
            Self::Token(bits) => ("token:", bits),
            Self::User(bits) => ("user:", bits),
        };
        let digits = hex::digits(bits);
        kind.chars().chain(digits.iter().map(|digit| char::from(*digit))).collect()
    }
}

impl FromStr for RevokedName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, digits) = text.split_once(':').ok_or(())?;
        let bits = u128::from_str_radix(digits, 16).map_err(|_| ())?;
        match kind {
            "token" => Ok(Self::Token(bits)),
            "user" => Ok(Self::User(bits)),
            _ => Err(()),
        }
    }
}

impl Revocation {
    /// Returns what the live set has as a member; its score is `until`.
    pub fn member(&self) -> String {
        format!("{}:{}", self.name.text(), self.since)
    }

    /// Reads a member of the live set and its score. Returns None for what a later version has written.
    pub fn read(member: &[u8], until: u64) -> Option<Self> {
        let (name, since) = std::str::from_utf8(member).ok()?.rsplit_once(':')?;
        Some(Self { name: name.parse().ok()?, since: since.parse().ok()?, until })
    }
}

/// Returns 128 bits of the SHA-256 of `text`.
fn shorten(text: &str) -> u128 {
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..16]);
    u128::from_be_bytes(bits)
}
