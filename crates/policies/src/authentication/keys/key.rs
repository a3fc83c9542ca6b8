//! A key that verifies signatures, and the algorithm that it is for.

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Minimum bits of an RSA modulus (RFC 7518 section 3.3).
const MIN_RSA_BITS: usize = 2048;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1). `none` is not supported.
#[allow(clippy::upper_case_acronyms)] // spelt as in the registry
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SignatureAlgorithm {
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
    pub(crate) fn name(self) -> &'static str {
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

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(crate) fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            HS256 => Some(hmac::HMAC_SHA256),
            HS384 => Some(hmac::HMAC_SHA384),
            HS512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    pub(crate) fn public(self) -> Option<&'static dyn VerificationAlgorithm> {
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
    pub(crate) fn is_public(self) -> bool {
        self.public().is_some()
    }

    pub(crate) fn is_rsa(self) -> bool {
        matches!(self, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
    }
}

/// A key and its algorithm.
pub(crate) struct VerificationKey {
    pub(super) kid: Option<Box<str>>,
    algorithm: SignatureAlgorithm,
    material: Material,
}

enum Material {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl VerificationKey {
    pub(crate) fn secret(kid: Option<Box<str>>, algorithm: SignatureAlgorithm, bytes: &[u8]) -> Option<Self> {
        let material = Material::Secret(Box::new(hmac::Key::new(algorithm.hmac()?, bytes)));
        (!bytes.is_empty()).then_some(Self { kid, algorithm, material })
    }

    /// Returns None if `bytes` are not a key for `algorithm`.
    pub(crate) fn public(kid: Option<Box<str>>, algorithm: SignatureAlgorithm, bytes: &[u8]) -> Option<Self> {
        let parsed = ParsedPublicKey::new(algorithm.public()?, bytes).ok()?;
        Some(Self { kid, algorithm, material: Material::Public(parsed) })
    }

    /// Returns true if the key fits a token with this header. A key without `kid` fits every `kid`.
    pub(crate) fn matches(&self, algorithm: &str, kid: Option<&str>) -> bool {
        self.algorithm.name() == algorithm && self.accepts_kid(kid)
    }

    pub(crate) fn accepts_kid(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (Some(own), Some(wanted)) => **own == *wanted,
            _ => true,
        }
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// Returns true for an RSA key, in DER, of enough bits.
pub(super) fn is_long_enough(der: &[u8]) -> bool {
    PublicEncryptingKey::from_der(der).is_ok_and(|key| key.key_size_bits() >= MIN_RSA_BITS)
}

/// Returns one key per algorithm of `allowed` that the public key in DER fits.
pub(super) fn from_der(
    kid: Option<&str>,
    der: &[u8],
    allowed: &[SignatureAlgorithm],
) -> Result<Vec<VerificationKey>, String> {
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

/// Decodes base64url without padding. Only the canonical encoding is accepted.
pub(crate) fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
