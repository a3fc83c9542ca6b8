//! What must hold of the verifier of tokens for any input. Called by the fuzz target and by `crates/policies/tests`.
#![allow(clippy::expect_used, reason = "what fails here is a finding")]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pylae_core::{Exchange, User, Verdict};
use pylae_http::HeadLimits;
use pylae_policies::authentication::Authenticators;
use pylae_policies::{Chain, Parts, PolicyShared};
use serde_json::json;

const SECRET: &str = "the fuzzer does not know this secret, which is long";
const NOW: u64 = 1_700_000_000;
const LEEWAY: f64 = 30.0;

/// `data` as a token that anybody may have made; and, split at its first line end, as header and claims of one that was
/// signed with the right secret.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(ask(text.lines().next().unwrap_or_default()).is_none(), "nobody signed this");
    let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, text));
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    let Some(user) = ask(&format!("{message}.{signature}")) else { return };
    // Whoever got in said so in an object, with the one algorithm, for a user that instances can be told of, in time.
    let header: serde_json::Value = serde_json::from_str(header).expect("a header");
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none());
    assert!(user.claims["exp"].as_f64().is_some_and(|exp| exp + LEEWAY > Duration::from_secs(NOW).as_secs_f64()));
    assert!(!user.id.is_empty());
    for told in [&user.id, &user.role, &user.email] {
        assert!(told.trim() == told && !told.contains(['\r', '\n', '\0']));
    }
    assert!(ask(&format!("{message}.{}", &signature[1..])).is_none());
}

fn ask(token: &str) -> Option<Arc<User>> {
    let mut exchange = Exchange::new(0);
    let limits = HeadLimits { head: 1 << 20, target: 100, fields: 10 };
    exchange.request.buffer = format!("GET / HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes();
    if exchange.request.head.parse(&exchange.request.buffer, &limits) != Ok(true) {
        return None;
    }
    exchange.times.wall = Duration::from_secs(NOW);
    match chain().request(&mut exchange) {
        Verdict::Continue => exchange.request.user,
        Verdict::Reject(rejection) => {
            assert!(matches!(rejection.status, 400 | 401));
            assert!(exchange.request.user.is_none());
            None
        }
        _ => panic!("nothing to wait for"),
    }
}

fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let auth = json!({"realm": "fuzz", "failure_limit": null, "authenticators": [{
            "kind": "jwt", "name": "jwt", "keys": {"from": "secret", "value": [SECRET]}, "algorithms": [],
            "refresh": 600.0, "max_size": 8192, "issuers": [], "audiences": [], "required_claims": ["exp"],
            "leeway": LEEWAY, "forward_credentials": true, "binding": {"certificate_required": false, "dpop": {
                "required": false, "announced": false, "max_age": 60.0, "nonce": false, "nonce_secret": null,
                "algorithms": ["ES256"],
            }}, "claims": {
                "id": ["user_id", "sub"], "email": ["email"], "role": ["role", "realm_access.roles"],
                "permissions": ["permissions", "scope"],
            },
        }]});
        let shared = Arc::new(PolicyShared::new(1));
        let auth = Authenticators::build(Some(&auth), &shared.identity).expect("authenticators");
        let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
        let config = json!({"authenticators": ["jwt"], "required": true});
        Chain::build(&BTreeMap::from([("authentication".to_owned(), config)]), &parts).expect("a chain")
    })
}
