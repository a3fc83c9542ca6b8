//! One request to a token endpoint, and what its answer must be (RFC 6749 sections 4.4.2, 5.1 and 5.2).

use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pylae_core::plan::{ClientAuthentication, ClientCredentials};
use serde_json::Value;

use crate::background::http_client::{agent, describe, read_body, roots_of, system_roots};
use crate::snapshot::Issue;

/// Largest answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest token.
const MAX_TOKEN: usize = 8 * 1024;
/// Longest lifetime; a longer one is taken for this one.
const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// Asks the server for a token.
pub(super) fn fetch(settings: &ClientCredentials) -> Result<Issue, String> {
    let roots = match &settings.ca {
        None => system_roots(),
        Some(pem) => roots_of(pem).ok_or("`ca` has no certificate")?,
    };
    let (authorization, body) = written(settings);
    let mut request = agent(roots)
        .post(&settings.token_url)
        .header("Accept", "application/json")
        .header("Content-Type", "application/x-www-form-urlencoded");
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    let answer = request.send(body).map_err(|error| describe(error, MAX_ANSWER))?;
    let status = answer.status().as_u16();
    let body = read_body(answer, MAX_ANSWER)?;
    if status == 200 { read(&body) } else { Err(refusal(status, &body)) }
}

/// Where the token comes from, without what may be secret.
pub(super) fn place(settings: &ClientCredentials) -> String {
    let url = settings.token_url.split(['?', '#']).next().unwrap_or_default();
    format!("{url} for the client {}", settings.client_id)
}

/// Returns the `Authorization` and the body of the request.
fn written(settings: &ClientCredentials) -> (Option<String>, String) {
    let ClientCredentials { client_id, client_secret, client_auth, parameters, .. } = settings;
    let mut body = "grant_type=client_credentials".to_owned();
    let mut add = |name: &str, value: &str| {
        for (sign, text) in [('&', name), ('=', value)] {
            body.push(sign);
            escape(text, &mut body);
        }
    };
    for (name, value) in parameters {
        add(name, value);
    }
    match client_auth {
        ClientAuthentication::Post => {
            add("client_id", client_id);
            add("client_secret", client_secret);
            (None, body)
        }
        // Both are encoded like the form, and then like a password (section 2.3.1).
        ClientAuthentication::Basic => {
            let mut pair = String::new();
            escape(client_id, &mut pair);
            pair.push(':');
            escape(client_secret, &mut pair);
            (Some(format!("Basic {}", STANDARD.encode(pair))), body)
        }
    }
}

/// Appends `text` as `application/x-www-form-urlencoded` (RFC 6749 appendix B).
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            // Writing to a String does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

/// Reads the answer of a server that has issued a token.
fn read(body: &[u8]) -> Result<Issue, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| "the answer is not JSON")?;
    let token = answer.get("access_token").and_then(Value::as_str).ok_or("the answer has no access_token")?;
    let is_sendable =
        !token.is_empty() && token.len() <= MAX_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_sendable {
        return Err(format!("the access_token is not 1 to {MAX_TOKEN} visible characters"));
    }
    let kind = answer.get("token_type").and_then(Value::as_str).unwrap_or_default();
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("the token_type is not Bearer".to_owned());
    }
    let lifetime = match answer.get("expires_in") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            // Some servers write a text.
            let seconds = seconds.as_f64().or_else(|| seconds.as_str()?.parse().ok());
            let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let lifetime = lifetime.filter(|lifetime| !lifetime.is_zero());
            Some(lifetime.ok_or("expires_in is not a number of seconds")?.min(MAX_LIFETIME))
        }
    };
    Ok(Issue { authorization: format!("Bearer {token}"), lifetime })
}

/// Describes a refusal by its status and, if the server gives one, its error code. What else it says may be secret.
fn refusal(status: u16, body: &[u8]) -> String {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let code = answer.as_ref().and_then(|answer| answer.get("error")?.as_str()).filter(|code| {
        (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    code.map_or_else(|| format!("the answer is {status}"), |code| format!("the answer is {status} ({code})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(client_auth: ClientAuthentication) -> ClientCredentials {
        ClientCredentials {
            token_url: "https://id.test/token?tenant=secret".into(),
            client_id: "shop:1".into(),
            client_secret: "a b&ü".into(),
            client_auth,
            parameters: vec![("scope".into(), "a b".into()), ("audience".into(), "https://x".into())],
            ca: None,
        }
    }

    #[test]
    fn the_client_is_named_once() {
        let form = "grant_type=client_credentials&scope=a+b&audience=https%3A%2F%2Fx";
        let (authorization, body) = written(&settings(ClientAuthentication::Basic));
        assert_eq!(authorization, Some(format!("Basic {}", STANDARD.encode("shop%3A1:a+b%26%C3%BC"))));
        assert_eq!(body, form);
        let (authorization, body) = written(&settings(ClientAuthentication::Post));
        assert_eq!((authorization, body), (None, format!("{form}&client_id=shop%3A1&client_secret=a+b%26%C3%BC")));
        assert_eq!(place(&settings(ClientAuthentication::Post)), "https://id.test/token for the client shop:1");
    }

    #[test]
    fn only_bearer_tokens_that_can_be_sent_are_taken() {
        let issue = |lifetime: Option<u64>| {
            Ok(Issue { authorization: "Bearer t".to_owned(), lifetime: lifetime.map(Duration::from_secs) })
        };
        for (body, expected) in [
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#, issue(Some(60))),
            (r#"{"access_token":"t","token_type":"bearer","expires_in":"60"}"#, issue(Some(60))),
            (r#"{"access_token":"t","token_type":"BEARER"}"#, issue(None)),
            (
                r#"{"access_token":"t","token_type":"Bearer","expires_in":1e99}"#,
                Err("expires_in is not a number of seconds"),
            ),
            (
                r#"{"access_token":"t","token_type":"Bearer","expires_in":0}"#,
                Err("expires_in is not a number of seconds"),
            ),
            (
                r#"{"access_token":"t","token_type":"Bearer","expires_in":-1}"#,
                Err("expires_in is not a number of seconds"),
            ),
            (r#"{"access_token":"t","token_type":"mac"}"#, Err("the token_type is not Bearer")),
            (r#"{"access_token":"t"}"#, Err("the token_type is not Bearer")),
            (
                r#"{"access_token":"a b","token_type":"Bearer"}"#,
                Err("the access_token is not 1 to 8192 visible characters"),
            ),
            (
                r#"{"access_token":"a\r\nb","token_type":"Bearer"}"#,
                Err("the access_token is not 1 to 8192 visible characters"),
            ),
            (
                r#"{"access_token":"","token_type":"Bearer"}"#,
                Err("the access_token is not 1 to 8192 visible characters"),
            ),
            (r#"{"token_type":"Bearer"}"#, Err("the answer has no access_token")),
            (r#"["t"]"#, Err("the answer has no access_token")),
            ("<html>", Err("the answer is not JSON")),
        ] {
            assert_eq!(read(body.as_bytes()), expected.map_err(str::to_owned), "{body}");
        }
    }

    #[test]
    fn a_refusal_tells_no_more_than_its_code() {
        for (body, expected) in [
            (r#"{"error":"invalid_client","error_description":"secret"}"#, "the answer is 401 (invalid_client)"),
            (r#"{"error":"Secret text"}"#, "the answer is 401"),
            ("secret", "the answer is 401"),
        ] {
            assert_eq!(refusal(401, body.as_bytes()), expected);
        }
    }
}
