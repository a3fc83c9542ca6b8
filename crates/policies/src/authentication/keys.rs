//! Keys that verify tokens. Each key is bound to one algorithm when it is parsed; a token's `alg` is only compared.

mod jwk;
mod key;

use pylae_core::Problem;
use serde::{Deserialize, Serialize};

use super::object::Object;
pub(super) use jwk::Jwk;
pub(super) use key::{SignatureAlgorithm, decode_base64url};
use key::{VerificationKey, from_der};

/// Maximum number of keys in a set.
const MAX_KEYS: usize = 100;

/// Where keys come from, as in the plan.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "from", content = "value", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum KeyConfig {
    /// Shared secrets, any of which may sign.
    Secret(Vec<String>),
    /// Public keys in PEM (`PUBLIC KEY`, `RSA PUBLIC KEY`), one or more in each text.
    Pem(Vec<String>),
    /// A JWK set (RFC 7517 section 5) as JSON text.
    Jwks(String),
    /// A JWK set at this URL, fetched periodically.
    Url(String),
}

/// The result of checking a signature against a set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyMatch {
    /// A key verifies the signature.
    Verified,
    /// The set has a key with this `kid`, but not for this algorithm.
    WrongAlgorithm,
    /// No key is for this algorithm, and the token names no key of the set. Another set might have one.
    NoKeyForAlgorithm,
    /// The set has no key with this `kid`.
    UnknownKey,
    /// The key with this `kid` does not verify the signature.
    Mismatch,
    /// No candidate verifies the signature, and the token names none of them. Another set might have the key.
    NoKeyVerifies,
}

/// A set of keys.
#[derive(Default)]
pub(super) struct Keys(Vec<VerificationKey>);

impl Keys {
    /// Selects keys by the token's header and verifies the signature with them.
    pub(super) fn check(&self, algorithm: &str, kid: Option<&str>, message: &[u8], signature: &[u8]) -> KeyMatch {
        let mut candidates = self.0.iter().filter(|key| key.matches(algorithm, kid)).peekable();
        let knows_kid = || kid.is_some() && self.0.iter().any(|key| key.kid.as_deref() == kid);
        if candidates.peek().is_none() {
            return if !self.0.iter().any(|key| key.accepts_kid(kid)) {
                KeyMatch::UnknownKey
            } else if knows_kid()
                || SignatureAlgorithm::from_name(algorithm).is_none_or(|known| known.public().is_none())
            {
                KeyMatch::WrongAlgorithm
            } else {
                KeyMatch::NoKeyForAlgorithm
            };
        }
        if candidates.any(|key| key.verifies(message, signature)) {
            KeyMatch::Verified
        } else if knows_kid() {
            KeyMatch::Mismatch
        } else {
            KeyMatch::NoKeyVerifies
        }
    }

    /// Creates keys from secrets, for each of the `allowed` algorithms (HS256 if empty).
    pub(super) fn from_secrets(secrets: &[String], allowed: &[SignatureAlgorithm]) -> Result<Self, Vec<Problem>> {
        let allowed = if allowed.is_empty() { &[SignatureAlgorithm::HS256] } else { allowed };
        if let Some(wrong) = allowed.iter().find(|algorithm| algorithm.hmac().is_none()) {
            let text = format!("{} needs a public key, not a secret", wrong.name());
            return Err(vec![Problem::at("algorithms", text)]);
        }
        let mut keys = Vec::new();
        for (index, secret) in secrets.iter().enumerate() {
            if secret.is_empty() {
                return Err(vec![Problem::at(format!("keys.value[{index}]"), "the secret is empty")]);
            }
            keys.extend(
                allowed.iter().filter_map(|algorithm| VerificationKey::secret(None, *algorithm, secret.as_bytes())),
            );
        }
        Self::non_empty(keys, "keys", "there is no secret")
    }

    /// Parses public keys in PEM, for those of the `allowed` algorithms that fit each key (its default one if empty).
    pub(super) fn from_pem(texts: &[String], allowed: &[SignatureAlgorithm]) -> Result<Self, Vec<Problem>> {
        let mut keys = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let at = format!("keys.value[{index}]");
            let blocks = pem::parse_many(text).map_err(|_| vec![Problem::at(&at, "this is not PEM")])?;
            if blocks.is_empty() {
                return Err(vec![Problem::at(at, "this is not PEM: it has no `-----BEGIN PUBLIC KEY-----`")]);
            }
            for block in blocks {
                if !matches!(block.tag(), "PUBLIC KEY" | "RSA PUBLIC KEY") {
                    let text = format!("this is a {}, and a PUBLIC KEY is needed", block.tag());
                    return Err(vec![Problem::at(at, text)]);
                }
                keys.extend(from_der(None, block.contents(), allowed).map_err(|why| vec![Problem::at(&at, why)])?);
            }
        }
        Self::non_empty(keys, "keys", "there is no key")
    }

    /// Parses a JWK set. Skips keys that are not for signatures or of an unknown kind (RFC 7517 section 5). Secrets are
    /// accepted only from a `private` set, never from a fetched one.
    pub(super) fn from_jwks(text: &[u8], allowed: &[SignatureAlgorithm], private: bool) -> Result<Self, String> {
        let Object::<JwkSet>(set) = serde_json::from_slice(text).map_err(|_| "this is not a JWK set".to_owned())?;
        if set.keys.len() > MAX_KEYS {
            return Err(format!("the JWK set has more than {MAX_KEYS} keys"));
        }
        let read = |jwk: serde_json::Value| -> Vec<VerificationKey> {
            let Ok(Object(jwk)) = serde_json::from_value::<Object<Jwk>>(jwk) else { return Vec::new() };
            jwk.read(allowed, private).unwrap_or_default()
        };
        let keys: Vec<VerificationKey> = set.keys.into_iter().flat_map(read).collect();
        if keys.is_empty() { Err("the JWK set has no key that can be used".to_owned()) } else { Ok(Self(keys)) }
    }

    fn non_empty(keys: Vec<VerificationKey>, at: &str, otherwise: &str) -> Result<Self, Vec<Problem>> {
        if keys.is_empty() { Err(vec![Problem::at(at, otherwise)]) } else { Ok(Self(keys)) }
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}
