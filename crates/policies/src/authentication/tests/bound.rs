//! Tokens that are bound to keys: `DPoP` (RFC 9449) and client certificates (RFC 8705 section 3).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use pylae_core::connection::certificate::Certificate;

use super::*;

/// The certificate of RFC 8705 appendix A, and the confirmation of its section 3.1.
const CERTIFICATE: &str = "MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAxODEyMzcwOVoXDTIyMDUwMjEyMz\
cwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ/Au08/coZwxS7LfA4v\
OLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwIDSQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOVbUlJSGQgjwD5\
vaUaKlLR50Q2DmFfQj1L+SY=";
const THUMBPRINT: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";
/// While that certificate was valid.
const VALID: u64 = 1_600_000_000;

/// Signs proofs.
struct Prover {
    pair: EcdsaKeyPair,
    jwk: Value,
}

impl Prover {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])});
        Self { pair, jwk }
    }

    /// RFC 7638 section 3.
    fn thumbprint(&self) -> String {
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, self.jwk["x"], self.jwk["y"]);
        encode(digest(&SHA256, text.as_bytes()))
    }

    /// A token of user 7 that is bound to the key.
    fn token(&self) -> String {
        token(&json!({"sub": "7", "exp": NOW + 600, "cnf": {"jkt": self.thumbprint()}}))
    }

    /// A proof for `GET http://h/` with these members instead of the usual ones; null leaves one out.
    fn proof(&self, token: &str, header: &Value, claims: &Value) -> String {
        let usual = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk});
        let ath = encode(digest(&SHA256, token.as_bytes()));
        let own = json!({"jti": "1", "htm": "GET", "htu": "http://h/", "iat": NOW, "ath": ath});
        let message = format!("{}.{}", encode(with(usual, header)), encode(with(own, claims)));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encode(signature))
    }
}

fn with(mut object: Value, changes: &Value) -> String {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
            value => object[name] = value.clone(),
        }
    }
    object.to_string()
}

/// A request with the proof, and with the host that proofs name.
fn proven(token: &str, proof: &str) -> Exchange {
    hosted(request("/", &[&format!("Authorization: DPoP {token}"), &format!("DPoP: {proof}")]))
}

fn hosted(mut exchange: Exchange) -> Exchange {
    exchange.request.host = b"h".to_vec();
    exchange.request.host_len = 1;
    exchange
}

fn settings(more: &Value) -> Value {
    let mut settings = jwt(&secret(), &json!({}));
    for (name, value) in more.as_object().unwrap() {
        settings["binding"]["dpop"][name] = value.clone();
    }
    settings
}

/// Returns the error of the first challenge, and what is wrong.
fn refusal(chain: &Chain, exchange: &mut Exchange) -> (String, String) {
    let rejection = ask(chain, exchange).expect_err("it was let in");
    assert_eq!(rejection.status, 401);
    let (name, challenge) = &rejection.headers[0];
    assert_eq!(name, "WWW-Authenticate");
    let error = challenge.split("error=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    (format!("{} {error}", challenge.split(' ').next().unwrap()), rejection.message.into_owned())
}

#[test]
fn a_proof_lets_its_token_in_once() {
    let (prover, chain) = (Prover::new(), chain(&[settings(&json!({}))]));
    let token = prover.token();
    for id in ["1", "2"] {
        let proof = prover.proof(&token, &json!({}), &json!({"jti": id}));
        assert_eq!(who(&chain, &mut proven(&token, &proof)), Ok("7".to_owned()));
        // The token is remembered; its proof is checked all the same (section 11.1).
        let again = ("DPoP invalid_dpop_proof".to_owned(), "the proof was used before".to_owned());
        assert_eq!(refusal(&chain, &mut proven(&token, &proof)), again);
    }
    let none = ("DPoP invalid_dpop_proof".to_owned(), "the request has no proof (DPoP) for its token".to_owned());
    assert_eq!(refusal(&chain, &mut request("/", &[&format!("Authorization: DPoP {token}")])), none);
}

#[test]
fn used_proofs_are_remembered_over_a_reload() {
    let (prover, shared) = (Prover::new(), Arc::new(PolicyShared::new(10)));
    let token = prover.token();
    let proof = prover.proof(&token, &json!({}), &json!({}));
    let build = |max_age: f64| build(&auth(&[settings(&json!({"max_age": max_age}))]), &shared).unwrap();
    assert!(who(&build(60.0), &mut proven(&token, &proof)).is_ok());
    let found = who(&build(120.0), &mut proven(&token, &proof));
    assert_eq!(found, Err("the proof was used before".to_owned()));
}

#[test]
fn proofs_that_differ_in_one_thing_are_refused() {
    let (prover, other, chain) = (Prover::new(), Prover::new(), chain(&[settings(&json!({}))]));
    let token = prover.token();
    let secret_jwk = with(prover.jwk.clone(), &json!({"d": "AAAA"}));
    let secret_jwk: Value = serde_json::from_str(&secret_jwk).unwrap();
    let mut oct = json!({"kty": "oct"});
    oct["x"] = json!("AA");
    let none = json!({});
    for (header, claims, error, why) in [
        (&json!({"typ": "JWT"}), &none, "invalid_dpop_proof", "the proof's type (typ) is not dpop+jwt"),
        (&json!({"typ": null}), &none, "invalid_dpop_proof", NO_PROOF),
        (&json!({"jwk": null}), &none, "invalid_dpop_proof", NO_PROOF),
        (&json!({"crit": ["x"]}), &none, "invalid_dpop_proof", "the proof needs an extension that is not known here"),
        (&json!({"alg": "none"}), &none, "invalid_dpop_proof", "the proof's algorithm is not accepted"),
        (&json!({"alg": "HS256"}), &none, "invalid_dpop_proof", "the proof's algorithm is not accepted"),
        (&json!({"alg": "ES384"}), &none, "invalid_dpop_proof", "the proof's key is not one for its algorithm"),
        (&json!({"jwk": secret_jwk}), &none, "invalid_dpop_proof", "the proof shows a private key"),
        (&json!({"jwk": oct}), &none, "invalid_dpop_proof", "the proof's key is not one for its algorithm"),
        (&json!({"jwk": other.jwk}), &none, "invalid_token", "the token is bound to another key than the proof's"),
        (&none, &json!({"jti": null}), "invalid_dpop_proof", NO_PROOF),
        (&none, &json!({"jti": 1}), "invalid_dpop_proof", NO_PROOF),
        (&none, &json!({"jti": ""}), "invalid_dpop_proof", "the proof's id (jti) is empty or too long"),
        (&none, &json!({"jti": "x".repeat(257)}), "invalid_dpop_proof", "the proof's id (jti) is empty or too long"),
        (&none, &json!({"htm": "POST"}), "invalid_dpop_proof", "the proof is for another method (htm)"),
        (&none, &json!({"htu": "https://h/"}), "invalid_dpop_proof", "the proof is for another address (htu)"),
        (&none, &json!({"htu": "http://h:8080/"}), "invalid_dpop_proof", "the proof is for another address (htu)"),
        (&none, &json!({"htu": "http://h/a"}), "invalid_dpop_proof", "the proof is for another address (htu)"),
        (&none, &json!({"htu": "http://u@h/"}), "invalid_dpop_proof", "the proof is for another address (htu)"),
        (&none, &json!({"iat": NOW - 91}), "invalid_dpop_proof", "the proof is too old (iat)"),
        (&none, &json!({"iat": NOW + 31}), "invalid_dpop_proof", "the proof is from the future (iat)"),
        (&none, &json!({"iat": -1}), "invalid_dpop_proof", "the proof's time (iat) is no time"),
        (&none, &json!({"iat": "1"}), "invalid_dpop_proof", NO_PROOF),
        (&none, &json!({"ath": null}), "invalid_dpop_proof", "the proof is for no token: it has no ath"),
        (&none, &json!({"ath": "AAAA"}), "invalid_dpop_proof", "the proof is for another token (ath)"),
    ] {
        let found = refusal(&chain, &mut proven(&token, &prover.proof(&token, header, claims)));
        assert_eq!(found, (format!("DPoP {error}"), why.to_owned()), "{header} {claims}");
    }
    let foreign = other.proof(&token, &json!({"jwk": prover.jwk}), &none);
    let unsigned = ("DPoP invalid_dpop_proof".to_owned(), "the proof's signature does not match".to_owned());
    assert_eq!(refusal(&chain, &mut proven(&token, &foreign)), unsigned);
    // None of them has used up the id.
    assert!(who(&chain, &mut proven(&token, &prover.proof(&token, &none, &none))).is_ok());
}

const NO_PROOF: &str = "the proof is no JWT with typ, alg and jwk, and jti, htm, htu and iat";

#[test]
fn proofs_that_differ_in_nothing_that_matters_pass() {
    let (prover, chain) = (Prover::new(), chain(&[settings(&json!({}))]));
    let token = prover.token();
    let jwk: Value = serde_json::from_str(&with(prover.jwk.clone(), &json!({"kid": "k", "use": "sig"}))).unwrap();
    let none = json!({});
    for (header, claims) in [
        (&none, &json!({"htu": "HTTP://H:80?a=b#c"})),
        (&none, &json!({"htu": "http://h/./a/%2e%2e/"})),
        (&none, &json!({"iat": NOW - 90})),
        (&none, &json!({"iat": NOW + 30})),
        (&none, &json!({"iat": 1_700_000_000.5})),
        (&none, &json!({"nonce": "of somebody", "exp": 1})),
        (&json!({"jwk": jwk}), &json!({})),
    ] {
        let claims: Value =
            serde_json::from_str(&with(claims.clone(), &json!({"jti": format!("{header} {claims}")}))).unwrap();
        let proof = prover.proof(&token, header, &claims);
        assert_eq!(who(&chain, &mut proven(&token, &proof)), Ok("7".to_owned()), "{claims}");
    }
}

#[test]
fn an_ed25519_key_can_sign_proofs() {
    let chain = chain(&[settings(&json!({}))]);
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = encode(pair.public_key());
    let thumbprint = encode(digest(&SHA256, format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes()));
    let token = token(&json!({"sub": "7", "exp": NOW + 600, "cnf": {"jkt": thumbprint}}));
    let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}});
    let ath = encode(digest(&SHA256, token.as_bytes()));
    let claims = json!({"jti": "1", "htm": "GET", "htu": "http://h/", "iat": NOW, "ath": ath});
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let proof = format!("{message}.{}", encode(pair.sign(message.as_bytes())));
    assert_eq!(who(&chain, &mut proven(&token, &proof)), Ok("7".to_owned()));
}

#[test]
fn the_scheme_must_fit_the_token() {
    let (prover, chain) = (Prover::new(), chain(&[settings(&json!({}))]));
    let bound = prover.token();
    let free = token(&json!({"sub": "7", "exp": NOW + 600}));
    // Section 7.2: a bound token is no bearer token, seen for the first time or remembered.
    let downgraded = "the token is bound to a key: it must be sent as DPoP, with a proof".to_owned();
    for _ in 0..2 {
        assert_eq!(refusal(&chain, &mut bearer(&bound)), ("DPoP invalid_token".to_owned(), downgraded.clone()));
    }
    let proof = prover.proof(&free, &json!({}), &json!({}));
    let unbound = ("DPoP invalid_token".to_owned(), "the token is not bound to a key of DPoP".to_owned());
    assert_eq!(refusal(&chain, &mut proven(&free, &proof)), unbound);
    assert_eq!(who(&chain, &mut bearer(&free)), Ok("7".to_owned()));
    // A bad token is refused in the scheme that was used (section 7.1).
    let late = token(&json!({"sub": "7", "exp": NOW - 600, "cnf": {"jkt": prover.thumbprint()}}));
    let expired = ("DPoP invalid_token".to_owned(), "the token has expired".to_owned());
    assert_eq!(refusal(&chain, &mut proven(&late, &prover.proof(&late, &json!({}), &json!({})))), expired);
    let two = [&format!("Authorization: DPoP {bound}")[..], "DPoP: a", "DPoP: b"];
    let several = ("DPoP invalid_dpop_proof".to_owned(), "the request has more than one DPoP field".to_owned());
    assert_eq!(refusal(&chain, &mut request("/", &two)), several);
    let large = [&format!("Authorization: DPoP {bound}")[..], &format!("DPoP: {}", "x".repeat(4097))];
    let large = refusal(&chain, &mut request("/", &large));
    assert_eq!(large, ("DPoP invalid_dpop_proof".to_owned(), "the proof is too large".to_owned()));
}

#[test]
fn proofs_may_be_required() {
    let (prover, chain) = (Prover::new(), chain(&[settings(&json!({"required": true}))]));
    let free = token(&json!({"sub": "7", "exp": NOW + 600}));
    let why = "only tokens bound to a key of DPoP are accepted".to_owned();
    assert_eq!(refusal(&chain, &mut bearer(&free)), ("DPoP invalid_token".to_owned(), why));
    let bound = prover.token();
    let proof = prover.proof(&bound, &json!({}), &json!({}));
    assert_eq!(who(&chain, &mut proven(&bound, &proof)), Ok("7".to_owned()));
}

#[test]
fn clients_are_told_what_is_understood() {
    let algorithms = json!({"algorithms": ["ES256", "EdDSA"]});
    let challenges = |more: &Value| {
        let mut settings = settings(&algorithms);
        for (name, value) in more.as_object().unwrap() {
            settings["binding"]["dpop"][name] = value.clone();
        }
        let rejection = ask(&chain(&[settings]), &mut request("/", &[])).unwrap_err();
        rejection.headers.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    let (plain, dpop) = ("Bearer realm=\"test\"".to_owned(), "DPoP algs=\"ES256 EdDSA\"".to_owned());
    assert_eq!(challenges(&json!({"announced": true})), [plain.clone(), dpop.clone()]);
    assert_eq!(challenges(&json!({})), [plain]);
    assert_eq!(challenges(&json!({"announced": true, "required": true})), [dpop]);
}

#[test]
fn a_nonce_may_be_demanded() {
    let (prover, chain) = (Prover::new(), chain(&[settings(&json!({"nonce": true}))]));
    let token = prover.token();
    let ask_with = |claims: &Value, wall: u64| {
        let mut exchange = proven(&token, &prover.proof(&token, &json!({}), claims));
        exchange.times.wall = Duration::from_secs(wall);
        let answer = ask(&chain, &mut exchange);
        let given = exchange.hooks().and_then(|hooks| hooks.fields.get(b"DPoP-Nonce").map(<[u8]>::to_vec));
        (answer, given)
    };
    // Sections 8 and 9.
    let (answer, _) = ask_with(&json!({}), NOW);
    let rejection = answer.unwrap_err();
    let header = |name: &str| rejection.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
    assert!(header("WWW-Authenticate").unwrap().contains("error=\"use_dpop_nonce\""));
    let nonce = header("DPoP-Nonce").unwrap();
    assert_eq!(ask_with(&json!({"nonce": nonce}), NOW), (Ok("7".to_owned()), None));
    assert!(ask_with(&json!({"nonce": "AAAA", "jti": "2"}), NOW).0.is_err());
    let (answer, given) = ask_with(&json!({"nonce": nonce, "jti": "3", "iat": NOW + 60}), NOW + 60);
    assert_eq!(answer, Ok("7".to_owned()));
    assert!(given.is_some_and(|given| given != nonce.as_bytes()));
    assert!(ask_with(&json!({"nonce": nonce, "jti": "4", "iat": NOW + 120}), NOW + 120).0.is_err());
}

#[test]
fn a_token_is_for_the_certificate_of_rfc_8705() {
    let der = base64::engine::general_purpose::STANDARD.decode(CERTIFICATE).unwrap();
    let certificate = Certificate::parse(&der).unwrap();
    assert_eq!(encode(certificate.thumbprint), THUMBPRINT);
    let other = Certificate { thumbprint: [1; 32], ..certificate.clone() };
    let chain = chain(&[settings(&json!({}))]);
    let bound = token(&json!({"sub": "7", "exp": NOW, "cnf": {"x5t#S256": THUMBPRINT}}));
    let over = |certificate: Option<&Certificate>, wall: u64| {
        let mut exchange = bearer(&bound);
        exchange.request.origin.certificate = certificate.cloned().map(Arc::new);
        exchange.times.wall = Duration::from_secs(wall);
        who(&chain, &mut exchange)
    };
    assert_eq!(over(Some(&certificate), VALID), Ok("7".to_owned()));
    for (certificate, wall, why) in [
        (None, VALID, "the token is bound to a client certificate, and the connection has none"),
        (Some(&other), VALID, "the token is bound to another client certificate"),
        (Some(&certificate), NOW - 1, "the client's certificate has expired"),
    ] {
        assert_eq!(over(certificate, wall), Err(why.to_owned()));
    }
    let free = token(&json!({"sub": "7", "exp": NOW + 60}));
    let mut settings = settings(&json!({}));
    assert!(who(&super::chain(&[settings.clone()]), &mut bearer(&free)).is_ok());
    settings["binding"]["certificate_required"] = json!(true);
    let why = "only tokens bound to a client certificate are accepted";
    assert_eq!(who(&super::chain(&[settings]), &mut bearer(&free)), Err(why.to_owned()));
}

#[test]
fn a_binding_of_another_kind_is_refused() {
    let chain = chain(&[settings(&json!({}))]);
    let prover = Prover::new();
    for cnf in [
        json!({}),
        json!("text"),
        json!(null),
        json!({"kid": "1"}),
        json!({"jwk": prover.jwk}),
        json!({"jkt": "short"}),
        json!({"jkt": 7}),
        json!({"jkt": prover.thumbprint(), "x5t#S256": "!"}),
    ] {
        let text = token(&json!({"sub": "7", "exp": NOW + 60, "cnf": cnf}));
        let why = "the token is bound (cnf) in a way that is not understood here";
        assert_eq!(who(&chain, &mut bearer(&text)), Err(why.to_owned()), "{cnf}");
    }
    // What is not understood beside it is ignored (RFC 7800 section 3.1).
    let beside = token(&json!({"sub": "7", "exp": NOW + 60, "cnf": {"jkt": prover.thumbprint(), "kid": "1"}}));
    let proof = prover.proof(&beside, &json!({}), &json!({}));
    assert_eq!(who(&chain, &mut proven(&beside, &proof)), Ok("7".to_owned()));
}

#[test]
fn a_trusted_proxy_says_which_address_the_client_has_asked_for() {
    let (prover, chain) = (Prover::new(), chain(&[settings(&json!({}))]));
    let token = prover.token();
    let mut seen = 0;
    let mut ask = |htu: &str, trusted: bool| {
        seen += 1;
        let proof = prover.proof(&token, &json!({}), &json!({"htu": htu, "jti": seen.to_string()}));
        let fields = [
            &format!("Authorization: DPoP {token}"),
            &format!("DPoP: {proof}"),
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: shop.example",
            "X-Forwarded-Prefix: /eu",
        ];
        let mut exchange = hosted(request("/a?b=c", &fields));
        exchange.request.origin.peer_trusted = trusted;
        who(&chain, &mut exchange).is_ok()
    };
    assert!(ask("https://shop.example/eu/a", true));
    assert!(!ask("http://h/a", true));
    assert!(!ask("https://shop.example/eu/a", false));
    assert!(ask("http://h/a", false));
}

#[test]
fn an_explanation_uses_no_proof_up() {
    let (prover, chain) = (Prover::new(), chain(&[settings(&json!({}))]));
    let token = prover.token();
    let proof = prover.proof(&token, &json!({}), &json!({}));
    for _ in 0..2 {
        let text = format!("{:?}", chain.preview(&mut proven(&token, &proof)));
        assert!(text.contains("lets user 7 (no role) pass; its token is bound to a key"), "{text}");
    }
    assert!(who(&chain, &mut proven(&token, &proof)).is_ok());
    let text = format!("{:?}", chain.preview(&mut proven(&token, &proof)));
    assert!(text.contains("the proof was used before"), "{text}");
}

#[test]
fn tokens_and_proofs_are_kept_from_instances_together() {
    let prover = Prover::new();
    let bound = prover.token();
    let proof = prover.proof(&bound, &json!({}), &json!({}));
    for forward in [true, false] {
        let mut settings = settings(&json!({}));
        settings["forward_credentials"] = json!(forward);
        let mut exchange = proven(&bound, &proof);
        assert!(who(&chain(&[settings]), &mut exchange).is_ok());
        for name in [pylae_http::Name::Authorization, pylae_http::Name::Dpop] {
            assert_eq!(exchange.request.edits.removes(name, b""), !forward);
        }
    }
}

#[test]
fn revoked_tokens_are_refused_whatever_their_proof() {
    let (prover, shared) = (Prover::new(), Arc::new(PolicyShared::new(10)));
    let chain = build(&auth(&[settings(&json!({}))]), &shared).unwrap();
    let token = prover.token();
    let proof = |id: &str| prover.proof(&token, &json!({}), &json!({"jti": id}));
    assert!(who(&chain, &mut proven(&token, &proof("1"))).is_ok());
    assert!(shared.identity.revoke(Revoked::User("7"), clocks(Duration::from_secs(NOW)), Duration::from_secs(100)));
    assert_eq!(who(&chain, &mut proven(&token, &proof("2"))), Err("the token was revoked".to_owned()));
}
