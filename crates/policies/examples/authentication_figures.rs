//! Measures the cost of authentication: `cargo run --release -p pylae-policies --example authentication_figures`.
//!
//! Figures are microseconds for everything that `authentication` does for a request. `remembered` is a token that was
//! verified before, a session cookie that was opened before, or a credential for which a function has said whose it
//! is. `first sight` is a new one, which is opened or verified, and parsed. The fastest tenth of many rounds counts,
//! because other load on the machine can only slow a round down.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pylae_core::connection::certificate::Certificate;
use pylae_core::hook::Identified;
use pylae_core::request::session::sealer::Sealer;
use pylae_core::{Exchange, User, Verdict};
use pylae_http::HeadLimits;
use pylae_policies::authentication::{AskedFunction, Authenticators, FunctionEnd, FunctionResult, IdentityFunction};
use pylae_policies::{Chain, Parts, PolicyShared};
use serde_json::{Value, json};

const SECRET: &str = "a secret of more than thirty-two bytes, for figures";
/// When all requests come, in seconds since the Unix epoch.
const NOW: u64 = 1_750_000_000;
const ROUNDS: usize = 15;
const TURNS: u32 = 20_000;
const SIGHTS: usize = 300;

fn main() {
    let Ok(tokens) = serde_json::from_str::<Value>(include_str!("../../../tests/support/tokens.json")) else {
        panic!("tests/support/tokens.json is not JSON")
    };
    let mut kinds = vec![("HS256", json!({"from": "secret", "value": [SECRET]}), signed())];
    for name in ["ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"] {
        let entry = &tokens["signed"][name];
        let token = entry["token"].as_str().unwrap_or_default().to_owned();
        kinds.push((name, json!({"from": "pem", "value": [entry["pem"]]}), token));
    }
    for (name, keys, token) in &kinds {
        let chain = chain(name, keys);
        let mut exchange = request(token);
        let remembered = (0..ROUNDS).map(|_| turns(&chain, &mut exchange)).collect();
        let first = (0..SIGHTS).map(|_| first_sight(name, keys, token)).collect();
        let (remembered, first) = (fastest(remembered), fastest(first));
        println!("{name}, {} bytes: remembered {remembered:.2} µs, first sight {first:.1} µs", token.len());
    }
    bound(&kinds[0].1);
    let (name, keys, token) = &kinds[0];
    let shared = Arc::new(chain(name, keys));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (chain, mut exchange) = (Arc::clone(&shared), request(token));
            std::thread::spawn(move || fastest((0..ROUNDS).map(|_| turns(&chain, &mut exchange)).collect()))
        })
        .collect();
    for figure in threads.into_iter().filter_map(|thread| thread.join().ok()) {
        println!("{name}, one token on two threads at once: remembered {figure:.2} µs");
    }
    for (name, chain) in askers() {
        let mut exchange = request(token);
        let remembered = fastest((0..ROUNDS).map(|_| turns(&chain, &mut exchange)).collect());
        println!("{name}, {} bytes: remembered {remembered:.2} µs", token.len());
    }
    let cookie = format!("Cookie: theme=dark; pylae-oidc={}", session());
    let (chain, mut exchange) = (chain_of(&oidc()), request_with(&cookie));
    let remembered = fastest((0..ROUNDS).map(|_| turns(&chain, &mut exchange)).collect());
    let first = fastest((0..SIGHTS).map(|_| first_of(&chain_of(&oidc()), &cookie)).collect());
    println!("session, {} bytes: remembered {remembered:.2} µs, first sight {first:.1} µs", cookie.len());
}

/// Logins, whose cookies are opened here.
fn oidc() -> Value {
    json!({
        "kind": "oidc", "name": "oidc", "secrets": [SECRET], "origin": null,
        "cookies": {"http": "pylae-oidc", "https": "__Host-pylae-oidc"}, "call": {
            "hook": 0, "name": "f", "on": "authenticate", "run": "loop", "timeout": 15.0, "on_error": "fail",
            "body": null, "error_body": null, "budget": null, "malformed": false,
        },
    })
}

/// Seals a session of the same user as the others.
fn session() -> String {
    let members = json!({
        "i": "AAAAAAAAAAAAAAAAAAAAAA", "b": 1_700_000_000, "x": 4_102_444_800_u64, "n": 4_102_444_800_u64, "u": "42",
        "r": "customer", "e": "ada@example.com", "p": ["orders:read"], "c": {"tenant": "north", "locale": "de-AT"},
    });
    let sealer = Sealer::new(&[SECRET]).and_then(|sealer| sealer.for_purpose("session oidc"));
    sealer.and_then(|sealer| sealer.seal(members.to_string().as_bytes())).unwrap_or_else(|why| panic!("{why}"))
}

/// Prints the figures of tokens that are bound to keys. A proof is good for one request, so each has one of its own.
fn bound(keys: &Value) {
    let chain = chain("HS256", keys);
    let Ok(pair) = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING) else { panic!("no key") };
    let point = pair.public_key().as_ref().to_vec();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let token = signed_with(&json!({"jkt": URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))}));
    let ath = URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
    let header = URL_SAFE_NO_PAD.encode(json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}).to_string());
    let proven = |number: usize| {
        let id = format!("{number:022}");
        let claims = json!({"jti": id, "htm": "GET", "htu": "http://h/", "iat": NOW, "ath": ath}).to_string();
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let Ok(signature) = pair.sign(&SystemRandom::new(), message.as_bytes()) else { panic!("no signature") };
        let proof = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        let mut exchange = request_with(&format!("Authorization: DPoP {token}\r\nDPoP: {proof}"));
        let start = Instant::now();
        ask(&chain, &mut exchange);
        start.elapsed().as_secs_f64() * 1e6
    };
    let first = proven(0);
    let remembered = fastest((1..=10 * SIGHTS).map(proven).collect());
    println!("DPoP ES256, {} bytes: remembered {remembered:.1} µs, first sight {first:.1} µs", token.len());
    let certificate = Certificate { thumbprint: [7; 32], not_after: Duration::MAX, ..Certificate::default() };
    let token = signed_with(&json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32])}));
    let mut exchange = request(&token);
    exchange.request.origin.certificate = Some(Arc::new(certificate));
    let remembered = fastest((0..ROUNDS).map(|_| turns(&chain, &mut exchange)).collect());
    println!("certificate-bound, {} bytes: remembered {remembered:.2} µs", token.len());
}

/// Knows the same user by every credential.
struct Knows;

impl IdentityFunction for Knows {
    fn ask(&self, mut exchange: Box<Exchange>) -> AskedFunction {
        let user = User { id: "42".to_owned(), ..User::default() };
        exchange.hook_visit().identified = Identified::User(Arc::new(user));
        AskedFunction::Ended(Box::new(FunctionResult { exchange, end: FunctionEnd::Continue }))
    }
}

/// Builds chains with those that ask somebody, by the field `Authorization`; `forward_auth` also by what the request
/// asks for.
fn askers() -> [(&'static str, Chain); 3] {
    let asking = |kind: &str, via: Value, key: Value| {
        let mut settings = json!({
            "kind": kind, "name": "asking", "via": via, "challenge": "Bearer", "key": key, "cache": 3600.0,
            "forward_credentials": true, "call": {
                "hook": 0, "name": "f", "on": "authenticate", "run": "worker", "timeout": 5.0, "on_error": "fail",
                "body": null, "error_body": null, "budget": null, "malformed": false,
            },
        });
        if kind == "introspection" {
            (settings["binding"], settings["leeway"]) = (unbound(), json!(30.0));
        }
        chain_of(&settings)
    };
    let decides = json!({"forward_auth": {"copy": ["x-team"], "reserved": ["x-team", "remote-user"]}});
    [
        ("function", asking("function", json!("function"), json!(["header:Authorization"]))),
        ("introspection", asking("introspection", json!("introspection"), json!(["bearer"]))),
        ("forward_auth", asking("function", decides, json!(["header:Authorization", "target"]))),
    ]
}

/// What tokens need not be bound to.
fn unbound() -> Value {
    json!({"certificate_required": false, "dpop": {
        "required": false, "announced": false, "max_age": 3600.0, "nonce": false, "nonce_secret": null,
        "algorithms": ["ES256"],
    }})
}

/// Builds a token with the same claims as the others.
fn signed() -> String {
    signed_with(&Value::Null)
}

/// Builds a token that is bound to a key, unless `confirmation` is null.
fn signed_with(confirmation: &Value) -> String {
    let mut claims = json!({
        "sub": "42", "role": "customer", "email": "ada@example.com", "permissions": ["orders:read"], "iat": 1_700_000_000,
        "exp": 4_102_444_800_u64,
    });
    if !confirmation.is_null() {
        claims["cnf"] = confirmation.clone();
    }
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes())))
}

fn chain(algorithm: &str, keys: &Value) -> Chain {
    chain_of(&json!({
        "kind": "jwt", "name": "jwt", "keys": keys, "algorithms": [algorithm], "refresh": 600.0, "max_size": 8192,
        "issuers": [], "audiences": [], "required_claims": ["exp"], "leeway": 30.0, "forward_credentials": true,
        "binding": unbound(),
        "claims": {"id": ["user_id", "sub"], "email": ["email"], "role": ["role"], "permissions": ["permissions"]},
    }))
}

fn chain_of(authenticator: &Value) -> Chain {
    let shared = Arc::new(PolicyShared::new(1000));
    let limit = json!({"limit": 30, "per": 60.0});
    let settings = json!({"realm": "figures", "failure_limit": limit, "authenticators": [authenticator]});
    let policy = json!({"authenticators": [authenticator["name"]], "required": true});
    let config = BTreeMap::from([("authentication".to_owned(), policy)]);
    let auth =
        Authenticators::build(Some(&settings), &shared.identity).unwrap_or_else(|problems| panic!("{problems:?}"));
    auth.connect(1, |_, _, _| Some(Arc::new(Knows) as Arc<dyn IdentityFunction>));
    let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
    Chain::build(&config, &parts).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn request(token: &str) -> Exchange {
    request_with(&format!("Authorization: Bearer {token}"))
}

fn request_with(fields: &str) -> Exchange {
    let mut exchange = Exchange::new(4096);
    let lines = "Host: h\r\nUser-Agent: figures\r\nAccept: */*\r\n";
    exchange.request.buffer = format!("GET / HTTP/1.1\r\n{lines}{fields}\r\n\r\n").into_bytes();
    let limits = HeadLimits { head: 65_536, target: 8192, fields: 100 };
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
    let raw = exchange.request.head.target.of(&exchange.request.buffer);
    assert_eq!(exchange.request.target.read(raw, exchange.request.head.method), Ok(()));
    exchange.request.host = b"h".to_vec();
    exchange.request.host_len = 1;
    exchange.times.wall = Duration::from_secs(NOW);
    exchange
}

fn ask(chain: &Chain, exchange: &mut Exchange) {
    exchange.entered = 0;
    exchange.request.user = None;
    assert!(matches!(chain.request(black_box(exchange)), Verdict::Continue));
}

/// Returns the microseconds per request with a cached token.
fn turns(chain: &Chain, exchange: &mut Exchange) -> f64 {
    let start = Instant::now();
    for _ in 0..TURNS {
        ask(chain, exchange);
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(TURNS)
}

/// Returns the microseconds of a request with a new token.
fn first_sight(name: &str, keys: &Value, token: &str) -> f64 {
    first_of(&chain(name, keys), &format!("Authorization: Bearer {token}"))
}

/// Returns the microseconds of the first request with a credential.
fn first_of(chain: &Chain, fields: &str) -> f64 {
    let mut exchange = request_with(fields);
    let start = Instant::now();
    ask(chain, &mut exchange);
    start.elapsed().as_secs_f64() * 1e6
}

fn fastest(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 10]
}
