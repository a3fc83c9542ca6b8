//! Which credentials the authenticators accept and refuse.

mod bound;
mod credentials;
mod functions;
mod hostile;
mod key_sets;
mod remembered;
mod services;
mod sessions;
mod vectors;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pylae_core::cluster::Revoked;
use pylae_core::limit::Clocks;
use pylae_core::{Exchange, Instant, Rejection, Verdict};
use pylae_http::HeadLimits;
use serde_json::{Value, json};

use super::Authenticators;
use crate::{Chain, Parts, PolicyShared};

/// The time of all requests, in seconds since the Unix epoch.
const NOW: u64 = 1_700_000_000;
const SECRET: &str = "a secret of more than thirty-two bytes, for tests";

fn clocks(wall: Duration) -> Clocks {
    Clocks { now: Instant::from_nanos(1), wall }
}

/// The keys and tokens that the Python tests also use.
fn tokens() -> Value {
    serde_json::from_str(include_str!("../../../../tests/support/tokens.json")).unwrap()
}

/// Default `jwt` settings, with `more` on top.
fn jwt(keys: &Value, more: &Value) -> Value {
    let mut settings = json!({
        "kind": "jwt", "name": "jwt", "keys": keys, "algorithms": [], "refresh": 600.0, "max_size": 8192,
        "issuers": [], "audiences": [], "required_claims": ["exp"], "leeway": 30.0, "forward_credentials": true,
        "binding": {"certificate_required": false, "dpop": {
            "required": false, "announced": false, "max_age": 60.0, "nonce": false, "nonce_secret": null,
            "algorithms": ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"],
        }},
        "claims": {"id": ["user_id", "sub"], "email": ["email"], "role": ["role"], "permissions": ["permissions", "scope"]},
    });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

fn secret() -> Value {
    json!({"from": "secret", "value": [SECRET]})
}

fn auth(authenticators: &[Value]) -> Value {
    json!({"realm": "test", "failure_limit": null, "authenticators": authenticators})
}

/// Builds a chain with the authentication policy and these authenticators.
fn build(auth: &Value, shared: &Arc<PolicyShared>) -> Result<Chain, String> {
    let built = Authenticators::build(Some(auth), &shared.identity).map_err(|found| format!("{found:?}"))?;
    let names: Vec<&str> = built.list.iter().map(|one| one.name()).collect();
    let configs = BTreeMap::from([("authentication".to_owned(), json!({"authenticators": names, "required": true}))]);
    let parts = Parts { route: "r", service: "", params: &[], shared, auth: &built };
    Chain::build(&configs, &parts).map_err(|found| format!("{found:?}"))
}

fn chain(authenticators: &[Value]) -> Chain {
    build(&auth(authenticators), &Arc::new(PolicyShared::new(100))).unwrap()
}

fn request(target: &str, fields: &[&str]) -> Exchange {
    let mut exchange = Exchange::new(1024);
    let lines = fields.iter().fold(String::new(), |lines, field| lines + field + "\r\n");
    exchange.request.buffer = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes();
    let limits = HeadLimits { head: 1 << 22, target: 8192, fields: 100 };
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
    exchange
        .request
        .target
        .read(exchange.request.head.target.of(&exchange.request.buffer), exchange.request.head.method)
        .unwrap();
    exchange.times.wall = Duration::from_secs(NOW);
    exchange
}

fn bearer(token: &str) -> Exchange {
    request("/", &[&format!("Authorization: Bearer {token}")])
}

/// Runs a request that does not have to wait. Returns the user's id or the rejection.
fn ask(chain: &Chain, exchange: &mut Exchange) -> Result<String, Box<Rejection>> {
    user_or_rejection(chain.request(exchange), exchange)
}

fn user_or_rejection(verdict: Verdict, exchange: &Exchange) -> Result<String, Box<Rejection>> {
    match verdict {
        Verdict::Continue => Ok(exchange.request.user.as_ref().map(|user| user.id.clone()).unwrap_or_default()),
        Verdict::Reject(rejection) => Err(rejection),
        _ => panic!("neither passed nor refused"),
    }
}

/// Returns the user's id, or the message of the rejection.
fn who(chain: &Chain, exchange: &mut Exchange) -> Result<String, String> {
    ask(chain, exchange).map_err(|rejection| rejection.message.into_owned())
}

/// Polls a future once.
fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Builds a token of this exact header and payload, signed with HMAC.
fn signed(header: &str, payload: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", encode(header), encode(payload));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("{message}.{}", encode(hmac::sign(&key, message.as_bytes())))
}

fn token(claims: &Value) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string(), SECRET.as_bytes())
}
