//! Public keys and secrets as JSON.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use serde::Deserialize;

use super::key::{SignatureAlgorithm, VerificationKey, decode_base64url, from_der, is_long_enough};

/// The used members of a JSON Web Key (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
pub(crate) struct Jwk {
    kty: String,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl Jwk {
    pub(super) fn read(&self, allowed: &[SignatureAlgorithm], private: bool) -> Option<Vec<VerificationKey>> {
        if !self.is_for_signatures() {
            return None;
        }
        // The key's own `alg` restricts it further. If it is unknown or not allowed, the key is unusable.
        let own = match &self.alg {
            None => None,
            Some(name) => {
                Some(SignatureAlgorithm::from_name(name).filter(|own| allowed.is_empty() || allowed.contains(own))?)
            }
        };
        let own = own.as_slice();
        let allowed = if own.is_empty() { allowed } else { own };
        let kid = self.kid.as_deref();
        if self.kty == "oct" {
            return if private { self.secrets(kid, allowed) } else { None };
        }
        from_der(kid, &self.public_key()?, allowed).ok()
    }

    /// Returns the key for this algorithm, if it is a public key for it.
    pub(crate) fn public(&self, algorithm: SignatureAlgorithm) -> Option<VerificationKey> {
        if !self.is_for_signatures() || self.alg.as_ref().is_some_and(|own| own != algorithm.name()) {
            return None;
        }
        let key = self.public_key()?;
        let fits = algorithm.is_rsa() == (self.kty == "RSA") && (!algorithm.is_rsa() || is_long_enough(&key));
        if fits { VerificationKey::public(None, algorithm, &key) } else { None }
    }

    /// Returns the thumbprint with SHA-256 (RFC 7638 section 3): of the members that make the key, in this order. None
    /// if they are not written in their only form.
    pub(crate) fn thumbprint(&self) -> Option<[u8; 32]> {
        // What is base64url needs no escapes.
        self.public_key()?;
        let member = |value: &Option<String>| value.clone().unwrap_or_default();
        let (crv, x) = (member(&self.crv), member(&self.x));
        let text = match self.kty.as_str() {
            "RSA" => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, member(&self.e), member(&self.n)),
            "EC" => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{}"}}"#, member(&self.y)),
            _ => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
        };
        digest(&SHA256, text.as_bytes()).as_ref().try_into().ok()
    }

    fn is_for_signatures(&self) -> bool {
        self.r#use.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"))
    }

    /// Returns the public key: DER of an RSA key, the point of an elliptic one.
    fn public_key(&self) -> Option<Vec<u8>> {
        let member = |value: &Option<String>| decode_base64url(value.as_deref()?);
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (member(&self.n)?, member(&self.e)?);
                let der = RsaPublicKeyComponents { n: &n[..], e: &e[..] }.as_der().ok()?;
                Some(der.as_ref().to_vec())
            }
            ("EC", Some(curve)) => {
                let width = match curve {
                    "P-256" => 32,
                    "P-384" => 48,
                    "P-521" => 66,
                    _ => return None,
                };
                let (x, y) = (member(&self.x)?, member(&self.y)?);
                (x.len() == width && y.len() == width).then(|| [&[4][..], &x[..], &y[..]].concat())
            }
            ("OKP", Some("Ed25519")) => member(&self.x),
            _ => None,
        }
    }

    fn secrets(&self, kid: Option<&str>, allowed: &[SignatureAlgorithm]) -> Option<Vec<VerificationKey>> {
        let bytes = decode_base64url(self.k.as_deref()?)?;
        let allowed = if allowed.is_empty() { &[SignatureAlgorithm::HS256] } else { allowed };
        Some(
            allowed
                .iter()
                .filter_map(|algorithm| VerificationKey::secret(kid.map(Into::into), *algorithm, &bytes))
                .collect(),
        )
    }
}
