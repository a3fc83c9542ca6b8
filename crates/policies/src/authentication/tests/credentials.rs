//! API keys, passwords, several authenticators at once, the failure limit, and what instances see.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::key_set::{Background, KeySet};
use super::*;

/// Returns the SHA-256 of a key in hex.
fn hash(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn api_key(forward: bool) -> Value {
    json!({
        "kind": "api_key", "header": "X-API-Key", "query": "api_key", "forward_credentials": forward,
        "consumers": [
            {"id": "batch", "email": "", "role": "robot", "permissions": [], "keys": [hash("key-one"), hash("key-two")]},
            {"id": "cron", "email": "", "role": "", "permissions": [], "keys": [hash("key-three").to_uppercase()]},
        ],
    })
}

/// The password is "correct horse"; the cost is far too low for anything but a test.
const ARGON2: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21l$";
const BCRYPT: &str = "$2b$04$";

fn basic() -> Value {
    use argon2::password_hash::CustomizedPasswordHasher;
    let params = argon2::Params::new(64, 1, 1, None).unwrap();
    let argon = argon2::Argon2::default();
    let hashed =
        argon.hash_password_customized(b"correct horse", b"some salt for it", Some("argon2id"), None, params).unwrap();
    let bcrypt = bcrypt::hash("battery staple", 4).unwrap();
    assert!(hashed.to_string().starts_with(&ARGON2[..10]) && bcrypt.starts_with(&BCRYPT[..4]));
    json!({
        "kind": "basic", "remember": 60.0, "forward_credentials": false,
        "users": [
            {"id": "ada", "email": "", "role": "admin", "permissions": [], "password_hash": hashed.to_string()},
            {"id": "bob", "email": "", "role": "", "permissions": [], "password_hash": bcrypt},
        ],
    })
}

fn login(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Sends jobs to the test, which runs them by hand.
struct ByHand(Sender<Box<dyn FnOnce() + Send>>);

impl Background for ByHand {
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> bool {
        self.0.send(job).is_ok()
    }

    fn watch(&self, _set: &Arc<KeySet>) {}
}

/// Runs a request, and the background job that it waits for.
fn ask_through(
    chain: &Chain,
    jobs: &std::sync::mpsc::Receiver<Box<dyn FnOnce() + Send>>,
    exchange: &mut Exchange,
) -> Result<String, Box<Rejection>> {
    match chain.request(exchange) {
        Verdict::Wait(mut waiting) => {
            assert!(poll(waiting.as_mut()).is_pending());
            (jobs.recv().unwrap())();
            let Poll::Ready(resume) = poll(waiting.as_mut()) else { panic!("still waiting") };
            let verdict = chain.resume(exchange, resume);
            user_or_rejection(verdict, exchange)
        }
        verdict => user_or_rejection(verdict, exchange),
    }
}

#[test]
fn keys_of_consumers() {
    let chain = chain(&[api_key(false)]);
    for (key, user) in [("key-one", "batch"), ("key-two", "batch"), ("key-three", "cron")] {
        assert_eq!(who(&chain, &mut request("/", &[&format!("x-api-key: {key}")])), Ok(user.to_owned()));
        assert_eq!(who(&chain, &mut request(&format!("/?a=1&api%5Fkey={key}"), &[])), Ok(user.to_owned()));
    }
    for wrong in ["key-on", "key-onee", "", "KEY-ONE", &hash("key-one")] {
        let rejection = ask(&chain, &mut request("/", &[&format!("X-API-Key: {wrong}")])).unwrap_err();
        assert_eq!((rejection.status, &*rejection.message), (401, "the API key is not known"));
        assert_eq!(rejection.headers, [("WWW-Authenticate".into(), "ApiKey realm=\"test\"".to_owned())]);
    }
    let several = "the request has more than one API key".to_owned();
    assert_eq!(who(&chain, &mut request("/?api_key=key-one", &["X-API-Key: key-one"])), Err(several.clone()));
    assert_eq!(who(&chain, &mut request("/", &["X-API-Key: key-one", "X-API-Key: key-two"])), Err(several.clone()));
    assert_eq!(who(&chain, &mut request("/?api_key=key-one&api_key=key-one", &[])), Err(several));
    // A field with an underscore is another field, and never carries the key.
    assert_eq!(ask(&chain, &mut request("/", &["x_api_key: key-one"])).unwrap_err().code, "unauthorized");
}

#[test]
fn keys_do_not_reach_instances_unless_asked_for() {
    let target = "/a?x=1&api%5fkey=key-one&y=2";
    let mut hidden = request(target, &[]);
    who(&chain(&[api_key(false)]), &mut hidden).unwrap();
    assert_eq!(hidden.request.sent_query(), Some(&b"x=1&y=2"[..]));
    assert!(hidden.request.edits.removes(pylae_http::Name::XApiKey, b"X-API-Key"));
    let mut alone = request("/?api_key=key-one", &[]);
    who(&chain(&[api_key(false)]), &mut alone).unwrap();
    assert_eq!(alone.request.sent_query(), None);
    let mut shown = request(target, &[]);
    who(&chain(&[api_key(true)]), &mut shown).unwrap();
    assert_eq!(shown.request.sent_query(), Some(&b"x=1&api%5fkey=key-one&y=2"[..]));
    // If the request also has a token, the key is removed and the token stays.
    let mut both = request(
        "/",
        &["X-API-Key: nonsense", &format!("Authorization: Bearer {}", token(&json!({"sub": "7", "exp": NOW + 60})))],
    );
    assert_eq!(who(&chain(&[jwt(&secret(), &json!({})), api_key(false), basic()]), &mut both), Ok("7".to_owned()));
    assert!(both.request.edits.removes(pylae_http::Name::XApiKey, b""));
    assert!(!both.request.edits.removes(pylae_http::Name::Authorization, b""));
}

#[test]
fn keys_whose_hashes_begin_alike_are_told_apart() {
    let mut authenticator = api_key(false);
    let twin = hash("key-one")[..32].to_owned() + &"0".repeat(32);
    let other = json!({"id": "other", "email": "", "role": "", "permissions": [], "keys": [twin]});
    authenticator["consumers"].as_array_mut().unwrap().insert(0, other);
    let chain = chain(&[authenticator]);
    assert_eq!(who(&chain, &mut request("/", &["X-API-Key: key-one"])), Ok("batch".to_owned()));
    assert_eq!(who(&chain, &mut request("/", &["X-API-Key: key-three"])), Ok("cron".to_owned()));
}

#[test]
fn passwords_are_verified_elsewhere_and_remembered() {
    let shared = Arc::new(PolicyShared::new(100));
    let (sender, jobs) = channel();
    shared.identity.set_background(Box::new(ByHand(sender)));
    let chain = build(&auth(&[basic()]), &shared).unwrap();
    for (name, password) in [("ada", "correct horse"), ("bob", "battery staple")] {
        let mut first = request("/", &[&login(name, password)]);
        assert_eq!(ask_through(&chain, &jobs, &mut first).unwrap(), name);
        assert!(first.request.edits.removes(pylae_http::Name::Authorization, b""));
        // Cached: the request does not wait, and no job is queued.
        assert_eq!(who(&chain, &mut request("/", &[&login(name, password)])), Ok(name.to_owned()));
        let mut later = request("/", &[&login(name, password)]);
        later.times.wall += Duration::from_secs(60);
        assert!(matches!(chain.request(&mut later), Verdict::Wait(_)));
        drop(jobs.recv().unwrap());
    }
    for (name, password) in
        [("ada", "battery staple"), ("ada", ""), ("Ada", "correct horse"), ("nobody", "x"), ("", "")]
    {
        let rejection = ask_through(&chain, &jobs, &mut request("/", &[&login(name, password)])).unwrap_err();
        assert_eq!((rejection.status, &*rejection.message), (401, "the user name or the password is wrong"));
        assert_eq!(rejection.headers[0].1, "Basic realm=\"test\", charset=\"UTF-8\"");
    }
    for wrong in ["Basic", "Basic !", "Basic YWRh", "Basic YWRhOmNvcnJlY3QgaG9yc2U", "Basic /////w==", "Basicx"] {
        assert_eq!(ask(&chain, &mut request("/", &[&format!("Authorization: {wrong}")])).unwrap_err().status, 401);
    }
}

#[test]
fn a_request_whose_password_check_ends_early_waits_no_longer() {
    let shared = Arc::new(PolicyShared::new(100));
    let (sender, jobs) = channel();
    shared.identity.set_background(Box::new(ByHand(sender)));
    let chain = build(&auth(&[basic()]), &shared).unwrap();
    let mut exchange = request("/", &[&login("ada", "correct horse")]);
    let Verdict::Wait(mut waiting) = chain.request(&mut exchange) else { panic!("not verified elsewhere") };
    assert!(poll(waiting.as_mut()).is_pending());
    // As a job is dropped that panics.
    drop(jobs.recv().unwrap());
    let Poll::Ready(resume) = poll(waiting.as_mut()) else { panic!("still waiting") };
    let verdict = chain.resume(&mut exchange, resume);
    let rejection = user_or_rejection(verdict, &exchange).unwrap_err();
    assert_eq!((rejection.status, rejection.code), (503, "authentication_unavailable"));
}

#[test]
fn passwords_wait_in_a_bounded_queue() {
    struct Full;
    impl Background for Full {
        fn run(&self, _job: Box<dyn FnOnce() + Send>) -> bool {
            false
        }

        fn watch(&self, _set: &Arc<KeySet>) {}
    }
    let shared = Arc::new(PolicyShared::new(100));
    shared.identity.set_background(Box::new(Full));
    let chain = build(&auth(&[basic()]), &shared).unwrap();
    let rejection = ask(&chain, &mut request("/", &[&login("ada", "correct horse")])).unwrap_err();
    assert_eq!((rejection.status, rejection.code), (503, "authentication_unavailable"));
}

#[test]
fn hashes_that_are_refused() {
    for hash in [
        "plain",
        "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21l$c29tZXNhbHRzb21l",
        "$2b$31$abcdefghijklmnopqrstuv",
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21l$c29tZXNhbHRzb21l",
        "$1$abc$def",
        "",
    ] {
        let mut settings = basic();
        settings["users"][0]["password_hash"] = json!(hash);
        assert!(
            build(&auth(&[settings]), &Arc::new(PolicyShared::new(1)))
                .is_err_and(|why| why.contains("users[0].password_hash")),
            "{hash}"
        );
    }
    let mut settings = api_key(false);
    settings["consumers"][1]["keys"] = json!(["key-three"]);
    assert!(
        build(&auth(&[settings]), &Arc::new(PolicyShared::new(1)))
            .is_err_and(|why| why.contains("consumers[1].keys[0]"))
    );
}

#[test]
fn any_of_several_will_do() {
    let both = chain(&[jwt(&secret(), &json!({})), api_key(false)]);
    assert_eq!(
        who(&both, &mut request("/", &["X-API-Key: key-one", "Authorization: Bearer x.y.z"])),
        Ok("batch".to_owned())
    );
    let rejection = ask(&both, &mut request("/", &["X-API-Key: wrong", "Authorization: Bearer x.y.z"])).unwrap_err();
    assert_eq!(rejection.headers.len(), 2);
    let challenge =
        "Bearer realm=\"test\", error=\"invalid_token\", error_description=\"this is not a JSON Web Token\"";
    assert_eq!(rejection.headers[0], ("WWW-Authenticate".into(), challenge.to_owned()));
    let nothing = ask(&both, &mut request("/", &[])).unwrap_err();
    assert_eq!((nothing.status, nothing.headers[0].1.as_str()), (401, "Bearer realm=\"test\""));
}

#[test]
fn every_challenge_is_given_once_and_only_bad_tokens_are_told_why() {
    let names = [json!({"name": "one"}), json!({"name": "two"})];
    let chain = chain(&[jwt(&secret(), &names[0]), jwt(&secret(), &names[1]), api_key(false), basic()]);
    let plain = ["Bearer realm=\"test\"", "ApiKey realm=\"test\"", "Basic realm=\"test\", charset=\"UTF-8\""];
    let challenges = |fields: &[&str]| -> Vec<String> {
        let rejection = ask(&chain, &mut request("/", fields)).unwrap_err();
        assert_eq!(rejection.status, 401);
        rejection.headers.into_iter().map(|(_, challenge)| challenge).collect()
    };
    assert_eq!(challenges(&[]), plain);
    assert_eq!(challenges(&["Authorization: Frob x"]), plain);
    assert_eq!(challenges(&["X-API-Key: wrong"]), plain);
    let sent = challenges(&["Authorization: Bearer x.y.z", "X-API-Key: wrong"]);
    let error = ", error=\"invalid_token\", error_description=\"this is not a JSON Web Token\"";
    assert_eq!(sent, [&format!("{}{error}", plain[0]), plain[1], plain[2]]);
}

#[test]
fn what_could_not_be_checked_counts_more_than_what_was_refused() {
    let unfetched = jwt(&json!({"from": "url", "value": "http://keys.test/"}), &json!({"name": "fetched"}));
    let fixed = jwt(&secret(), &json!({}));
    for order in [[&unfetched, &fixed], [&fixed, &unfetched]] {
        let mut settings = auth(&order.map(Clone::clone));
        settings["failure_limit"] = json!({"limit": 1, "per": 60.0});
        let chain = build(&settings, &Arc::new(PolicyShared::new(100))).unwrap();
        let foreign = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"7"}"#, b"a secret of somebody else's, long enough");
        // Not the client's fault, so it is not counted either.
        for _ in 0..3 {
            let rejection = ask(&chain, &mut bearer(&foreign)).unwrap_err();
            assert_eq!((rejection.status, rejection.code), (503, "authentication_unavailable"));
        }
        let good = token(&json!({"sub": "7", "exp": NOW + 60}));
        assert_eq!(who(&chain, &mut bearer(&good)), Ok("7".to_owned()));
    }
}

#[test]
fn failures_of_an_address_are_limited() {
    let mut settings = auth(&[jwt(&secret(), &json!({})), api_key(false)]);
    settings["failure_limit"] = json!({"limit": 30, "per": 60.0});
    let chain = build(&settings, &Arc::new(PolicyShared::new(100))).unwrap();
    let from = |address: &str, field: &str| {
        let mut exchange = request("/", &[field]);
        exchange.request.origin.client = address.parse().unwrap();
        ask(&chain, &mut exchange).map_err(|rejection| rejection.status)
    };
    let good = format!("Authorization: Bearer {}", token(&json!({"sub": "7", "exp": NOW + 60})));
    assert_eq!(from("192.0.2.1", &good), Ok("7".to_owned()));
    for _ in 0..30 {
        assert_eq!(from("192.0.2.1", "Authorization: Bearer wrong"), Err(401));
    }
    let mut exchange = request("/", &["Authorization: Bearer wrong"]);
    exchange.request.origin.client = "192.0.2.1".parse().unwrap();
    let refused = ask(&chain, &mut exchange).unwrap_err();
    assert_eq!((refused.status, refused.headers), (429, vec![("Retry-After".into(), "2".to_owned())]));
    assert_eq!(from("192.0.2.1", "X-API-Key: wrong"), Err(429));
    // Cached credentials and valid API keys still pass, and so do other addresses. A missing credential is not a
    // failure.
    assert_eq!(from("192.0.2.1", &good), Ok("7".to_owned()));
    assert_eq!(from("192.0.2.1", "X-API-Key: key-one"), Ok("batch".to_owned()));
    assert_eq!(from("192.0.2.1", "X-Nothing: 1"), Err(401));
    let fresh = format!("Authorization: Bearer {}", token(&json!({"sub": "8", "exp": NOW + 60})));
    assert_eq!(from("192.0.2.1", &fresh), Err(429));
    assert_eq!(from("192.0.2.2", "Authorization: Bearer wrong"), Err(401));
    for _ in 0..30 {
        from("2001:db8::1", "X-API-Key: wrong").unwrap_err();
    }
    assert_eq!(from("2001:db8::2", "X-API-Key: wrong"), Err(429));
}

#[test]
fn failures_of_a_site_are_limited_however_many_networks_it_has() {
    let mut settings = auth(&[jwt(&secret(), &json!({})), api_key(false)]);
    settings["failure_limit"] = json!({"limit": 2, "per": 60.0});
    let chain = build(&settings, &Arc::new(PolicyShared::new(1000))).unwrap();
    let from = |address: &str, field: &str| {
        let mut exchange = request("/", &[field]);
        exchange.request.origin.client = address.parse().unwrap();
        ask(&chain, &mut exchange).map_err(|rejection| (rejection.status, rejection.headers))
    };
    let guess = |address: &str| from(address, "X-API-Key: wrong").unwrap_err().0;
    // Each client has its own /64: 8 in each /56, 32 in a /48.
    for network in 0..4 {
        for number in 0..8 {
            assert_eq!(guess(&format!("2001:db8:1:{network}{number:02x}::1")), 401);
        }
        assert_eq!(guess(&format!("2001:db8:1:{network}08::1")), 429, "the /56 has no more");
    }
    let (status, headers) = from("2001:db8:1:ffff::1", "Authorization: Bearer wrong").unwrap_err();
    assert_eq!((status, headers), (429, vec![("Retry-After".into(), "2".to_owned())]), "the /48 has no more");
    let good = format!("Authorization: Bearer {}", token(&json!({"sub": "7", "exp": NOW + 60})));
    assert_eq!(from("2001:db8:1:fff0::1", &good).unwrap_err().0, 429, "a good guess would pass otherwise");
    assert_eq!(from("2001:db8:1:ffff::1", "X-API-Key: key-one"), Ok("batch".to_owned()));
    // Another client in the same /48.
    assert_eq!(from("2001:db8:2::1", &good), Ok("7".to_owned()));
    assert_eq!(from("2001:db8:1:fff0::1", &good), Ok("7".to_owned()), "what is remembered passes");
    assert_eq!([guess("2001:db8:2::1"), guess("2001:db8:2::2"), guess("2001:db8:2::3")], [401, 401, 429]);
    // IPv4 addresses are not grouped.
    for last in 0..64 {
        assert_eq!(guess(&format!("192.0.2.{last}")), 401);
    }
}

#[test]
fn a_credential_may_be_left_out_where_none_is_required() {
    let shared = Arc::new(PolicyShared::new(100));
    let built = Authenticators::build(Some(&auth(&[jwt(&secret(), &json!({}))])), &shared.identity).unwrap();
    let configs =
        BTreeMap::from([("authentication".to_owned(), json!({"authenticators": ["jwt"], "required": false}))]);
    let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &built };
    let chain = Chain::build(&configs, &parts).unwrap();
    assert_eq!(who(&chain, &mut request("/", &[])), Ok(String::new()));
    assert_eq!(ask(&chain, &mut bearer("x")).unwrap_err().status, 401);
    let unknown =
        BTreeMap::from([("authentication".to_owned(), json!({"authenticators": ["nobody"], "required": true}))]);
    assert!(Chain::build(&unknown, &parts).is_err());
    let none = BTreeMap::from([("authentication".to_owned(), json!({"authenticators": [], "required": true}))]);
    assert!(Chain::build(&none, &parts).is_err());
}
