//! Tokens that must not be accepted.

use std::sync::Arc;
use std::time::Duration;

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOT_A_TOKEN: &str = "this is not a JSON Web Token";
const MISMATCH: &str = "the token's signature does not match";
const WRONG_TYPE: &str = "a claim of the token is of the wrong type";
const EXPIRED: &str = "the token has expired";

fn refused(chain: &Chain, token: &str) -> String {
    let mut exchange = bearer(token);
    let rejection = ask(chain, &mut exchange).expect_err(token);
    assert_eq!(rejection.status, 401, "{token}");
    assert!(exchange.request.user.is_none());
    rejection.message.into_owned()
}

fn good() -> Value {
    json!({"sub": "7", "exp": NOW + 60})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

#[test]
fn none_and_algorithms_that_the_key_is_not_for() {
    let chain = chain(&[jwt(&secret(), &json!({}))]);
    let payload = good().to_string();
    for name in ["none", "None", "NONE", "", "hs256", "HS384", "HS512", "RS256", "ES256", "EdDSA", "HS256 "] {
        let header = json!({"alg": name, "typ": "JWT"}).to_string();
        assert_eq!(
            refused(&chain, &signed(&header, &payload, SECRET.as_bytes())),
            "the token's algorithm is not accepted"
        );
    }
    let unsigned = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&payload));
    assert_eq!(refused(&chain, &unsigned), "the token's algorithm is not accepted");
    let empty = format!("{}.{}.", encode(r#"{"alg":"HS256"}"#), encode(&payload));
    assert_eq!(refused(&chain, &empty), MISMATCH);
}

#[test]
fn a_public_key_is_never_a_secret() {
    let all = tokens();
    for (name, entry) in all["signed"].as_object().unwrap() {
        let (pem, jwk) = (entry["pem"].as_str().unwrap(), entry["jwk"].to_string());
        let chain = chain(&[jwt(&json!({"from": "pem", "value": [pem]}), &json!({"algorithms": [name]}))]);
        for secret in [pem.as_bytes(), pem.trim().as_bytes(), jwk.as_bytes()] {
            for algorithm in ["HS256", name.as_str()] {
                let header = json!({"alg": algorithm}).to_string();
                assert_ne!(refused(&chain, &signed(&header, &good().to_string(), secret)), "");
            }
        }
        let mixed = jwt(&json!({"from": "pem", "value": [pem]}), &json!({"algorithms": ["HS256"]}));
        assert!(
            build(&auth(&[mixed]), &Arc::new(PolicyShared::new(1))).is_err_and(|why| why.contains("not for any of"))
        );
    }
}

#[test]
fn key_ids_are_only_compared() {
    let jwk = json!({"kty": "oct", "kid": "right", "k": encode(SECRET)});
    let keys = json!({"from": "jwks", "value": json!({"keys": [jwk]}).to_string()});
    let chain = chain(&[jwt(&keys, &json!({}))]);
    let with_kid =
        |kid: Value| signed(&json!({"alg": "HS256", "kid": kid}).to_string(), &good().to_string(), SECRET.as_bytes());
    assert_eq!(who(&chain, &mut bearer(&with_kid(json!("right")))), Ok("7".to_owned()));
    for kid in ["wrong", "Right", "", "../../../../dev/null", "right' OR '1'='1", "right\0", "http://evil.test/key"] {
        let why = refused(&chain, &with_kid(json!(kid)));
        assert_eq!(why, "the token was signed with a key that is not known", "{kid}");
    }
    for kid in [json!(1), json!(null), json!(["right"]), json!({"kid": "right"})] {
        assert_eq!(refused(&chain, &with_kid(kid)), NOT_A_TOKEN);
    }
}

#[test]
fn keys_in_a_token_are_not_used() {
    let chain = chain(&[jwt(&secret(), &json!({}))]);
    let own = json!({"kty": "oct", "k": encode("mine")});
    for header in [
        json!({"alg": "HS256", "jwk": own}),
        json!({"alg": "HS256", "jku": "http://evil.test/", "x5u": "http://evil.test/"}),
    ] {
        assert_eq!(refused(&chain, &signed(&header.to_string(), &good().to_string(), b"mine")), MISMATCH);
    }
}

#[test]
fn extensions_that_are_not_known() {
    let chain = chain(&[jwt(&secret(), &json!({}))]);
    for more in
        [r#""crit":["exp"]"#, r#""crit":[]"#, r#""crit":null"#, r#""crit":["b64"],"b64":false"#, r#""b64":true"#]
    {
        let header = format!(r#"{{"alg":"HS256",{more}}}"#);
        let why = refused(&chain, &signed(&header, &good().to_string(), SECRET.as_bytes()));
        assert_eq!(why, "the token needs an extension that is not known here", "{more}");
    }
}

#[test]
fn headers_and_claims_that_are_no_objects() {
    let chain = chain(&[jwt(&secret(), &json!({}))]);
    let payload = good().to_string();
    for header in
        [r#"["HS256"]"#, r#"["HS256","one"]"#, r#"[["HS256"]]"#, "[]", "\"HS256\"", "null", r#"[{"alg":"HS256"}]"#]
    {
        assert_eq!(refused(&chain, &signed(header, &payload, SECRET.as_bytes())), NOT_A_TOKEN, "{header}");
    }
    for claims in [format!("[{payload}]"), r#"["7",9999999999]"#.into(), "[]".into(), "\"7\"".into()] {
        let token = signed(r#"{"alg":"HS256"}"#, &claims, SECRET.as_bytes());
        assert_eq!(refused(&chain, &token), NOT_A_TOKEN, "{claims}");
    }
}

#[test]
fn times_at_the_edge() {
    let chain = chain(&[jwt(&secret(), &json!({"leeway": 30.0}))]);
    let at = |name: &str, time: f64| {
        let mut claims = good();
        claims[name] = json!(time);
        who(&chain, &mut bearer(&token(&claims)))
    };
    let now = f64::from(u32::try_from(NOW).unwrap());
    for (exp, passes) in [(-29.999, true), (-30.0, false), (-30.001, false), (1e290, true), (-now - 5.0, false)] {
        let expected = if passes { Ok("7".to_owned()) } else { Err(EXPIRED.to_owned()) };
        assert_eq!(at("exp", now + exp), expected, "exp {exp}");
    }
    for (nbf, passes) in [(30.0, true), (30.001, false), (1e290, false), (-1e9, true)] {
        let expected = if passes { Ok("7".to_owned()) } else { Err("the token is not valid yet".to_owned()) };
        assert_eq!(at("nbf", now + nbf), expected, "nbf {nbf}");
    }
    assert_eq!(who(&chain, &mut bearer(&token(&with("exp", json!(u64::MAX))))), Ok("7".to_owned()));
}

#[test]
fn claims_of_the_wrong_type() {
    let chain = chain(&[jwt(&secret(), &json!({"issuers": ["me"], "audiences": ["you"]}))]);
    let mut right = good();
    right["iss"] = json!("me");
    right["aud"] = json!(["others", "you"]);
    assert_eq!(who(&chain, &mut bearer(&token(&right))), Ok("7".to_owned()));
    let wrong = [
        ("exp", json!("1700000060")),
        ("exp", json!(null)),
        ("exp", json!(true)),
        ("exp", json!([NOW + 60])),
        ("nbf", json!("0")),
        ("iat", json!({})),
        ("iss", json!(["me"])),
        ("aud", json!({"you": 1})),
        ("aud", json!(["you", 1])),
        ("jti", json!(5)),
        ("sub", json!(["7"])),
        ("sub", json!(1.5)),
        ("email", json!(1)),
        ("role", json!(1)),
        ("role", json!([1])),
        ("permissions", json!([1])),
        ("permissions", json!({})),
    ];
    for (name, value) in wrong {
        let mut claims = right.clone();
        claims[name] = value.clone();
        assert_eq!(refused(&chain, &token(&claims)), WRONG_TYPE, "{name}: {value}");
    }
    for (name, value) in [("iss", "you"), ("aud", "me"), ("iss", "ME"), ("aud", "")] {
        let mut claims = right.clone();
        claims[name] = json!(value);
        assert!(refused(&chain, &token(&claims)).starts_with("the token is f"), "{name}");
    }
    for name in ["iss", "aud", "sub", "exp"] {
        let mut claims = right.clone();
        claims.as_object_mut().unwrap().remove(name);
        refused(&chain, &token(&claims));
    }
    for payload in [
        "[]",
        "\"text\"",
        "1",
        "null",
        "",
        "{",
        r#"{"sub":"7","exp":1e400}"#,
        r#"{"sub":"7","exp":NaN}"#,
        r#"{"sub":"7","sub":"8","exp":1700000060}"#,
        r#"{"sub":"7","exp":1700000060} x"#,
    ] {
        let one = signed(r#"{"alg":"HS256"}"#, payload, SECRET.as_bytes());
        assert_eq!(refused(&chain, &one), NOT_A_TOKEN, "{payload}");
    }
    assert_eq!(refused(&chain, &signed(r#"{"alg":"HS384","alg":"HS256"}"#, "{}", SECRET.as_bytes())), NOT_A_TOKEN);
}

#[test]
fn identities_that_would_change_on_the_way() {
    let chain = chain(&[jwt(&secret(), &json!({}))]);
    for (name, value) in [
        ("sub", json!("")),
        ("sub", json!(" 7")),
        ("sub", json!("7\t")),
        ("sub", json!("7\r\nX-User-Role: admin")),
        ("sub", json!("7\0")),
        ("sub", json!("x".repeat(2000))),
        ("role", json!("user,admin")),
        ("role", json!(["user", "a,b"])),
        ("role", json!("a\nb")),
        ("email", json!("a@b\r\nX: y")),
    ] {
        let why = refused(&chain, &token(&with(name, value.clone())));
        assert!(why.contains("cannot be passed on"), "{name}: {value}: {why}");
    }
    assert_eq!(refused(&chain, &token(&json!({"exp": NOW + 60}))), "the token does not say who the user is");
}

#[test]
fn segments_and_encodings() {
    let chain = chain(&[jwt(&secret(), &json!({}))]);
    let right = token(&good());
    let (message, signature) = right.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let bytes = base64::Engine::decode(&URL_SAFE_NO_PAD, signature).unwrap();
    let shapes = [
        String::from("x"),
        String::from("."),
        String::from(".."),
        String::from("..."),
        message.to_owned(),
        format!("{right}."),
        format!(".{right}"),
        format!("{right}.{signature}"),
        format!("{header}..{payload}.{signature}"),
        format!("{header}.{payload} .{signature}"),
        format!("{right}="),
        format!("{header}=.{payload}.{signature}"),
        format!("{message}.{}", base64::Engine::encode(&URL_SAFE, &bytes)),
        format!("{right}%3D"),
        format!("{right}A"),
        format!("{message}.!!!!"),
        format!("\u{e9}{right}"),
    ];
    for wrong in &shapes {
        refused(&chain, wrong);
    }
    // The bits after the last whole byte must be zero, or a signature would have several encodings.
    let last = signature.chars().last().unwrap();
    for other in
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=".chars().filter(|one| *one != last)
    {
        let spelt = format!("{message}.{}{other}", &signature[..signature.len() - 1]);
        refused(&chain, &spelt);
    }
    let plain = base64::Engine::encode(&STANDARD, bytes);
    if plain.contains(['+', '/']) {
        refused(&chain, &format!("{message}.{plain}"));
    }
    assert_eq!(who(&chain, &mut bearer(&right)), Ok("7".to_owned()));
    let mut lower = request("/", &[&format!("authorization: bearer   {right}")]);
    assert_eq!(who(&chain, &mut lower), Ok("7".to_owned()));
}

#[test]
fn signatures_of_public_keys_in_other_encodings() {
    let all = tokens();
    for name in ["ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"] {
        let entry = &all["signed"][name];
        let keys = json!({"from": "pem", "value": [entry["pem"]]});
        let chain = chain(&[jwt(&keys, &json!({"algorithms": [name]}))]);
        let (message, signature) = entry["token"].as_str().unwrap().rsplit_once('.').unwrap();
        let bytes = base64::Engine::decode(&URL_SAFE_NO_PAD, signature).unwrap();
        let half = bytes.len() / 2;
        // In DER (RFC 3279), which JOSE does not use; with a zero before each half; with swapped halves; all zero.
        let int = |half: &[u8]| [&[2, half.len() as u8 + 1, 0][..], half].concat();
        let (r, s) = (int(&bytes[..half]), int(&bytes[half..]));
        let der = [&[0x30, (r.len() + s.len()) as u8][..], &r, &s].concat();
        let wide = [&[0][..], &bytes[..half], &[0], &bytes[half..]].concat();
        let turned = [&bytes[half..], &bytes[..half]].concat();
        for other in [der, wide, turned, vec![0; bytes.len()], vec![0xff; bytes.len()], Vec::new()] {
            assert_eq!(refused(&chain, &format!("{message}.{}", encode(other))), MISMATCH, "{name}");
        }
    }
}

#[test]
fn two_tokens_and_large_ones() {
    let chain = chain(&[jwt(&secret(), &json!({}))]);
    let right = format!("Authorization: Bearer {}", token(&good()));
    let two = ask(&chain, &mut request("/", &[&right, &right])).unwrap_err();
    assert_eq!((two.status, two.code), (400, "invalid_request"));
    let other = ask(&chain, &mut request("/", &[&right, "Authorization: Basic eDp5"])).unwrap_err();
    assert_eq!(other.status, 400);
    // Only the Authorization field is read, no other place.
    let target = format!("/?access_token={}", token(&good()));
    assert_eq!(ask(&chain, &mut request(&target, &["Cookie: token=x"])).unwrap_err().status, 401);
    assert_eq!(who(&chain, &mut request(&target, &[&right])), Ok("7".to_owned()));
    for size in [8193, 1 << 20] {
        assert_eq!(refused(&chain, &"x".repeat(size)), "the token is too large");
    }
    let padded = token(&with("x", json!("y".repeat(5000))));
    assert_eq!(who(&chain, &mut bearer(&padded)), Ok("7".to_owned()));
}

#[test]
fn keys_that_are_refused() {
    let all = tokens();
    let shared = Arc::new(PolicyShared::new(1));
    let why = |keys: Value, algorithms: Value| {
        build(&auth(&[jwt(&keys, &json!({"algorithms": algorithms}))]), &shared).map(|_| ()).expect_err("refused")
    };
    assert!(why(json!({"from": "secret", "value": [""]}), json!([])).contains("the secret is empty"));
    assert!(why(json!({"from": "secret", "value": []}), json!([])).contains("there is no secret"));
    assert!(why(secret(), json!(["RS256"])).contains("needs a public key"));
    assert!(why(json!({"from": "pem", "value": ["x"]}), json!([])).contains("not PEM"));
    assert!(why(json!({"from": "pem", "value": [all["small"]["pem"]]}), json!([])).contains("2048 bits"));
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(why(json!({"from": "pem", "value": [private]}), json!([])).contains("PUBLIC KEY is needed"));
    for set in [
        "",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":""}]}"#,
        r#"{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}"#,
        // As arrays, in the order of the members.
        r#"[[{"kty":"oct","k":"c2VjcmV0"}]]"#,
        r#"{"keys":[["oct",null,null,null,null,null,null,null,null,null,"c2VjcmV0"]]}"#,
    ] {
        assert!(why(json!({"from": "jwks", "value": set}), json!([])).contains("JWK set"), "{set}");
    }
    assert!(
        why(json!({"from": "jwks", "value": json!({"keys": [all["small"]["jwk"]]}).to_string()}), json!([]))
            .contains("no key")
    );
}

proptest! {
    /// No input is accepted without the key, and no input panics.
    #[test]
    fn arbitrary_tokens(header in "\\PC{0,60}", payload in "\\PC{0,60}", text in "[A-Za-z0-9_.=-]{0,80}") {
        let chain = chain(&[jwt(&secret(), &json!({}))]);
        for one in [text, signed(&header, &payload, b"another"), format!("{}.{}.", encode(&header), encode(&payload))] {
            prop_assert!(ask(&chain, &mut bearer(&one)).is_err());
        }
    }

    /// A token with one changed character is refused.
    #[test]
    fn changed_tokens(at in 0_usize..300, with in "[A-Za-z0-9_.-]") {
        let chain = chain(&[jwt(&secret(), &json!({}))]);
        let right = token(&good());
        let at = at % right.len();
        let mut changed = right.clone();
        changed.replace_range(at..=at, &with);
        prop_assume!(changed != right);
        prop_assert!(ask(&chain, &mut bearer(&changed)).is_err());
    }

    /// Random signed claims are refused or name a user; times never overflow.
    #[test]
    fn signed_numbers(exp in any::<f64>(), nbf in any::<f64>(), wall in any::<u32>()) {
        let chain = chain(&[jwt(&secret(), &json!({}))]);
        let mut exchange = bearer(&token(&json!({"sub": "7", "exp": exp, "nbf": nbf})));
        exchange.times.wall = Duration::from_secs(wall.into());
        let passes = ask(&chain, &mut exchange).is_ok();
        prop_assert!(!passes || f64::from(wall) < exp + 30.0);
    }
}
