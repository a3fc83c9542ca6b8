//! Which keys a token is bound to: its claim `cnf` (RFC 7800).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::authentication::keys::decode_base64url;

/// A SHA-256 hash.
pub(super) type Thumbprint = [u8; 32];

/// The keys that the sender of a token must have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Of the key that signs proofs (`jkt`, RFC 9449 section 6.1).
    pub(super) key: Option<Thumbprint>,
    /// Of the client's certificate (`x5t#S256`, RFC 8705 section 3.1).
    pub(super) certificate: Option<Thumbprint>,
}

impl Binding {
    /// Reads the claim `cnf`; None if the token is not bound. A token that is bound in no way that is understood here
    /// must be refused. Members of `cnf` beside one that is understood are ignored (RFC 7800 section 3.1).
    pub(crate) fn of(claims: &Map<String, Value>) -> Result<Option<Arc<Self>>, &'static str> {
        let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
        let members = confirmation.as_object().ok_or(UNKNOWN_BINDING)?;
        let thumbprint = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(value) => {
                let bytes = value.as_str().and_then(decode_base64url).ok_or(UNKNOWN_BINDING)?;
                Thumbprint::try_from(bytes).map(Some).map_err(|_| UNKNOWN_BINDING)
            }
        };
        let binding = Self { key: thumbprint("jkt")?, certificate: thumbprint("x5t#S256")? };
        if binding.key.is_none() && binding.certificate.is_none() {
            return Err(UNKNOWN_BINDING);
        }
        Ok(Some(Arc::new(binding)))
    }
}

const UNKNOWN_BINDING: &str = "the token is bound (cnf) in a way that is not understood here";
