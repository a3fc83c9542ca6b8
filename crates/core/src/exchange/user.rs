//! The authenticated user, as authenticators and policies see it.

use serde_json::{Map, Value};

/// The user that sends the request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    /// Stable identifier.
    pub id: String,
    /// Mail address, possibly empty.
    pub email: String,
    /// Role, possibly empty; several are separated by commas.
    pub role: String,
    /// Permissions of the user.
    pub permissions: Vec<String>,
    /// All claims of the credential.
    pub claims: Map<String, Value>,
    /// Kind of the authenticator that verified the credential.
    pub via: &'static str,
}

/// Finds a claim by its name, or by a dotted path of names.
pub fn find_claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find_claim(claims.get(first)?.as_object()?, rest)
    })
}
