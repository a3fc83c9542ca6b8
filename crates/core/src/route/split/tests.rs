use std::collections::BTreeMap;

use proptest::prelude::*;
use pylae_http::HeadLimits;

use super::super::matching::predicate::{InHead, ValueScratch};
use super::*;
use crate::plan::{Seconds, Sticky, ValueMatch, ValueTest};
use crate::service::fixture;

/// Farthest that a member is from its share, in requests, in runs of up to 2000.
const BOUND: f64 = 4.0;

fn request(fields: &str) -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.request.buffer.extend_from_slice(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes());
    let limits = HeadLimits { head: 1 << 14, target: 1 << 13, fields: 100 };
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
    exchange
}

fn member(service: &str, weight: u32) -> MemberPlan {
    MemberPlan { service: service.into(), weight, when: None, headers: FieldChanges::default() }
}

fn condition(name: &str, value: ValueTest) -> Vec<ValueMatch> {
    vec![ValueMatch { name: name.into(), value }]
}

fn on_header(name: &str, value: ValueTest) -> WhenPlan {
    WhenPlan { headers: condition(name, value), cookies: vec![], expression: None }
}

fn on_cookie(name: &str, value: ValueTest) -> WhenPlan {
    WhenPlan { headers: vec![], cookies: condition(name, value), expression: None }
}

fn sticky(secret: Option<&str>) -> Sticky {
    let ttl = Some(Seconds(std::time::Duration::from_secs(90)));
    Sticky { cookie: "at".into(), ttl, secret: secret.map(Into::into) }
}

/// A split, asked as a router asks it.
struct Asked {
    split: Split,
    patterns: ValuePatterns,
    turns: AtomicU64,
}

fn split(members: Vec<MemberPlan>, sticky: Option<Sticky>) -> Asked {
    let mut patterns = ValuePatterns::default();
    let split = Split::build("r", &SplitPlan { members, sticky }, &mut patterns).map_err(|found| format!("{found:?}"));
    Asked { split: split.unwrap(), patterns, turns: AtomicU64::new(0) }
}

impl Asked {
    /// The service chosen for the request, and why, if the members at `down` are not available.
    fn choose(&self, exchange: &mut Exchange, down: &[usize]) -> Option<(&str, ChosenBy)> {
        let mut scratch = ValueScratch::default();
        let headers = InHead { fields: &exchange.request.head.fields, buf: &exchange.request.buffer };
        let mut meets_fields = |all: &MemberConditions| {
            all.predicates.iter().all(|one| one.matches(&headers, None, &self.patterns, &mut scratch))
        };
        let meets = |all: &MemberConditions| meets_fields(all) && all.meets_expression(exchange, "r") == Ok(true);
        let choice = self.split.choose(exchange, meets, &self.turns, |index| !down.contains(&index))?;
        exchange.set_member(&self.split.members[choice.index], choice);
        Some((self.split.members[choice.index].service(), choice.by))
    }

    fn ask(&self, fields: &str) -> Option<(&str, ChosenBy)> {
        self.choose(&mut request(fields), &[])
    }

    /// The cookie that the next client gets, and the service that it stands for.
    fn cookie(&self) -> (String, String) {
        let mut exchange = request("");
        let (service, _) = self.choose(&mut exchange, &[]).unwrap();
        let mut written = Vec::new();
        assert!(self.split.write_cookie(&exchange, &mut written));
        let written = String::from_utf8(written).unwrap();
        (written.split_once(';').unwrap().0.to_owned(), service.to_owned())
    }
}

fn problems(members: Vec<MemberPlan>) -> Vec<String> {
    let found = Split::build("r", &SplitPlan { members, sticky: None }, &mut ValuePatterns::default());
    found.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

proptest! {
    #[test]
    fn every_run_of_requests_meets_the_weights(
        weights in prop::collection::vec(prop_oneof![0..=3_u32, 0..=100_u32, Just(u32::MAX)], 1..8),
        first: u64,
        length in 1..2000_u32,
    ) {
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        prop_assume!(total > 0.0);
        let members = weights.iter().enumerate().map(|(at, &weight)| member(&at.to_string(), weight)).collect();
        let asked = split(members, None);
        let mut counted = vec![0; weights.len()];
        for turn in 0..length {
            counted[asked.split.by_weight(first.wrapping_add(turn.into()), u64::MAX).unwrap()] += 1;
        }
        for (&weight, &count) in weights.iter().zip(&counted) {
            let share = f64::from(length) * f64::from(weight) / total;
            prop_assert!((f64::from(count) - share).abs() < BOUND, "{count} of {length}, and not {share}");
            prop_assert!(weight > 0 || count == 0);
        }
    }

    /// As many clients do: a preflight before each request, or a page with five calls.
    #[test]
    fn requests_in_a_rhythm_meet_all_members(every in 2..40_u64, first: u64) {
        let asked = split(vec![member("stable", 3), member("canary", 1)], None);
        let met = (0..400).filter(|call| asked.split.by_weight(first.wrapping_add(call * every), u64::MAX) == Some(1));
        prop_assert!((50..150).contains(&met.count()));
    }
}

#[test]
fn conditions_are_tried_in_order_and_before_weights() {
    let members = vec![
        MemberPlan { when: Some(on_header("x-beta", ValueTest::Present)), ..member("beta", 0) },
        MemberPlan { when: Some(on_header("X-Team", ValueTest::Pattern("blue|red".into()))), ..member("team", 0) },
        MemberPlan { when: Some(on_cookie("group", ValueTest::Equals("b".into()))), ..member("group", 0) },
        member("stable", 1),
    ];
    let asked = split(members, None);
    for (fields, service) in [
        ("X-Beta: \r\nX-Team: red\r\n", "beta"),
        ("X-Team: green\r\nX-Team: bluebell\r\n", "team"),
        ("Cookie: a=1; group=b\r\n", "group"),
        ("Cookie: a=1\r\nCookie: group=\"b\"\r\n", "group"),
    ] {
        assert_eq!(asked.ask(fields), Some((service, ChosenBy::When)), "{fields}");
    }
    for fields in ["", "X-Team: green\r\n", "Cookie: group=c; Group=b\r\n", "Cookie: groups=b\r\n"] {
        assert_eq!(asked.ask(fields), Some(("stable", ChosenBy::Weight)), "{fields}");
    }
    assert_eq!(asked.turns.into_inner(), 4, "conditions take no turn");
}

#[test]
fn all_conditions_of_a_member_must_be_met() {
    let when = WhenPlan {
        headers: condition("x-beta", ValueTest::Present),
        cookies: condition("group", ValueTest::Equals("b".into())),
        expression: Some("request.headers['x-beta'] == '1'".into()),
    };
    let asked = split(vec![MemberPlan { when: Some(when), ..member("beta", 0) }, member("stable", 1)], None);
    for (fields, service) in [
        ("X-Beta: 1\r\nCookie: group=b\r\n", "beta"),
        ("X-Beta: 2\r\nCookie: group=b\r\n", "stable"),
        ("X-Beta: 1\r\n", "stable"),
        ("Cookie: group=b\r\n", "stable"),
    ] {
        assert_eq!(asked.ask(fields).unwrap().0, service, "{fields}");
    }
}

#[test]
fn without_weights_only_conditions_decide() {
    let when = Some(on_header("x-beta", ValueTest::Present));
    let asked = split(vec![MemberPlan { when, ..member("beta", 0) }, member("stable", 0)], None);
    assert_eq!(asked.ask("X-Beta: 1\r\n"), Some(("beta", ChosenBy::When)));
    assert_eq!(asked.ask(""), None);
}

#[test]
fn only_available_members_are_chosen_by_weight_unless_none_is() {
    let when = Some(on_header("x-beta", ValueTest::Present));
    let members = vec![member("stable", 1), MemberPlan { when, ..member("canary", 1) }];
    let asked = split(members, None);
    let spread = |down: &[usize]| {
        let chosen: Vec<_> = (0..8).map(|_| asked.choose(&mut request(""), down).unwrap().0).collect();
        (chosen.contains(&"stable"), chosen.contains(&"canary"))
    };
    assert_eq!((spread(&[]), spread(&[0]), spread(&[1])), ((true, true), (false, true), (true, false)));
    assert_eq!(spread(&[0, 1]), (true, true));
    // Who asks for a member by name gets it, however it is.
    let asking = asked.choose(&mut request("X-Beta: 1\r\n"), &[1]);
    assert_eq!(asking, Some(("canary", ChosenBy::When)));
}

#[test]
fn a_cookie_keeps_a_client_on_a_member_while_it_has_a_weight() {
    let of = |stable, canary| split(vec![member("canary", canary), member("stable", stable)], Some(sticky(None)));
    let asked = of(1, 1);
    let cookies: BTreeMap<String, String> = (0..4).map(|_| asked.cookie()).map(|(pair, name)| (name, pair)).collect();
    assert_eq!(cookies.len(), 2);
    for (service, pair) in &cookies {
        let mut exchange = request(&format!("Cookie: a=b; {pair}\r\n"));
        assert_eq!(asked.choose(&mut exchange, &[]), Some((service.as_str(), ChosenBy::Sticky)));
        assert!(!asked.split.write_cookie(&exchange, &mut Vec::new()), "it is right already");
    }
    let fields = format!("Cookie: {}\r\n", cookies["canary"]);
    // Another plan, other weights: the same member, unless it has none any more.
    assert_eq!(of(1000, 1).ask(&fields), Some(("canary", ChosenBy::Sticky)));
    assert_eq!(of(1000, 0).ask(&fields), Some(("stable", ChosenBy::Weight)));
    assert_eq!(split(vec![member("stable", 1)], Some(sticky(None))).ask(&fields), Some(("stable", ChosenBy::Weight)));
    // While it is not available too.
    assert_eq!(asked.choose(&mut request(&fields), &[0]), Some(("stable", ChosenBy::Weight)));
}

#[test]
fn a_cookie_holds_an_id_that_is_keyed_by_the_secret_and_no_name() {
    let stable = || vec![member("stable", 1)];
    let (pair, _) = split(stable(), Some(sticky(None))).cookie();
    assert_eq!(pair, format!("at={:016x}", sticky::id("", "split", "stable")));
    let keyed = split(stable(), Some(sticky(Some("s3cret"))));
    assert_ne!(keyed.cookie().0, pair);
    let mut exchange = request("");
    keyed.choose(&mut exchange, &[]).unwrap();
    exchange.request.origin.secure = true;
    let mut written = Vec::new();
    assert!(keyed.split.write_cookie(&exchange, &mut written));
    assert!(String::from_utf8(written).unwrap().ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=90"));
    for forged in ["", "stable", "0123456789abcdef", &pair[3..]] {
        let fields = format!("Cookie: at={forged}\r\n");
        assert_eq!(keyed.ask(&fields), Some(("stable", ChosenBy::Weight)), "{forged}");
    }
}

#[test]
fn what_a_condition_decides_is_not_remembered() {
    let when = Some(on_header("x-beta", ValueTest::Present));
    let asked = split(vec![member("stable", 1), MemberPlan { when, ..member("canary", 1) }], Some(sticky(None)));
    let mut exchange = request("X-Beta: 1\r\n");
    assert_eq!(asked.choose(&mut exchange, &[]), Some(("canary", ChosenBy::When)));
    assert!(!asked.split.write_cookie(&exchange, &mut Vec::new()));
}

#[test]
fn a_member_changes_the_requests_that_go_to_it() {
    let headers = FieldChanges {
        set: [("X-Variant".to_owned(), "b".to_owned())].into(),
        remove: vec!["X-Debug".into(), "Accept-Language".into()],
    };
    let asked = split(vec![MemberPlan { headers, ..member("b", 1) }, member("plain", 0)], None);
    let (changed, plain) = (&asked.split.members[0], &asked.split.members[1]);
    let mut edits = Edits::default();
    edits.set(b"X-Variant", b"a").unwrap();
    changed.apply(&mut edits);
    assert_eq!(edits.added().collect::<Vec<_>>(), [(&b"X-Variant"[..], &b"b"[..])]);
    assert!(changed.changes("x-variant") && changed.changes("accept-language") && !changed.changes("accept"));
    assert!(!plain.changes("x-variant"));
    // The same service with other headers may give other answers.
    let other = split(vec![member("b", 1)], None);
    assert_ne!(changed.cache_key(), other.split.members[0].cache_key());
    assert_ne!(plain.cache_key(), other.split.members[0].cache_key());
}

#[test]
fn only_its_own_cookie_says_nothing_about_a_client() {
    let asked = split(vec![member("a", 1)], Some(sticky(None)));
    let only = |fields: &str| asked.split.members[0].is_only_cookie(&request(fields));
    assert!(only("Cookie: at=1\r\n") && only("Cookie: at=1; at=2\r\nCookie: at=3\r\n"));
    for fields in
        ["Cookie: at=1; session=2\r\n", "Cookie: session=2\r\n", "Cookie: at=1; session\r\n", "Cookie: at\r\n"]
    {
        assert!(!only(fields), "{fields}");
    }
    assert!(!split(vec![member("a", 1)], None).split.members[0].is_only_cookie(&request("Cookie: at=1\r\n")));
}

#[test]
fn what_cannot_be_a_split_is_told_with_its_place() {
    const NOBODY: &str = "members: all weights are 0, so no member can be chosen";
    let empty = WhenPlan { headers: vec![], cookies: vec![], expression: None };
    for (members, expected) in [
        (vec![], vec!["members: must have 1 to 64 members", NOBODY]),
        (vec![member("a", 0), member("b", 0)], vec![NOBODY]),
        (
            vec![member("a", 1), member("b", 1), member("a", 2)],
            vec!["members[2].service: another member has this service and a weight; add the weights up there"],
        ),
        (
            vec![member("a", 1), MemberPlan { when: Some(empty), ..member("b", 0) }],
            vec!["members[1].when: must have at least one condition"],
        ),
        (
            vec![MemberPlan { when: Some(on_cookie("a b", ValueTest::Present)), ..member("b", 1) }],
            vec!["members[0].when.cookies[0].name: `a b` is not the name of a cookie"],
        ),
    ] {
        assert_eq!(problems(members), expected);
    }
    let asking = |text: &str| WhenPlan { headers: vec![], cookies: vec![], expression: Some(text.into()) };
    for (text, why) in [("user.id == '7'", "`user.id` is not known here"), ("reqest.id == ''", "there is no variable")]
    {
        let found = problems(vec![MemberPlan { when: Some(asking(text)), ..member("a", 1) }]);
        let expected = format!("members[0].when.expression: {why}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}");
    }
    let patterns = MemberPlan { when: Some(on_header("a", ValueTest::Pattern("(".into()))), ..member("a", 1) };
    let found = problems(vec![patterns]);
    assert!(found.len() == 1 && found[0].starts_with("members[0].when.headers[0].value: "), "{found:?}");
    let many = |count: usize| (0..count).map(|at| member(&at.to_string(), 1)).collect::<Vec<_>>();
    assert_eq!(problems(many(MAX_MEMBERS)), Vec::<String>::new());
    assert_eq!(problems(many(MAX_MEMBERS + 1)).len(), 1);
    // The last of as many as there may be is chosen like the others.
    let asked = split(many(MAX_MEMBERS), None);
    assert!((0..1000).any(|turn| asked.split.by_weight(turn, u64::MAX) == Some(MAX_MEMBERS - 1)));
}

#[test]
fn turns_of_all_workers_are_one_sequence() {
    let asked = split(vec![member("a", 1), member("b", 3)], None);
    let counted = fixture::threads(4, |_| (0..250).filter(|_| asked.ask("").unwrap().0 == "b").count());
    assert!((746..=754).contains(&counted.iter().sum::<usize>()), "{counted:?}");
}
