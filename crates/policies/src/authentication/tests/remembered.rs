//! Which credentials are cached, for how long, and the effect of revocations.

use pylae_core::cluster::Revocation;
use serde_json::json;

use super::super::memory::{CredentialCache, VerifiedCredential};
use super::*;

fn entry(until: u64) -> VerifiedCredential {
    let user = pylae_core::User { id: "7".into(), ..pylae_core::User::default() };
    VerifiedCredential {
        user: Arc::new(user),
        until: Duration::from_secs(until),
        id: Some("a".into()),
        binding: None,
        answer: None,
    }
}

#[test]
fn a_token_is_remembered_until_it_expires() {
    let shared = Arc::new(PolicyShared::new(10));
    let chain = build(&auth(&[jwt(&secret(), &json!({"leeway": 0.0}))]), &shared).unwrap();
    let one = token(&json!({"sub": "7", "exp": NOW + 60}));
    let mut first = bearer(&one);
    who(&chain, &mut first).unwrap();
    assert_eq!(shared.identity.memory.len(), 1);
    let mut second = bearer(&one);
    second.times.wall += Duration::from_millis(59_999);
    who(&chain, &mut second).unwrap();
    assert!(Arc::ptr_eq(first.request.user.as_ref().unwrap(), second.request.user.as_ref().unwrap()));
    let mut late = bearer(&one);
    late.times.wall += Duration::from_secs(60);
    assert_eq!(who(&chain, &mut late), Err("the token has expired".to_owned()));
}

#[test]
fn other_settings_do_not_know_what_was_remembered() {
    let shared = Arc::new(PolicyShared::new(10));
    let one = token(&json!({"sub": "7", "exp": NOW + 60, "iss": "me"}));
    who(&build(&auth(&[jwt(&secret(), &json!({}))]), &shared).unwrap(), &mut bearer(&one)).unwrap();
    for more in [
        json!({"issuers": ["you"]}),
        json!({"keys": {"from": "secret", "value": ["another secret of enough bytes......"]}}),
    ] {
        let chain = build(&auth(&[jwt(&secret(), &more)]), &shared).unwrap();
        assert!(who(&chain, &mut bearer(&one)).is_err(), "{more}");
    }
    // The same settings use the cached token after a reload.
    let again = build(&auth(&[jwt(&secret(), &json!({}))]), &shared).unwrap();
    let before = shared.identity.memory.len();
    who(&again, &mut bearer(&one)).unwrap();
    assert_eq!(shared.identity.memory.len(), before);
}

#[test]
fn revocation_takes_effect_at_once() {
    let shared = Arc::new(PolicyShared::new(10));
    let chain = build(&auth(&[jwt(&secret(), &json!({}))]), &shared).unwrap();
    let issue =
        |id: &str, user: &str, issued: u64| token(&json!({"sub": user, "jti": id, "iat": issued, "exp": NOW + 600}));
    let (a, b, c) = (issue("a", "7", NOW - 10), issue("b", "7", NOW - 10), issue("c", "8", NOW - 10));
    for one in [&a, &b, &c] {
        who(&chain, &mut bearer(one)).unwrap();
    }
    let now = Duration::from_secs(NOW);
    assert!(shared.identity.revoke(Revoked::Token("a"), clocks(now), Duration::from_secs(100)));
    let revoked = Err("the token was revoked".to_owned());
    assert_eq!(who(&chain, &mut bearer(&a)), revoked);
    assert_eq!(who(&chain, &mut bearer(&b)), Ok("7".to_owned()));
    assert!(shared.identity.revoke(Revoked::User("7"), clocks(now), Duration::from_secs(100)));
    assert_eq!(who(&chain, &mut bearer(&b)), revoked);
    assert_eq!(who(&chain, &mut bearer(&c)), Ok("8".to_owned()));
    // A token issued to the user afterwards is accepted; one without `iat` is not.
    let mut later = bearer(&issue("d", "7", NOW + 1));
    later.times.wall += Duration::from_secs(1);
    assert_eq!(who(&chain, &mut later), Ok("7".to_owned()));
    assert_eq!(who(&chain, &mut bearer(&token(&json!({"sub": "7", "exp": NOW + 600})))), revoked);
    // A revocation ends after its time.
    let mut over = bearer(&a);
    over.times.wall += Duration::from_secs(100);
    assert_eq!(who(&chain, &mut over), Ok("7".to_owned()));
}

#[test]
fn what_another_node_has_revoked_is_refused_though_it_is_remembered() {
    let shared = Arc::new(PolicyShared::new(10));
    let chain = build(&auth(&[jwt(&secret(), &json!({}))]), &shared).unwrap();
    let issue = |user: &str, issued: u64| token(&json!({"sub": user, "iat": issued, "exp": NOW + 600}));
    let (old, later, other) = (issue("7", NOW - 10), issue("7", NOW - 1), issue("8", NOW - 10));
    let (now, count) = (Duration::from_secs(NOW), || shared.identity.memory.len());
    for one in [&old, &later, &other] {
        who(&chain, &mut bearer(one)).unwrap();
    }
    let revocation = Revocation { name: Revoked::User("7").into(), since: NOW - 5, until: (NOW + 60) * 1000 };
    assert_eq!(shared.identity.learn(&[revocation], now), 0);
    assert_eq!(who(&chain, &mut bearer(&old)), Err("the token was revoked".to_owned()));
    assert_eq!(who(&chain, &mut bearer(&later)), Ok("7".to_owned()));
    assert_eq!(who(&chain, &mut bearer(&other)), Ok("8".to_owned()));
    assert_eq!(count(), 3);
    // The store's clock counts: there it is a minute later.
    shared.identity.with_revocations(|revoked| revoked.set_store_clock((NOW + 60) * 1000, now));
    assert_eq!(who(&chain, &mut bearer(&issue("7", NOW - 10))), Ok("7".to_owned()));
}

#[test]
fn what_was_verified_before_a_revocation_is_not_remembered_after_it() {
    let memory = CredentialCache::of_verified();
    let tag = memory.tag(1, b"token");
    let epoch = memory.epoch();
    assert!(memory.revoke(Revoked::User("somebody"), clocks(Duration::ZERO), Duration::from_secs(1)));
    memory.insert(tag, entry(100), 100, epoch);
    assert!(memory.get(tag, Duration::ZERO).is_none());
    memory.insert(tag, entry(100), 100, memory.epoch());
    assert!(memory.get(tag, Duration::ZERO).is_some());
    assert!(memory.get(memory.tag(2, b"token"), Duration::ZERO).is_none());
    assert!(memory.get(memory.tag(1, b"tokem"), Duration::ZERO).is_none());
}

#[test]
fn memory_is_bounded() {
    let memory = CredentialCache::of_verified();
    for number in 0..40_000_u32 {
        memory.insert(memory.tag(0, &number.to_le_bytes()), entry(100), 2000, memory.epoch());
    }
    assert!((5_000..10_000).contains(&memory.len()), "{}", memory.len());
    let last = memory.tag(0, &39_999_u32.to_le_bytes());
    assert!(memory.get(last, Duration::ZERO).is_some());
    memory.insert(memory.tag(0, b"huge"), entry(100), 1 << 20, memory.epoch());
    assert!(memory.get(memory.tag(0, b"huge"), Duration::ZERO).is_none());
}

#[test]
fn revocations_are_bounded_and_none_is_forgotten_for_another() {
    let memory = CredentialCache::of_verified();
    let user = |name: &str| pylae_core::User { id: name.into(), ..pylae_core::User::default() };
    let (short, long) = (Duration::from_secs(10), Duration::from_secs(1000));
    for number in 0..50_000 {
        assert!(memory.revoke(Revoked::Token(&format!("{number}")), clocks(Duration::ZERO), short));
        assert!(memory.revoke(Revoked::User(&format!("{number}")), clocks(Duration::ZERO), long));
    }
    assert!(!memory.revoke(Revoked::Token("more"), clocks(Duration::ZERO), short));
    assert!(memory.is_revoked(&user("0"), None, None, Duration::ZERO));
    assert!(memory.is_revoked(&user("x"), Some("49999"), None, Duration::ZERO));
    assert!(memory.revoke(Revoked::Token("more"), clocks(short), short), "those that are over make room");
    assert!(memory.is_revoked(&user("0"), None, None, short));
}
