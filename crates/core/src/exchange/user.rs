//! The authenticated user, as authenticators and policies see it.

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
    /// All other claims of the credential.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// Kind of the authenticator that verified the credential.
    pub via: &'static str,
}
