//! A proof of possession: a JWT that the sender of a token has signed for one request (RFC 9449 section 4).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use pylae_core::location::canonical_address;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::confirmation::Thumbprint;
use crate::authentication::keys::{Jwk, SignatureAlgorithm, decode_base64url};
use crate::authentication::object::Object;
use crate::authentication::token::not_null;

/// Maximum bytes of `jti`.
const MAX_ID: usize = 256;
/// Members of a JWK that are secret (RFC 7518 sections 6.2.2, 6.3.2 and 6.4).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What a proof must be for.
pub(super) struct Expected<'a> {
    /// The key that the token is bound to.
    pub(super) key: &'a Thumbprint,
    pub(super) token: &'a [u8],
    pub(super) method: &'a [u8],
    /// As [`canonical_address`] writes it.
    pub(super) address: Option<&'a [u8]>,
    pub(super) algorithms: &'a [SignatureAlgorithm],
    /// When it was made at the earliest and at the latest, since the Unix epoch.
    pub(super) oldest: Duration,
    pub(super) newest: Duration,
}

/// What is left to do about a proof that fits: it must not have been used, and may need a nonce.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) id: String,
    pub(super) nonce: Option<String>,
    /// Since the Unix epoch.
    pub(super) issued: Duration,
}

/// Why a proof does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// It is of another key than the one that the token is bound to.
    Key,
    Proof(&'static str),
}

#[derive(Deserialize)]
struct ProofHeader {
    typ: String,
    alg: String,
    jwk: Map<String, Value>,
    #[serde(default, deserialize_with = "not_null")]
    crit: Option<Value>,
    #[serde(default, deserialize_with = "not_null")]
    b64: Option<Value>,
}

#[derive(Deserialize)]
struct ProofClaims {
    jti: String,
    htm: String,
    htu: String,
    iat: f64,
    #[serde(default, deserialize_with = "not_null")]
    ath: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    nonce: Option<String>,
}

/// Verifies a proof: steps 2 to 9 and 11 to 12 of RFC 9449 section 4.3.
pub(super) fn verify(text: &[u8], expected: &Expected<'_>) -> Result<Proof, Mismatch> {
    let text = std::str::from_utf8(text).map_err(|_| NOT_A_PROOF)?;
    let (message, signature) = text.rsplit_once('.').ok_or(NOT_A_PROOF)?;
    let (header, payload) = message.split_once('.').ok_or(NOT_A_PROOF)?;
    let decoded = |part: &str| decode_base64url(part).ok_or(NOT_A_PROOF);
    let (header, payload, signature) = (decoded(header)?, decoded(payload)?, decoded(signature)?);
    let Object::<ProofHeader>(header) = serde_json::from_slice(&header).map_err(|_| NOT_A_PROOF)?;
    if header.typ != "dpop+jwt" {
        return Err(Mismatch::Proof("the proof's type (typ) is not dpop+jwt"));
    }
    if header.crit.is_some() || header.b64.is_some() {
        return Err(Mismatch::Proof("the proof needs an extension that is not known here"));
    }
    let algorithm = SignatureAlgorithm::from_name(&header.alg).filter(|known| expected.algorithms.contains(known));
    let algorithm = algorithm.ok_or(Mismatch::Proof("the proof's algorithm is not accepted"))?;
    if PRIVATE_MEMBERS.iter().any(|name| header.jwk.contains_key(*name)) {
        return Err(Mismatch::Proof("the proof shows a private key"));
    }
    let Object::<Jwk>(jwk) = serde_json::from_value(Value::Object(header.jwk)).map_err(|_| NO_KEY)?;
    if jwk.thumbprint().ok_or(NO_KEY)? != *expected.key {
        return Err(Mismatch::Key);
    }
    let Object::<ProofClaims>(claims) = serde_json::from_slice(&payload).map_err(|_| NOT_A_PROOF)?;
    let issued = check(&claims, expected).map_err(Mismatch::Proof)?;
    if !jwk.public(algorithm).ok_or(NO_KEY)?.verifies(message.as_bytes(), &signature) {
        return Err(Mismatch::Proof("the proof's signature does not match"));
    }
    Ok(Proof { id: claims.jti, nonce: claims.nonce, issued })
}

const NOT_A_PROOF: Mismatch = Mismatch::Proof("the proof is no JWT with typ, alg and jwk, and jti, htm, htu and iat");
const NO_KEY: Mismatch = Mismatch::Proof("the proof's key is not one for its algorithm");

/// Checks what the proof says that it is for. Returns when it was made.
fn check(claims: &ProofClaims, expected: &Expected<'_>) -> Result<Duration, &'static str> {
    if claims.jti.is_empty() || claims.jti.len() > MAX_ID {
        return Err("the proof's id (jti) is empty or too long");
    }
    if claims.htm.as_bytes() != expected.method {
        return Err("the proof is for another method (htm)");
    }
    let address = canonical_address(claims.htu.as_bytes());
    if address.is_none() || address.as_deref() != expected.address {
        return Err("the proof is for another address (htu)");
    }
    let issued = Duration::try_from_secs_f64(claims.iat).map_err(|_| "the proof's time (iat) is no time")?;
    if issued < expected.oldest {
        return Err("the proof is too old (iat)");
    }
    if issued > expected.newest {
        return Err("the proof is from the future (iat)");
    }
    let hash = claims.ath.as_deref().ok_or("the proof is for no token: it has no ath")?;
    if decode_base64url(hash).as_deref() != Some(digest(&SHA256, expected.token).as_ref()) {
        return Err("the proof is for another token (ath)");
    }
    Ok(issued)
}

#[cfg(test)]
mod tests;
