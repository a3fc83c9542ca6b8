//! What must hold of the verifier of proofs (RFC 9449) for any input. Called by the fuzz target and by
//! `crates/policies/tests`.
#![allow(clippy::expect_used, reason = "what fails here is a finding")]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pylae_core::{Exchange, Verdict};
use pylae_http::HeadLimits;
use pylae_policies::authentication::Authenticators;
use pylae_policies::{Chain, Parts, PolicyShared};
use serde_json::{Value, json};

const SECRET: &str = "the fuzzer does not know this secret, which is long";
const NOW: u64 = 1_700_000_000;
const LEEWAY: f64 = 30.0;
const MAX_AGE: f64 = 60.0;
/// The key of RFC 7515 appendix A.3.
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";

/// `data` as a proof that anybody may have made; and, split at its first line end, as header and claims of one that the
/// owner of the key has signed. `ATH` in claims is the hash of the token.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(!passes(text.lines().next().unwrap_or_default()), "nobody signed this");
    let Some((header, claims)) = text.split_once('\n') else { return };
    let claims = claims.replace("ATH", &URL_SAFE_NO_PAD.encode(digest(&SHA256, token().as_bytes())));
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
    let signature = pair().sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
    let proof = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    if !passes(&proof) {
        return;
    }
    // What passes says in objects that it is a proof of this key for this request, of now, and it passes once.
    let header: Value = serde_json::from_str(header).expect("a header");
    assert_eq!((&header["typ"], &header["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
    assert_eq!((&header["jwk"]["x"], &header["jwk"]["y"]), (&json!(X), &json!(Y)));
    assert!(header.get("crit").is_none() && header["jwk"].get("d").is_none());
    let claims: Value = serde_json::from_str(&claims).expect("claims");
    assert_eq!(claims["htm"], "GET");
    assert!(claims["htu"].as_str().is_some_and(|htu| htu.to_ascii_lowercase().starts_with("http://h")));
    let age = Duration::from_secs(NOW).as_secs_f64() - claims["iat"].as_f64().expect("a time");
    assert!((-LEEWAY..=MAX_AGE + LEEWAY).contains(&age), "{age}");
    assert!(claims["jti"].as_str().is_some_and(|id| (1..=256).contains(&id.len())));
    assert!(!passes(&proof), "used before");
}

fn passes(proof: &str) -> bool {
    let mut exchange = Exchange::new(0);
    let limits = HeadLimits { head: 1 << 20, target: 100, fields: 10 };
    let fields = format!("Authorization: DPoP {}\r\nDPoP: {proof}", token());
    exchange.request.buffer = format!("GET /a HTTP/1.1\r\n{fields}\r\n\r\n").into_bytes();
    if exchange.request.head.parse(&exchange.request.buffer, &limits) != Ok(true) {
        return false;
    }
    let (head, buffer) = (&exchange.request.head, &exchange.request.buffer);
    exchange.request.target.read(head.target.of(buffer), head.method).expect("a path");
    (exchange.request.host, exchange.request.host_len) = (b"h".to_vec(), 1);
    exchange.times.wall = Duration::from_secs(NOW);
    match chain().request(&mut exchange) {
        Verdict::Continue => true,
        Verdict::Reject(rejection) => {
            assert!(matches!(rejection.status, 400 | 401 | 503));
            assert!(exchange.request.user.is_none());
            false
        }
        _ => panic!("nothing to wait for"),
    }
}

fn pair() -> &'static EcdsaKeyPair {
    static PAIR: OnceLock<EcdsaKeyPair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let decode = |text| URL_SAFE_NO_PAD.decode(text).expect("base64url");
        let point = [&[4][..], &decode(X), &decode(Y)].concat();
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &decode(D), &point)
            .expect("a pair")
    })
}

/// A token that is bound to the key.
fn token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| {
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{X}","y":"{Y}"}}"#);
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()));
        let claims = json!({"sub": "7", "exp": NOW + 600, "cnf": {"jkt": thumbprint}}).to_string();
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes())))
    })
}

fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let auth = json!({"realm": "fuzz", "failure_limit": null, "authenticators": [{
            "kind": "jwt", "name": "jwt", "keys": {"from": "secret", "value": [SECRET]}, "algorithms": [],
            "refresh": 600.0, "max_size": 8192, "issuers": [], "audiences": [], "required_claims": ["exp"],
            "leeway": LEEWAY, "forward_credentials": true, "binding": {"certificate_required": false, "dpop": {
                "required": true, "announced": true, "max_age": MAX_AGE, "nonce": false, "nonce_secret": null,
                "algorithms": ["ES256", "RS256", "EdDSA"],
            }}, "claims": {"id": ["sub"], "email": [], "role": [], "permissions": []},
        }]});
        let shared = Arc::new(PolicyShared::new(1));
        let auth = Authenticators::build(Some(&auth), &shared.identity).expect("authenticators");
        let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
        let config = json!({"authenticators": ["jwt"], "required": true});
        Chain::build(&BTreeMap::from([("authentication".to_owned(), config)]), &parts).expect("a chain")
    })
}
