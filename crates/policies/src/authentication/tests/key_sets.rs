//! Fetched key sets, with a fetcher that the test controls.

use std::sync::Mutex;

use pylae_core::Instant;
use serde_json::{Value, json};

use super::super::authenticator::AuthenticatorKind;
use super::super::binding::evidence::{Evidence, Scheme};
use super::super::key_set::{Background, Fetched, KeySet};
use super::super::kinds::jwt::Jwt;
use super::super::outcome::{AuthenticatorOutcome, Moment, Refusal};
use super::super::token;
use super::*;

/// Collects the sets that it must watch.
#[derive(Clone, Default)]
struct Fetcher(Arc<Mutex<Vec<Arc<KeySet>>>>);

impl Background for Fetcher {
    fn run(&self, _job: Box<dyn FnOnce() + Send>) -> bool {
        false
    }

    fn watch(&self, set: &Arc<KeySet>) {
        self.0.lock().unwrap().push(Arc::clone(set));
    }
}

impl Fetcher {
    fn set(&self) -> Arc<KeySet> {
        Arc::clone(&self.0.lock().unwrap()[0])
    }

    /// Fetches the set with this result if it is due. Returns None if it is not.
    fn work(&self, document: Result<&str, &str>, now: Instant) -> Option<Fetched> {
        let set = self.set();
        set.due().filter(|due| *due <= now)?;
        set.begin_fetch(now);
        Some(set.finish_fetch(document.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned), now))
    }
}

struct Stage {
    chain: Chain,
    fetcher: Fetcher,
    one: Value,
    two: Value,
}

fn stage() -> Stage {
    let shared = Arc::new(PolicyShared::new(1000));
    let fetcher = Fetcher::default();
    shared.identity.set_background(Box::new(fetcher.clone()));
    let settings = auth(&[jwt(&json!({"from": "url", "value": "http://keys.test/?secret=1"}), &json!({}))]);
    let chain = build(&settings, &shared).unwrap();
    let rotation = tokens()["rotation"].clone();
    Stage { chain, fetcher, one: rotation[0].clone(), two: rotation[1].clone() }
}

fn document(entries: &[&Value]) -> String {
    json!({"keys": entries.iter().map(|entry| &entry["jwk"]).collect::<Vec<_>>()}).to_string()
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn bring(entry: &Value, now: Instant) -> Exchange {
    let mut exchange = bearer(entry["token"].as_str().unwrap());
    exchange.times.now = now;
    exchange
}

/// Runs a request. Returns None if it waits.
fn immediately(stage: &Stage, entry: &Value, now: Instant) -> Option<Result<String, u16>> {
    let mut exchange = bring(entry, now);
    match stage.chain.request(&mut exchange) {
        Verdict::Wait(_) => None,
        verdict => Some(user_or_rejection(verdict, &exchange).map_err(|rejection| rejection.status)),
    }
}

/// The result of [`immediately`] for an accepted request.
#[allow(clippy::unnecessary_wraps)] // it is compared with one that may wait
fn pass(user: &str) -> Option<Result<String, u16>> {
    Some(Ok(user.to_owned()))
}

#[test]
fn the_first_request_waits_for_the_first_fetch() {
    let stage = stage();
    let mut exchange = bring(&stage.one, at(1));
    let Verdict::Wait(mut waiting) = stage.chain.request(&mut exchange) else { panic!("did not wait") };
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(stage.fetcher.work(Ok(&document(&[&stage.one])), at(2)), Some(Fetched::Usual));
    let Poll::Ready(resume) = poll(waiting.as_mut()) else { panic!("still waits") };
    let verdict = stage.chain.resume(&mut exchange, resume);
    assert_eq!(user_or_rejection(verdict, &exchange).unwrap(), "42");
    assert_eq!(immediately(&stage, &stage.one, at(2)), pass("42"));
}

#[test]
fn a_fetch_that_finishes_while_a_token_is_verified_counts() {
    let shared = Arc::new(PolicyShared::new(10));
    let fetcher = Fetcher::default();
    shared.identity.set_background(Box::new(fetcher.clone()));
    let settings = jwt(&json!({"from": "url", "value": "http://keys.test/"}), &json!({}));
    let jwt = Jwt::build(serde_json::from_value(settings).unwrap(), &shared.identity).unwrap();
    let one = tokens()["rotation"][0].clone();
    let token = one["token"].as_str().unwrap();
    // What verification without keys has found, just before the first fetch finishes.
    let before = shared.identity.memory.tag(0, token.as_bytes());
    fetcher.work(Ok(&document(&[&one])), at(1));
    let asked = bring(&one, at(1));
    let evidence = Evidence::of(&asked, Scheme::Bearer);
    let outcome = jwt.wait_for_key(token, before, Moment::of(&asked), evidence, token::UNKNOWN_KEY);
    assert!(matches!(outcome, AuthenticatorOutcome::Accepted(_)));
    // Nothing has changed since: refused without a third verification.
    let unknown = tokens()["rotation"][1]["token"].as_str().unwrap().to_owned();
    let mut exchange = bearer(&unknown);
    exchange.times.now = at(1);
    assert!(matches!(jwt.authenticate(&exchange, || None), AuthenticatorOutcome::Refused(Refusal::Bad(_))));
}

#[test]
fn rotation_loses_no_request() {
    let stage = stage();
    stage.fetcher.work(Ok(&document(&[&stage.one])), at(0));
    assert_eq!(immediately(&stage, &stage.one, at(1)), pass("42"));
    // A token of the new key arrives before the set is due again, so the request waits for the set.
    let mut exchange = bring(&stage.two, at(40));
    let Verdict::Wait(mut waiting) = stage.chain.request(&mut exchange) else { panic!("did not wait") };
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(immediately(&stage, &stage.one, at(40)), pass("42"));
    stage.fetcher.work(Ok(&document(&[&stage.one, &stage.two])), at(40)).unwrap();
    let Poll::Ready(resume) = poll(waiting.as_mut()) else { panic!("still waits") };
    assert_eq!(user_or_rejection(stage.chain.resume(&mut exchange, resume), &exchange).unwrap(), "43");
    assert_eq!(immediately(&stage, &stage.one, at(41)), pass("42"));
    // Once the old key is gone, tokens signed with it are refused, cached or not.
    assert!(stage.fetcher.work(Ok(&document(&[&stage.two])), at(640)).is_some());
    assert_eq!(immediately(&stage, &stage.two, at(641)), pass("43"));
    assert_eq!(immediately(&stage, &stage.one, at(641)), Some(Err(401)));
}

#[test]
fn rotation_of_keys_without_names_loses_no_request() {
    let all = tokens();
    let with = |jwk: &Value| json!({"keys": [jwk]}).to_string();
    // Keys of the same algorithm and of another one.
    for old in [&all["rfc"][1]["jwk"], &all["signed"]["ES256"]["jwk"]] {
        let mut old = old.clone();
        old.as_object_mut().unwrap().remove("kid");
        let rotated = &all["signed"]["RS256"];
        let stage = stage();
        stage.fetcher.work(Ok(&with(&old)), at(0));
        // A set that was just fetched is not fetched again.
        assert_eq!(immediately(&stage, rotated, at(1)), Some(Err(401)));
        let mut exchange = bring(rotated, at(40));
        let Verdict::Wait(mut waiting) = stage.chain.request(&mut exchange) else { panic!("did not wait") };
        assert!(poll(waiting.as_mut()).is_pending());
        stage.fetcher.work(Ok(&with(&rotated["jwk"])), at(40)).unwrap();
        let Poll::Ready(resume) = poll(waiting.as_mut()) else { panic!("still waits") };
        assert_eq!(user_or_rejection(stage.chain.resume(&mut exchange, resume), &exchange).unwrap(), "42");
    }
}

#[test]
fn what_no_newer_set_could_verify_is_refused_at_once() {
    let stage = stage();
    stage.fetcher.work(Ok(&document(&[&stage.one])), at(0));
    let kid = stage.one["jwk"]["kid"].as_str().unwrap();
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "frob"}),
        // The key is in the set, but does not verify the signature.
        json!({"alg": "EdDSA", "kid": kid}),
        json!({"alg": "ES256", "kid": kid}),
    ] {
        let forged = json!({"token": format!("{}.{}.{}", encode(header.to_string()), encode("{}"), encode([7; 64]))});
        assert_eq!(immediately(&stage, &forged, at(100)), Some(Err(401)), "{header}");
    }
    assert!(stage.fetcher.work(Err("not due"), at(100)).is_none());
}

#[test]
fn tokens_of_another_issuer_do_not_wait_for_keys() {
    let shared = Arc::new(PolicyShared::new(10));
    let fetcher = Fetcher::default();
    shared.identity.set_background(Box::new(fetcher.clone()));
    let settings = auth(&[jwt(&json!({"from": "url", "value": "http://keys.test/"}), &json!({"issuers": ["me"]}))]);
    let chain = build(&settings, &shared).unwrap();
    let (one, two) = (tokens()["rotation"][0].clone(), tokens()["rotation"][1].clone());
    fetcher.work(Ok(&document(&[&one])), at(0));
    let header = encode(json!({"alg": "EdDSA", "kid": two["jwk"]["kid"]}).to_string());
    for (issuer, waits) in [("you", false), ("me", true)] {
        let forged = format!("{header}.{}.{}", encode(json!({"iss": issuer}).to_string()), encode([7; 64]));
        let mut exchange = bring(&json!({"token": forged}), at(100));
        assert_eq!(matches!(chain.request(&mut exchange), Verdict::Wait(_)), waits, "{issuer}");
    }
}

#[test]
fn a_set_that_is_taken_up_again_is_not_taken_for_what_it_was() {
    let shared = Arc::new(PolicyShared::new(10));
    let fetcher = Fetcher::default();
    shared.identity.set_background(Box::new(fetcher.clone()));
    let settings = auth(&[jwt(&json!({"from": "url", "value": "http://keys.test/"}), &json!({}))]);
    let (one, two) = (tokens()["rotation"][0].clone(), tokens()["rotation"][1].clone());
    let first = build(&settings, &shared).unwrap();
    fetcher.work(Ok(&document(&[&one])), at(0));
    assert!(ask(&first, &mut bring(&one, at(1))).is_ok());
    // One plan without the set, then one with it again; meanwhile the issuer has removed the key.
    drop(first);
    fetcher.0.lock().unwrap().clear();
    let second = build(&settings, &shared).unwrap();
    fetcher.work(Ok(&document(&[&two])), at(2));
    assert_eq!(ask(&second, &mut bring(&one, at(3))).unwrap_err().status, 401);
    assert!(ask(&second, &mut bring(&two, at(3))).is_ok());
}

#[test]
fn the_last_good_set_stays() {
    let stage = stage();
    stage.fetcher.work(Ok(&document(&[&stage.one])), at(0));
    let large = "x".repeat(1 << 20);
    let wrong = [
        Err("down"),
        Ok(""),
        Ok("<html>"),
        Ok("{}"),
        Ok(r#"{"keys":[]}"#),
        Ok(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
        Ok(&large),
    ];
    let mut now = 600;
    for (index, document) in wrong.into_iter().enumerate() {
        let fetched = stage.fetcher.work(document, at(now)).expect("due");
        assert_eq!(matches!(fetched, Fetched::Failing(_)), index == 0, "told once");
        assert_eq!(immediately(&stage, &stage.one, at(now)), pass("42"));
        // No retry within 30 seconds.
        assert_eq!(stage.fetcher.work(Err("early"), at(now + 29)), None);
        now += 30;
    }
    assert_eq!(stage.fetcher.work(Ok(&document(&[&stage.one])), at(now)), Some(Fetched::Recovered));
}

#[test]
fn without_any_set_nobody_passes_and_the_client_is_not_blamed() {
    let stage = stage();
    let fetched = stage.fetcher.work(Err("down"), at(0));
    assert_eq!(fetched, Some(Fetched::Failing("down".to_owned())));
    assert_eq!(immediately(&stage, &stage.one, at(0)), Some(Err(503)));
    // The retries come soon at first, then less and less often.
    let mut tries = 0;
    for second in 1..=100 {
        tries += u32::from(stage.fetcher.work(Err("down"), at(second)).is_some());
    }
    assert!((5..=9).contains(&tries), "{tries}");
}

#[test]
fn unknown_keys_do_not_flood_the_issuer() {
    let stage = stage();
    stage.fetcher.work(Ok(&document(&[&stage.one])), at(0));
    let mut fetches = 0;
    for number in 0..3000 {
        let now = Instant::from_nanos(number * 100_000_000);
        let header = format!(r#"{{"alg":"EdDSA","kid":"unknown-{number}"}}"#);
        let forged = json!({"token": format!("{}.{}.{}", encode(header), encode("{}"), encode([7; 64]))});
        let waits = immediately(&stage, &forged, now).is_none();
        let fetched = stage.fetcher.work(Ok(&document(&[&stage.one])), now).is_some();
        assert_eq!(waits, fetched, "only who can hope for something waits");
        fetches += u32::from(fetched);
    }
    // 300 seconds.
    assert!((9..=10).contains(&fetches), "{fetches}");
}

#[test]
fn a_set_is_kept_over_a_reload_and_let_go_with_its_last_user() {
    let shared = Arc::new(PolicyShared::new(10));
    let fetcher = Fetcher::default();
    shared.identity.set_background(Box::new(fetcher.clone()));
    let settings = auth(&[jwt(&json!({"from": "url", "value": "http://keys.test/"}), &json!({}))]);
    let first = build(&settings, &shared).unwrap();
    let second = build(&settings, &shared).unwrap();
    let sets = std::mem::take(&mut *fetcher.0.lock().unwrap());
    assert!(Arc::ptr_eq(&sets[0], &sets[1]));
    let weak = Arc::downgrade(&sets[0]);
    drop((first, second, sets));
    assert!(weak.upgrade().is_none());
}

#[test]
fn what_is_told_about_a_set_holds_no_query() {
    let stage = stage();
    assert_eq!(stage.fetcher.set().redacted_url(), "http://keys.test/");
}
