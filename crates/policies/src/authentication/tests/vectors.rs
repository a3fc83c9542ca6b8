//! Examples from the RFCs, and one token for every algorithm.

use serde_json::json;

use super::super::keys::{KeyMatch, Keys, SignatureAlgorithm, decode_base64url};
use super::{bearer, chain, jwt, tokens, who};

#[test]
fn examples_of_the_rfcs_verify_and_no_byte_of_them_may_differ() {
    let examples = tokens();
    for example in examples["rfc"].as_array().unwrap() {
        let source = example["source"].as_str().unwrap();
        let set = json!({"keys": [example["jwk"]]}).to_string();
        let algorithm: SignatureAlgorithm = serde_json::from_value(example["alg"].clone()).unwrap();
        let keys = Keys::from_jwks(set.as_bytes(), &[algorithm], true).unwrap_or_else(|why| panic!("{source}: {why}"));
        let token = example["token"].as_str().unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = decode_base64url(signature).unwrap();
        let check = |message: &str, signature: &[u8]| keys.check(algorithm.name(), None, message.as_bytes(), signature);
        assert_eq!(check(message, &signature), KeyMatch::Verified, "{source}");
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 0x10;
            assert_eq!(check(message, &changed), KeyMatch::NoKeyVerifies, "{source}: byte {at}");
        }
        for cut in [0, 1, signature.len() - 1] {
            assert_eq!(check(message, &signature[..cut]), KeyMatch::NoKeyVerifies, "{source}: {cut} bytes");
        }
        assert_eq!(check(message, &[&signature[..], &[0]].concat()), KeyMatch::NoKeyVerifies, "{source}: a byte more");
        assert_eq!(check(&message[1..], &signature), KeyMatch::NoKeyVerifies, "{source}");
    }
}

#[test]
fn the_token_of_rfc_7515_is_a_jwt_that_expires() {
    let examples = tokens();
    for example in &examples["rfc"].as_array().unwrap()[..3] {
        let keys = json!({"from": "jwks", "value": json!({"keys": [example["jwk"]]}).to_string()});
        let claims = json!({"id": ["iss"], "email": [], "role": [], "permissions": []});
        let chain = chain(&[jwt(&keys, &json!({"claims": claims, "issuers": ["joe"], "leeway": 0.0}))]);
        let mut before = bearer(example["token"].as_str().unwrap());
        before.times.wall = std::time::Duration::from_millis(1_300_819_379_999);
        assert_eq!(who(&chain, &mut before), Ok("joe".to_owned()));
        let mut after = bearer(example["token"].as_str().unwrap());
        after.times.wall = std::time::Duration::from_secs(1_300_819_380);
        assert_eq!(who(&chain, &mut after), Err("the token has expired".to_owned()));
    }
}

#[test]
fn every_algorithm_by_pem_and_by_jwk() {
    let all = tokens();
    for (name, entry) in all["signed"].as_object().unwrap() {
        let token = entry["token"].as_str().unwrap();
        let pem = json!({"from": "pem", "value": [entry["pem"]]});
        let jwks = json!({"from": "jwks", "value": json!({"keys": [entry["jwk"]]}).to_string()});
        for keys in [&pem, &jwks] {
            let one = chain(&[jwt(keys, &json!({"algorithms": [name]}))]);
            assert_eq!(who(&one, &mut bearer(token)), Ok("42".to_owned()), "{name}");
            // A key bound to another algorithm of the same kind does not verify the token.
            let other = if name == "RS256" { "PS256" } else { "RS256" };
            if name.starts_with('R') || name.starts_with('P') {
                let one = chain(&[jwt(keys, &json!({"algorithms": [other]}))]);
                assert_eq!(who(&one, &mut bearer(token)), Err("the token's algorithm is not accepted".to_owned()));
            }
        }
        let usual = chain(&[jwt(&pem, &json!({}))]);
        let is_usual = ["RS256", "ES256", "ES384", "ES512", "EdDSA"].contains(&name.as_str());
        assert_eq!(who(&usual, &mut bearer(token)).is_ok(), is_usual, "{name}");
    }
}
