//! Who is asking, as authenticators and policies see it.

/// Who is asking.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    /// Stable identifier.
    pub id: String,
    /// Mail address, possibly empty.
    pub email: String,
    /// Role, possibly empty; several are separated by commas.
    pub role: String,
    /// What the user may do.
    pub permissions: Vec<String>,
    /// Everything else the credential says.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// Kind of the authenticator that vouches for all this.
    pub via: &'static str,
}
