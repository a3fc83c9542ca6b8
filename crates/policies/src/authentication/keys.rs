//! Keys that verify tokens. Each key is bound to one algorithm when it is parsed; a token's `alg` is only compared.

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pylae_core::Problem;
use serde::{Deserialize, Serialize};

use super::object::Object;

mod jwk;

pub(super) use jwk::Jwk;

/// Maximum number of keys in a set.
const MAX_KEYS: usize = 100;
/// Minimum bits of an RSA modulus (RFC 7518 section 3.3).
const MIN_RSA_BITS: usize = 2048;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1). `none` is not supported.
#[allow(clippy::upper_case_acronyms)] // spelt as in the registry
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SignatureAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// ECDSA on P-521 with SHA-512.
    ES512,
    /// Ed25519.
    EdDSA,
}

use SignatureAlgorithm::{ES256, ES384, ES512, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};

const ALL: [SignatureAlgorithm; 13] =
    [HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA];

impl SignatureAlgorithm {
    /// Returns the registered name.
    pub(super) fn name(self) -> &'static str {
        match self {
            HS256 => "HS256",
            HS384 => "HS384",
            HS512 => "HS512",
            RS256 => "RS256",
            RS384 => "RS384",
            RS512 => "RS512",
            PS256 => "PS256",
            PS384 => "PS384",
            PS512 => "PS512",
            ES256 => "ES256",
            ES384 => "ES384",
            ES512 => "ES512",
            EdDSA => "EdDSA",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            HS256 => Some(hmac::HMAC_SHA256),
            HS384 => Some(hmac::HMAC_SHA384),
            HS512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    fn public(self) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match self {
            HS256 | HS384 | HS512 => return None,
            RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            PS256 => &signature::RSA_PSS_2048_8192_SHA256,
            PS384 => &signature::RSA_PSS_2048_8192_SHA384,
            PS512 => &signature::RSA_PSS_2048_8192_SHA512,
            ES256 => &signature::ECDSA_P256_SHA256_FIXED,
            ES384 => &signature::ECDSA_P384_SHA384_FIXED,
            ES512 => &signature::ECDSA_P521_SHA512_FIXED,
            EdDSA => &signature::ED25519,
        })
    }

    /// Returns true if it verifies with a public key.
    pub(super) fn is_public(self) -> bool {
        self.public().is_some()
    }

    fn is_rsa(self) -> bool {
        matches!(self, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
    }
}

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

/// A key and its algorithm.
pub(super) struct VerificationKey {
    kid: Option<Box<str>>,
    algorithm: SignatureAlgorithm,
    material: Material,
}

enum Material {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl VerificationKey {
    fn secret(kid: Option<Box<str>>, algorithm: SignatureAlgorithm, bytes: &[u8]) -> Option<Self> {
        let material = Material::Secret(Box::new(hmac::Key::new(algorithm.hmac()?, bytes)));
        (!bytes.is_empty()).then_some(Self { kid, algorithm, material })
    }

    /// Returns None if `bytes` are not a key for `algorithm`.
    fn public(kid: Option<Box<str>>, algorithm: SignatureAlgorithm, bytes: &[u8]) -> Option<Self> {
        let parsed = ParsedPublicKey::new(algorithm.public()?, bytes).ok()?;
        Some(Self { kid, algorithm, material: Material::Public(parsed) })
    }

    /// Returns true if the key fits a token with this header. A key without `kid` fits every `kid`.
    fn matches(&self, algorithm: &str, kid: Option<&str>) -> bool {
        self.algorithm.name() == algorithm && self.accepts_kid(kid)
    }

    fn accepts_kid(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (Some(own), Some(wanted)) => **own == *wanted,
            _ => true,
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
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
        let allowed = if allowed.is_empty() { &[HS256] } else { allowed };
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

/// Returns true for an RSA key, in DER, of enough bits.
fn is_long_enough(der: &[u8]) -> bool {
    PublicEncryptingKey::from_der(der).is_ok_and(|key| key.key_size_bits() >= MIN_RSA_BITS)
}

/// Returns one key per algorithm of `allowed` that the public key in DER fits.
fn from_der(kid: Option<&str>, der: &[u8], allowed: &[SignatureAlgorithm]) -> Result<Vec<VerificationKey>, String> {
    let key = |algorithm: SignatureAlgorithm| VerificationKey::public(kid.map(Into::into), algorithm, der);
    let usual = [RS256, ES256, ES384, ES512, EdDSA].into_iter().find(|algorithm| key(*algorithm).is_some());
    let usual = usual.ok_or("this is not an RSA, P-256, P-384, P-521 or Ed25519 public key")?;
    if usual.is_rsa() && !is_long_enough(der) {
        return Err(format!("an RSA key needs at least {MIN_RSA_BITS} bits"));
    }
    if allowed.is_empty() {
        return Ok(key(usual).into_iter().collect());
    }
    let keys: Vec<VerificationKey> = allowed.iter().filter_map(|algorithm| key(*algorithm)).collect();
    if keys.is_empty() {
        Err(format!("the key is not for any of `algorithms`; it is for {}", usual.name()))
    } else {
        Ok(keys)
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

/// Decodes base64url without padding. Only the canonical encoding is accepted.
pub(super) fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
