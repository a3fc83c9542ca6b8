//! What must hold of session cookies for any input. Called by the fuzz target and by `crates/policies/tests`.
#![allow(clippy::expect_used, reason = "what fails here is a finding")]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pylae_core::request::session::sealer::{PurposeSealer, Sealer};
use pylae_core::{Exchange, User, Verdict};
use pylae_http::HeadLimits;
use pylae_policies::authentication::Authenticators;
use pylae_policies::{Chain, Parts, PolicyShared};
use serde_json::{Value, json};

const SECRET: &str = "the fuzzer does not know this secret, which is long";
const NOW: u64 = 1_700_000_000;

/// `data` as a cookie that anybody may have made, and as what was sealed with the right secret.
pub(crate) fn check(data: &[u8]) {
    assert!(ask(data).is_none(), "nobody sealed this");
    let (session, attempt) = sealers();
    let Ok(cookie) = session.seal(data) else { return };
    assert_eq!(session.open(cookie.as_bytes()).as_deref(), Ok(data));
    let Some(user) = ask(cookie.as_bytes()) else { return };
    // Whoever got in has an object, for a user that instances can be told of, in time.
    let members: Value = serde_json::from_slice(data).expect("JSON");
    assert!(members.is_object() && cookie.len() <= 1024);
    assert!(members["x"].as_u64() > Some(NOW) && members["n"].as_u64() > Some(NOW));
    assert!(!user.id.is_empty());
    for told in [&user.id, &user.role, &user.email] {
        assert!(told.trim() == told && !told.contains(['\r', '\n', '\0']));
    }
    let other = attempt.seal(data).expect("as long as the other");
    assert!(ask(other.as_bytes()).is_none());
    for place in [0, 4, 12, cookie.len() / 2, cookie.len() - 1] {
        let mut changed = cookie.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        assert!(ask(&changed).is_none());
    }
}

fn ask(cookie: &[u8]) -> Option<Arc<User>> {
    let mut exchange = Exchange::new(0);
    let limits = HeadLimits { head: 1 << 20, target: 100, fields: 10 };
    exchange.request.buffer = [b"GET / HTTP/1.1\r\nCookie: a=1; s=".as_slice(), cookie, b"\r\n\r\n"].concat();
    if exchange.request.head.parse(&exchange.request.buffer, &limits) != Ok(true) {
        return None;
    }
    exchange.times.wall = Duration::from_secs(NOW);
    match chain().request(&mut exchange) {
        Verdict::Continue => exchange.request.user,
        Verdict::Reject(rejection) => {
            // 503: nobody can be asked here about a session that Python has to look at.
            assert!(matches!(rejection.status, 400 | 401 | 503));
            assert!(exchange.request.user.is_none());
            None
        }
        _ => panic!("nothing to wait for"),
    }
}

fn sealers() -> &'static (PurposeSealer, PurposeSealer) {
    static SEALERS: OnceLock<(PurposeSealer, PurposeSealer)> = OnceLock::new();
    SEALERS.get_or_init(|| {
        let sealer = Sealer::new(&[SECRET]).expect("a long secret");
        let made = |purpose| sealer.for_purpose(purpose).expect("any purpose");
        (made("session oidc"), made("attempt oidc"))
    })
}

fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let call = json!({
            "hook": 0, "name": "o", "on": "authenticate", "run": "loop", "timeout": 15.0, "on_error": "fail",
            "body": null, "budget": null, "error_body": null, "malformed": false,
        });
        let auth = json!({"realm": "fuzz", "failure_limit": null, "authenticators": [{
            "kind": "oidc", "name": "oidc", "secrets": [SECRET], "cookies": {"http": "s", "https": "s"},
            "origin": null, "call": call,
        }]});
        let shared = Arc::new(PolicyShared::new(1));
        let auth = Authenticators::build(Some(&auth), &shared.identity).expect("authenticators");
        let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
        let config = json!({"authenticators": ["oidc"], "required": true});
        Chain::build(&BTreeMap::from([("authentication".to_owned(), config)]), &parts).expect("a chain")
    })
}
