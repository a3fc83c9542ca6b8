//! RFC 9111 sections 4.3 and 4.4: validation in both directions, and invalidation.

use super::*;
use crate::cache::Purge;

const OLD: &str = "Mon, 01 Jan 2018 00:00:00 GMT";
const MIDDLE: &str = "Tue, 01 Jan 2019 00:00:00 GMT";
const LATE: &str = "Wed, 01 Jan 2020 00:00:00 GMT";

fn not_modified() -> Got {
    Got::Stored { status: 304, body: String::new(), outcome: CacheOutcome::Hit }
}

#[test]
fn s4_3_1_the_stored_validators_are_sent() {
    let world = World::new();
    world.fetch("GET /", &format!("200\nETag: W/\"1\"\nLast-Modified: {OLD}\nCache-Control: max-age=0"), "x");
    let asked = Got::Asked { if_none_match: Some("W/\"1\"".into()), if_modified_since: Some(OLD.into()) };
    assert_eq!(world.ask("GET /"), asked);
    assert_eq!(world.ask("HEAD /"), asked);
}

#[test]
fn s4_3_1_the_conditions_of_the_client_are_not_mixed_with_ours() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=0", "x");
    let mut exchange =
        world.exchange(&format!("GET /\nIf-None-Match: \"9\"\nIf-Modified-Since: {OLD}\nRange: bytes=0-0"));
    world.lookup(&mut exchange);
    let edits = &exchange.request.edits;
    assert_eq!(edits.get(b"If-None-Match"), Some(&b"\"1\""[..]));
    for name in ["If-Modified-Since", "Range"] {
        assert!(edits.removes(pylae_http::Name::classify(name.as_bytes()), name.as_bytes()), "{name}");
    }
}

#[test]
fn s4_3_2_if_none_match_is_compared_weakly() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: W/\"a,b\"", "x");
    for condition in ["W/\"a,b\"", "\"a,b\"", "\"0\", \"a,b\"", "\"0\" ,\tW/\"a,b\"", "*"] {
        assert_eq!(world.ask(&format!("GET /\nIf-None-Match: {condition}")), not_modified(), "{condition}");
        assert_eq!(world.ask(&format!("HEAD /\nIf-None-Match: {condition}")), not_modified(), "{condition}");
    }
    for condition in ["\"a\", \"b\"", "a,b", "\"a,b", ""] {
        assert_eq!(world.ask(&format!("GET /\nIf-None-Match: {condition}")), hit("x"), "{condition}");
    }
}

#[test]
fn s4_3_2_if_none_match_comes_before_if_modified_since() {
    let world = World::new();
    world.fetch("GET /", &format!("200\nETag: \"1\"\nLast-Modified: {OLD}"), "x");
    assert_eq!(world.ask(&format!("GET /\nIf-None-Match: \"2\"\nIf-Modified-Since: {LATE}")), hit("x"));
    assert_eq!(world.ask(&format!("GET /\nIf-None-Match: \"1\"\nIf-Modified-Since: {OLD}")), not_modified());
}

#[test]
fn s4_3_2_if_modified_since_looks_at_last_modified_or_else_date() {
    let world = World::new();
    world.fetch("GET /a", &format!("200\nLast-Modified: {MIDDLE}"), "x");
    world.fetch("GET /b", &format!("200\nDate: {MIDDLE}"), "x");
    for path in ["/a", "/b"] {
        assert_eq!(world.ask(&format!("GET {path}\nIf-Modified-Since: {OLD}")), hit("x"));
        assert_eq!(world.ask(&format!("GET {path}\nIf-Modified-Since: {MIDDLE}")), not_modified());
        assert_eq!(world.ask(&format!("GET {path}\nIf-Modified-Since: {LATE}")), not_modified());
        assert_eq!(world.ask(&format!("GET {path}\nIf-Modified-Since: some day")), hit("x"));
    }
}

#[test]
fn s4_3_2_conditions_count_for_200_only() {
    let world = World::new();
    world.fetch("GET /", "301\nETag: \"1\"\nLocation: /x", "x");
    let got = world.ask("GET /\nIf-None-Match: \"1\"");
    assert_eq!(got, Got::Stored { status: 301, body: "x".into(), outcome: CacheOutcome::Hit });
}

#[test]
fn s4_3_2_if_match_and_if_unmodified_since_are_for_the_origin() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"", "x");
    for condition in ["If-Match: \"1\"".to_owned(), format!("If-Unmodified-Since: {LATE}")] {
        assert_eq!(world.ask(&format!("GET /\n{condition}")), miss());
    }
}

#[test]
fn s4_3_2_a_condition_that_finds_nothing_stored_still_fills_the_cache() {
    let world = World::new();
    let (exchange, _) = world.fetch("GET /\nIf-None-Match: \"1\"", "200\nETag: \"1\"", "x");
    assert_eq!(exchange.response.status, 304);
    assert_eq!(world.ask("GET /"), hit("x"));
}

#[test]
fn s4_3_3_a_full_answer_replaces_what_was_stored() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=0", "old");
    world.fetch("GET /", "200\nETag: \"2\"\nCache-Control: max-age=60", "new");
    assert_eq!(world.ask("GET /"), hit("new"));
}

#[test]
fn s4_3_3_a_full_answer_that_is_not_kept_removes_what_was_stored() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=0", "old");
    world.fetch("GET /", "200\nCache-Control: no-store", "new");
    assert_eq!(world.ask("GET /"), miss());
}

#[test]
fn s4_3_3_a_failure_of_the_origin_is_passed_on() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=0", "old");
    let (exchange, settled) = world.fetch("GET /", "503", "no");
    assert!(matches!(settled, Settled::Relay));
    assert_eq!(exchange.response.status, 503);
    assert_eq!(world.ask("GET /"), validation("\"1\""));
}

#[test]
fn s4_3_3_a_failure_of_the_origin_does_not_replace_what_may_be_given() {
    for (control, later, stays) in [
        ("max-age=60", 5, true),
        ("max-age=60", 70, false),
        ("max-age=1, stale-while-revalidate=60", 30, true),
        ("max-age=1, stale-while-revalidate=60", 90, false),
    ] {
        let mut world = World::new();
        world.fetch("GET /", &format!("200\nCache-Control: {control}"), "good");
        world.at += later;
        let answer = "500\nCache-Control: max-age=60";
        world.fetch("GET /\nCache-Control: no-cache", answer, "bad");
        let Got::Stored { body, .. } = world.ask("GET /") else { panic!() };
        assert_eq!(body == "good", stays, "{control}");
    }
}

#[test]
fn s4_3_4_a_304_about_another_response_updates_nothing() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=0", "x");
    let (_, settled) = world.fetch("GET /", "304\nETag: \"2\"\nCache-Control: max-age=60", "");
    assert!(matches!(settled, Settled::Invalid));
    assert_eq!(world.ask("GET /"), miss());
}

#[test]
fn s4_3_4_a_304_refreshes_age_and_lifetime() {
    let mut world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=10\nAge: 3\nDate: {date}", "x");
    world.at += 20;
    world.fetch("GET /", "304\nETag: \"1\"\nDate: {date}", "");
    world.at += 9;
    assert_eq!(world.ask("GET /"), hit("x"));
    world.at += 1;
    assert_eq!(world.ask("GET /"), validation("\"1\""));
}

#[test]
fn s4_3_4_a_304_that_forbids_storing_removes_what_was_stored() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=0", "x");
    world.fetch("GET /", "304\nETag: \"1\"\nCache-Control: no-store", "");
    assert_eq!(world.ask("GET /"), miss());
}

#[test]
fn s4_3_4_what_a_validating_answer_says_about_storing_counts() {
    let head = "200\nETag: \"1\"\nContent-Length: 1";
    for (method, answer) in [("GET", "304\nETag: \"1\""), ("HEAD", head)] {
        for (said, stays) in [
            ("Cache-Control: max-age=60", true),
            ("Cache-Control: max-age=60, no-store", false),
            ("Cache-Control: max-age=60, private", false),
            ("Cache-Control: max-age=60, private=\"x-user\"", false),
            ("Cache-Control: max-age=60\nVary: x-a", true),
            ("Cache-Control: max-age=60\nVary: X-B", false),
            ("Cache-Control: max-age=60\nVary: X-A, X-B", false),
            ("Cache-Control: max-age=60\nVary: *", false),
            ("Cache-Control: max-age=60\nVary: X-Forwarded-For", false),
        ] {
            let mut world = World::new();
            world.fetch("GET /\nX-A: 1", "200\nETag: \"1\"\nVary: X-A\nCache-Control: max-age=10", "x");
            world.at += 20;
            let (exchange, settled) = world.fetch(&format!("{method} /\nX-A: 1"), &format!("{answer}\n{said}"), "");
            // The client that has asked gets it either way.
            assert_eq!(
                (exchange.response.status, matches!(settled, Settled::Serve(_))),
                (200, method == "GET"),
                "{said}"
            );
            let expected = if stays { hit("x") } else { miss() };
            assert_eq!(world.ask("GET /\nX-A: 1"), expected, "{method} {said}");
        }
    }
}

#[test]
fn s4_3_4_a_validating_answer_to_an_authorised_request_is_not_shared() {
    for (control, stays) in [("max-age=60", false), ("max-age=60, public", true)] {
        let mut world = World::new();
        world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=10", "x");
        world.at += 20;
        let answer = format!("304\nETag: \"1\"\nCache-Control: {control}");
        let (_, settled) = world.fetch("GET /\nAuthorization: Basic YTpi", &answer, "");
        assert!(matches!(settled, Settled::Serve(_)));
        assert_eq!(world.holds("/"), stays, "{control}");
    }
}

#[test]
fn those_who_wait_for_a_validating_answer_that_is_not_kept_go_at_once() {
    let mut world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=10", "x");
    world.at += 20;
    let (mut first, mut second) = (world.exchange("GET /"), world.exchange("GET /"));
    world.lookup(&mut first);
    let Verdict::Join(join) = world.lookup(&mut second) else { panic!() };
    world.answer(&mut first, "304\nETag: \"1\"\nCache-Control: max-age=60, private", "");
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert_eq!(join.flight.poll(&mut context), std::task::Poll::Ready(crate::cache::FetchOutcome::Alone));
}

#[test]
fn s4_3_4_a_304_that_nobody_asked_for_is_passed_on() {
    let world = World::new();
    let (exchange, settled) = world.fetch("GET /", "304\nETag: \"1\"", "");
    assert!(matches!(settled, Settled::Relay));
    assert_eq!(exchange.response.status, 304);
    assert!(!world.holds("/"));
}

#[test]
fn s4_3_5_an_answer_to_head_that_agrees_refreshes() {
    let mut world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=10", "body");
    world.at += 20;
    world.fetch("HEAD /", "200\nETag: \"1\"\nCache-Control: max-age=10\nContent-Length: 4", "");
    assert_eq!(world.ask("GET /"), hit("body"));
}

#[test]
fn s4_3_5_an_answer_to_head_that_disagrees_makes_invalid() {
    for answer in ["ETag: \"1\"\nContent-Length: 5", "ETag: \"2\"\nContent-Length: 4"] {
        let mut world = World::new();
        world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=10", "body");
        world.at += 20;
        world.fetch("HEAD /", &format!("200\nCache-Control: max-age=10\n{answer}"), "");
        assert_eq!(world.ask("GET /"), miss(), "{answer}");
    }
}

#[test]
fn s4_4_a_change_makes_the_target_invalid_and_nothing_else() {
    let mut world = World::new();
    for path in ["/a", "/a?x", "/b"] {
        world.fetch(&format!("GET {path}"), "200", "x");
    }
    world.at += 1;
    world.cache.invalidate(b"h.test", b"/a", world.now());
    assert!(!world.holds("/a") && !world.holds("/a?x") && world.holds("/b"));
    world.at += 1;
    world.fetch("GET /a", "200", "new");
    assert_eq!(world.ask("GET /a"), hit("new"));
    world.cache.invalidate(b"other.test", b"/a", world.now());
    assert!(world.holds("/a"));
}

#[test]
fn s4_4_a_listener_is_told_what_was_changed() {
    let world = World::new();
    let (told, listener) = std::sync::mpsc::channel();
    world.cache.listen(Box::new(move |host, path| told.send((host.to_vec(), path.to_vec())).unwrap()));
    for (request, status) in [("POST /a?x=1", 200), ("DELETE /b", 204), ("PUT /c", 404), ("GET /d", 200)] {
        world.fetch(request, &status.to_string(), "");
    }
    let told: Vec<_> = listener.try_iter().collect();
    assert_eq!(told, [(b"h.test".to_vec(), b"/a".to_vec()), (b"h.test".to_vec(), b"/b".to_vec())]);
}

#[test]
fn s4_an_answer_to_post_is_kept_for_get_if_it_says_so() {
    for (request, answer, kept) in [
        ("POST /a?x=1", "200\nContent-Location: /a?x=1\nCache-Control: max-age=60", true),
        ("POST /a?x=1", "200\nContent-Location: /a?x=1\nCache-Control: s-maxage=60", true),
        ("POST /b/../a?x=1", "200\nContent-Location: /a?x=1\nExpires: Thu, 18 Aug 2050 02:01:18 GMT", true),
        (
            "POST /a?x=1\nIf-None-Match: *",
            "200\nETag: \"1\"\nContent-Location: /a?x=1\nCache-Control: max-age=60",
            true,
        ),
        // It must be explicit.
        ("POST /a?x=1", "200\nCache-Control: max-age=60", false),
        ("POST /a?x=1", "200\nContent-Location: /a?x=1", false),
        ("POST /a?x=1", "200\nContent-Location: /a?x=1\nCache-Control: public", false),
        ("POST /a?x=1", "200\nContent-Location: /a?x=1\nCache-Control: max-age=60, no-store", false),
        ("POST /a?x=1", "200\nContent-Location: /a?x=1\nCache-Control: max-age=60, private", false),
        // Another target.
        ("POST /a?x=1", "200\nContent-Location: /a\nCache-Control: max-age=60", false),
        ("POST /a?x=1", "200\nContent-Location: /a?x=2\nCache-Control: max-age=60", false),
        ("POST /a?x=1", "200\nContent-Location: a?x=1\nCache-Control: max-age=60", false),
        ("POST /a?x=1", "200\nContent-Location: /a?x=1\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
        // Another method, another status, a private response.
        ("POST /a?x=1", "201\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
        ("PUT /a?x=1", "200\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
        ("PATCH /a?x=1", "200\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
        ("POST /a?x=1", "303\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
        ("POST /a?x=1", "404\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
        ("POST /a?x=1\nCookie: a=1", "200\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
        ("POST /a?x=1\nAuthorization: x", "200\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
        ("POST /a?x=1\nX-HTTP-Method: PUT", "200\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
        ("POST /a?x=1\nCache-Control: no-store", "200\nContent-Location: /a?x=1\nCache-Control: max-age=60", false),
    ] {
        let mut world = World::new();
        world.fetch("GET /a?x=1", "200", "old");
        world.at += 1;
        let (exchange, settled) = world.fetch(request, answer, "new");
        assert!(matches!(settled, Settled::Relay));
        assert!(exchange.response.status != 304);
        let old = answer.starts_with("404");
        let expected = if kept {
            hit("new")
        } else if old {
            hit("old")
        } else {
            miss()
        };
        assert_eq!(world.ask("GET /a?x=1"), expected, "{request} {answer}");
        assert!(!matches!(world.ask("POST /a?x=1"), Got::Stored { .. }));
    }
}

#[test]
fn an_answer_to_post_is_about_what_the_service_was_asked_for() {
    for (place, kept) in [("/inner", true), ("/a", false)] {
        let world = World::new();
        let mut exchange = world.exchange("POST /a");
        world.lookup(&mut exchange);
        exchange.request.forward_path.extend_from_slice(b"/inner");
        world.answer(&mut exchange, &format!("200\nContent-Location: {place}\nCache-Control: max-age=60"), "x");
        assert_eq!(world.holds("/a"), kept, "{place}");
    }
}

#[test]
fn an_answer_to_post_is_not_kept_if_others_have_changed_or_purged_meanwhile() {
    for what in 0..3 {
        let mut world = World::new();
        let mut exchange = world.exchange("POST /a");
        world.lookup(&mut exchange);
        world.at += 1;
        match what {
            0 => {}
            1 => drop(world.fetch("PUT /a", "204", "")),
            _ => drop(world.cache.purge(&Purge::Tag("none".into()), world.now())),
        }
        world.at += 1;
        world.answer(&mut exchange, "200\nContent-Location: /a\nCache-Control: max-age=60", "x");
        assert_eq!(world.holds("/a"), what == 0, "{what}");
        // A later change invalidates it.
        world.at += 1;
        world.cache.invalidate(b"h.test", b"/a", world.now());
        assert!(!world.holds("/a"));
    }
}

#[test]
fn s4_4_what_was_asked_before_a_change_is_not_kept() {
    let mut world = World::new();
    let mut exchange = world.exchange("GET /a");
    world.lookup(&mut exchange);
    world.at += 1;
    world.cache.invalidate(b"h.test", b"/a", world.now());
    world.at += 1;
    world.answer(&mut exchange, "200", "before");
    assert!(!world.holds("/a"));
}

#[test]
fn ranges_of_what_is_stored() {
    let world = World::new();
    world.fetch("GET /", &format!("200\nETag: \"1\"\nLast-Modified: {OLD}\nDate: {LATE}"), "0123456789");
    let part = |status, body: &str| Got::Stored { status, body: body.into(), outcome: CacheOutcome::Hit };
    let table = [
        ("bytes=0-0", part(206, "0")),
        ("bytes=5-", part(206, "56789")),
        ("bytes=8-100", part(206, "89")),
        ("bytes=-1", part(206, "9")),
        ("bytes=-100", part(206, "0123456789")),
        ("BYTES=1-2", part(206, "12")),
        ("bytes=10-", part(416, "")),
        ("bytes=-0", part(416, "")),
        ("bytes=99999999999999999999999-", part(416, "")),
        ("bytes=2-1", hit("0123456789")),
        ("bytes=0-1,3-4", hit("0123456789")),
        ("bytes=", hit("0123456789")),
        ("bytes=-", hit("0123456789")),
        ("bytes=a-b", hit("0123456789")),
        ("bytes=1-x", hit("0123456789")),
        ("lines=0-1", hit("0123456789")),
    ];
    for (range, expected) in table {
        assert_eq!(world.ask(&format!("GET /\nRange: {range}")), expected, "{range}");
    }
    // HEAD has no ranges, and a client that has the whole needs none.
    assert_eq!(world.ask("HEAD /\nRange: bytes=0-0"), hit("0123456789"));
    assert_eq!(world.ask("GET /\nRange: bytes=0-0\nIf-None-Match: \"1\""), not_modified());
}

#[test]
fn if_range_needs_a_strong_validator() {
    let world = World::new();
    world.fetch("GET /strong", &format!("200\nETag: \"1\"\nLast-Modified: {OLD}\nDate: {LATE}"), "0123");
    world.fetch("GET /weak", &format!("200\nETag: W/\"1\"\nLast-Modified: {OLD}\nDate: {OLD}"), "0123");
    let asks = |path: &str, condition: &str| match world
        .ask(&format!("GET {path}\nRange: bytes=0-0\nIf-Range: {condition}"))
    {
        Got::Stored { status, .. } => status,
        other => panic!("{other:?}"),
    };
    assert_eq!([asks("/strong", "\"1\""), asks("/strong", OLD)], [206, 206]);
    assert_eq!([asks("/strong", "\"2\""), asks("/strong", LATE), asks("/strong", "W/\"1\"")], [200; 3]);
    assert_eq!([asks("/weak", "\"1\""), asks("/weak", "W/\"1\""), asks("/weak", OLD)], [200; 3]);
}

#[test]
fn a_range_of_what_is_stale_is_served_after_validation() {
    let mut world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=10", "0123");
    world.at += 20;
    let (exchange, settled) = world.fetch("GET /\nRange: bytes=1-2", "304\nETag: \"1\"", "");
    let Settled::Serve(stored) = settled else { panic!() };
    let expected = Got::Stored { status: 206, body: "12".into(), outcome: CacheOutcome::Revalidated };
    assert_eq!(got_stored(&exchange, &stored), expected);
}

#[test]
fn purges_name_addresses_services_and_tags() {
    let purged = |json: &str| {
        let mut world = World::with(CacheRules { tags: ["r1".into()].into(), ..rules() });
        for path in ["/a", "/a/b", "/a?q", "/c"] {
            world.fetch(&format!("GET {path}"), "200\nCache-Tag: one, t{date}", "x");
        }
        world.at += 1;
        let purge: Purge = serde_json::from_str(json).unwrap();
        world.cache.purge(&purge.canonicalize().unwrap(), world.now())
    };
    assert_eq!(purged("\"all\""), 4);
    assert_eq!(purged(r#"{"target": {"host": "h.test", "path": "/a"}}"#), 1);
    assert_eq!(purged(r#"{"target": {"host": null, "path": "/x/../%61?q"}}"#), 1);
    assert_eq!(purged(r#"{"target": {"host": "H.test", "path": "/a?r"}}"#), 0);
    assert_eq!(purged(r#"{"prefix": {"host": null, "path": "/a"}}"#), 3);
    assert_eq!(purged(r#"{"prefix": {"host": "o.test", "path": "/"}}"#), 0);
    assert_eq!(purged(r#"{"service": "s"}"#), 4);
    assert_eq!(purged(r#"{"tag": "one"}"#), 4);
    assert_eq!(purged(r#"{"tag": "r1"}"#), 4);
    assert_eq!(purged(r#"{"tag": "on"}"#), 0);
    let wrong: Purge = serde_json::from_str(r#"{"prefix": {"host": null, "path": "/%2e%2e/%2F"}}"#).unwrap();
    assert!(wrong.canonicalize().is_err());
}

#[test]
fn what_was_asked_before_a_purge_is_not_kept() {
    let mut world = World::new();
    let mut exchange = world.exchange("GET /a");
    world.lookup(&mut exchange);
    world.at += 1;
    world.cache.purge(&Purge::Tag("none".into()), world.now());
    world.answer(&mut exchange, "200", "before");
    assert!(!world.holds("/a"));
}
