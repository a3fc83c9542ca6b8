//! RFC 9111 sections 4, 4.1, 4.2 and 5: what a stored response may answer.

use super::*;
use crate::cache::freshness::control::{RequestControl, ResponseControl};

#[test]
fn s4_another_target_is_another_response() {
    let world = World::new();
    world.fetch("GET /a?x=1", "200", "x");
    assert!(world.holds("/a?x=1"));
    for other in ["/a", "/a?", "/a?x=2", "/b?x=1", "/A?x=1"] {
        assert!(!world.holds(other), "{other}");
    }
}

#[test]
fn s4_get_answers_head_and_nothing_else() {
    let world = World::new();
    world.fetch("GET /", "200", "x");
    assert_eq!(world.ask("HEAD /"), hit("x"));
    assert_eq!(world.ask("OPTIONS /"), miss());
    assert_eq!(world.ask("TRACE /"), miss());
}

#[test]
fn s4_unsafe_methods_are_written_through() {
    let world = World::new();
    world.fetch("GET /", "200", "x");
    for method in ["POST", "PUT", "DELETE", "PATCH", "FROB"] {
        assert_eq!(world.ask(&format!("{method} /")), miss(), "{method}");
    }
}

#[test]
fn s4_an_age_is_given_with_what_is_stored() {
    let mut world = World::new();
    world.fetch("GET /", "200\nCache-Control: max-age=100\nAge: 7\nDate: {date}", "x");
    world.at += 5;
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    assert_eq!(edit(&exchange, "Age").as_deref(), Some("12"));
    assert_eq!(edit(&exchange, "Cache-Status").as_deref(), Some("pylae; hit; ttl=88"));
}

#[test]
fn s4_the_latest_of_several_responses_is_used() {
    let mut world = World::new();
    world.fetch("GET /\nX-A: 1", "200\nVary: X-A", "old");
    world.at += 1;
    // The origin's Vary has changed.
    world.fetch("GET /\nX-A: 1\nCache-Control: no-cache", "200\nVary: X-B", "new");
    assert_eq!(world.ask("GET /\nX-A: 1"), hit("new"));
}

#[test]
fn s4_1_vary_must_match() {
    let world = World::new();
    world.fetch("GET /\nX-A: 1\nX-B: 2", "200\nVary: X-A\nVary: x-b", "x");
    assert_eq!(world.ask("GET /\nX-A: 1\nX-B: 2"), hit("x"));
    assert_eq!(world.ask("GET /\nX-A: 1\nX-B: 3"), miss());
    assert_eq!(world.ask("GET /\nX-A: 1"), miss());
    assert_eq!(world.ask("GET /\nX-A: 1\nX-B:"), miss());
}

#[test]
fn s4_1_fields_match_if_they_differ_in_white_space_and_lines_only() {
    let world = World::new();
    world.fetch("GET /\nX-A: a, b", "200\nVary: X-A", "x");
    assert_eq!(world.ask("GET /\nX-A: a\nX-A:   b"), hit("x"));
    assert_eq!(world.ask("GET /\nX-A: a,b"), hit("x"));
    assert_eq!(world.ask("GET /\nX-A: b, a"), miss());
}

#[test]
fn s4_1_languages_have_no_case_and_their_order_counts_unless_told_otherwise() {
    let asks = |sorted, one: &str, other: &str| {
        let world = World::with(CacheRules { normalize_language: sorted, ..rules() });
        world.fetch(&format!("GET /\nAccept-Language: {one}"), "200\nVary: Accept-Language", "x");
        matches!(world.ask(&format!("GET /\nAccept-Language: {other}")), Got::Stored { .. })
    };
    for (one, other, plain, sorted) in [
        ("de-AT, en", "DE-at,EN", true, true),
        ("en, de", "de, en", false, true),
        ("en;q=0.5, de", "de, en;q=0.50", false, true),
        ("en ; Q = 0.5 , de;q=1.000", "de, en;q=.5", false, false),
        ("en;q=0.5, de", "de, en; q=0.5 ,", false, true),
        ("en, de;q=0.9", "de, en;q=0.9", false, false),
        ("en, de", "en", false, false),
        ("en, en, de", "de,en", false, true),
        ("en, de;q=2", "de;q=2, en", false, false),
        ("en, de;q=0.5;x=1", "de;q=0.5;x=1, en", false, false),
        ("en, de;q=0", "en", false, false),
        ("en-US", "en", false, false),
        ("x, y", "x, y", true, true),
    ] {
        assert_eq!((asks(false, one, other), asks(true, one, other)), (plain, sorted), "{one} | {other}");
    }
    // Only languages.
    let world = World::with(CacheRules { normalize_language: true, ..rules() });
    world.fetch("GET /\nX-A: a, b", "200\nVary: X-A", "x");
    assert_eq!(world.ask("GET /\nX-A: b, a"), miss());
    assert_eq!(world.ask("GET /\nX-A: A, b"), miss());
}

#[test]
fn a_configured_field_is_normalized_too() {
    let world =
        World::with(CacheRules { normalize_language: true, vary: ["accept-language".into()].into(), ..rules() });
    world.fetch("GET /\nAccept-Language: de, en", "200", "x");
    assert_eq!(world.ask("GET /\nAccept-Language: EN, de"), hit("x"));
    assert_eq!(world.ask("GET /\nAccept-Language: en"), miss());
}

#[test]
fn s4_1_a_field_that_is_missing_matches_only_itself() {
    let world = World::new();
    world.fetch("GET /", "200\nVary: X-A", "x");
    assert_eq!(world.ask("GET /"), hit("x"));
    assert_eq!(world.ask("GET /\nX-A: 1"), miss());
}

#[test]
fn s4_1_vary_star_never_matches() {
    assert!(!World::new().keeps("200\nVary: *"));
    assert!(!World::new().keeps("200\nVary: X-A, *"));
}

#[test]
fn s4_1_a_request_changed_by_a_policy_counts_as_changed() {
    let world = World::new();
    let lookup = |value: &[u8]| {
        let mut exchange = world.exchange("GET /\nX-A: client");
        exchange.request.edits.set(b"X-A", value).unwrap();
        let verdict = world.lookup(&mut exchange);
        (exchange, verdict)
    };
    let (mut exchange, _) = lookup(b"one");
    world.answer(&mut exchange, "200\nVary: X-A", "x");
    let (exchange, verdict) = lookup(b"one");
    assert_eq!(got(&exchange, verdict), hit("x"));
    let (exchange, verdict) = lookup(b"two");
    assert_eq!(got(&exchange, verdict), miss());
}

/// Returns for how many seconds a response is served.
fn fresh_for(rules: CacheRules, answer: &str) -> u64 {
    let mut world = World::with(rules);
    world.fetch("GET /", answer, "x");
    let begin = world.at;
    while world.at < begin + 1000 && world.holds("/") {
        world.at += 1;
    }
    world.at - begin
}

#[test]
fn s4_2_1_s_maxage_comes_before_max_age_before_expires() {
    let expires = World::new().date(40);
    assert_eq!(
        fresh_for(rules(), &format!("200\nDate: {{date}}\nExpires: {expires}\nCache-Control: max-age=30, s-maxage=20")),
        20
    );
    assert_eq!(fresh_for(rules(), &format!("200\nDate: {{date}}\nExpires: {expires}\nCache-Control: max-age=30")), 30);
    assert_eq!(fresh_for(rules(), &format!("200\nDate: {{date}}\nExpires: {expires}")), 40);
}

#[test]
fn s4_2_1_the_first_of_several_times_counts() {
    assert_eq!(fresh_for(rules(), "200\nCache-Control: max-age=10, max-age=20\nCache-Control: max-age=30"), 10);
}

#[test]
fn s4_2_1_a_time_that_is_not_one_is_stale() {
    for wrong in ["max-age=abc", "max-age=-1", "max-age=1.5", "max-age", "max-age=", "s-maxage=1s"] {
        assert_eq!(fresh_for(rules(), &format!("200\nCache-Control: {wrong}")), 0, "{wrong}");
    }
}

#[test]
fn s4_2_1_a_time_beyond_counting_is_for_ever() {
    assert_eq!(fresh_for(rules(), "200\nCache-Control: max-age=99999999999999999999"), 1000);
}

#[test]
fn s4_2_2_the_configured_time_does_not_count_where_the_origin_states_one() {
    assert_eq!(fresh_for(rules(), "200"), 300);
    assert_eq!(fresh_for(rules(), "200\nCache-Control: public"), 300);
    assert_eq!(fresh_for(rules(), "200\nCache-Control: max-age=5"), 5);
    assert_eq!(fresh_for(rules(), "200\nExpires: Thu, 01 Jan 1970 00:00:00 GMT"), 0);
}

#[test]
fn s4_2_2_freshness_is_guessed_only_if_told_so() {
    let guess = |heuristic| CacheRules { ttl: Duration::ZERO, heuristic, ..rules() };
    let changed = format!("Date: {{date}}\nLast-Modified: {}", World::new().date(-1000));
    for (rules, answer, seconds) in [
        (guess(0.0), format!("200\n{changed}"), 0),
        (guess(0.1), format!("200\n{changed}"), 100),
        (guess(0.5), format!("301\n{changed}"), 500),
        (guess(0.1), format!("404\n{changed}"), 100),
        (guess(0.1), format!("414\n{changed}"), 100),
        // Not by default, but if it is public.
        (guess(0.1), format!("302\n{changed}"), 0),
        (guess(0.1), format!("302\nCache-Control: public\n{changed}"), 100),
        // Never for a server error.
        (guess(0.1), format!("501\n{changed}"), 0),
        (guess(0.1), format!("503\nCache-Control: public\n{changed}"), 0),
        // An explicit lifetime comes first; without a date the route's setting applies.
        (guess(0.1), format!("200\nCache-Control: max-age=7\n{changed}"), 7),
        (guess(0.1), format!("200\nExpires: 0\n{changed}"), 0),
        (CacheRules { ttl: Duration::from_secs(30), ..guess(0.1) }, "200".to_owned(), 30),
        (CacheRules { ttl: Duration::from_secs(30), ..guess(0.1) }, "200\nLast-Modified: some day".to_owned(), 30),
        (CacheRules { ttl: Duration::from_secs(30), ..guess(0.1) }, format!("200\n{changed}"), 100),
        (CacheRules { overrides: true, ttl: Duration::from_secs(30), ..guess(0.1) }, format!("200\n{changed}"), 30),
        (CacheRules { error_ttl: Duration::from_secs(30), ..guess(0.1) }, format!("404\n{changed}"), 30),
        // The age at the origin counts, as with an explicit lifetime.
        (guess(0.1), format!("200\nAge: 60\n{changed}"), 40),
    ] {
        assert_eq!(fresh_for(rules, &answer), seconds, "{answer}");
    }
    let mut world = World::with(guess(1.0));
    world.fetch("GET /", "200\nLast-Modified: Tue, 01 Jan 2019 00:00:00 GMT", "x");
    world.at += 86_399;
    assert!(world.holds("/"));
    world.at += 1;
    assert!(!world.holds("/"));
}

#[test]
fn s4_2_2_an_override_counts_from_when_the_answer_came() {
    let all = || CacheRules { overrides: true, ttl: Duration::from_secs(50), ..rules() };
    assert_eq!(fresh_for(all(), "200\nCache-Control: max-age=5\nAge: 1000"), 50);
    assert_eq!(fresh_for(rules(), "200\nAge: 1000"), 300);
}

#[test]
fn s4_2_3_the_age_at_the_origin_counts() {
    assert_eq!(fresh_for(rules(), "200\nCache-Control: max-age=60\nAge: 20\nDate: {date}"), 40);
    // The apparent age, by the clocks of both.
    let old = World::new().date(-30);
    assert_eq!(fresh_for(rules(), &format!("200\nCache-Control: max-age=60\nAge: 20\nDate: {old}")), 30);
    // A clock that is ahead makes no response younger.
    let ahead = World::new().date(500);
    assert_eq!(fresh_for(rules(), &format!("200\nCache-Control: max-age=60\nDate: {ahead}")), 60);
}

#[test]
fn s5_1_the_first_of_several_ages_counts_and_one_that_is_no_number_does_not() {
    for (age, left) in [
        ("Age: 20, 5", 40),
        ("Age: 20 ,junk", 40),
        ("Age: 20\nAge: 50", 40),
        ("Age: , 20", 60),
        ("Age: junk", 60),
        ("Age: -20", 60),
        ("Age: 1.5", 60),
        ("Age:", 60),
        ("Age: 99999999999999999999", 0),
    ] {
        assert_eq!(fresh_for(rules(), &format!("200\nCache-Control: max-age=60\n{age}")), left, "{age}");
    }
}

/// Returns Cache-Status of a request and its response.
fn cache_status(world: &World, request: &str, answer: &str) -> String {
    let mut exchange = world.exchange(request);
    if !matches!(world.lookup(&mut exchange), Verdict::Stored(_)) {
        world.answer(&mut exchange, answer, "x");
    }
    edit(&exchange, "Cache-Status").unwrap()
}

#[test]
fn cache_status_says_why_the_service_was_asked() {
    let mut world = World::new();
    let answer = "200\nETag: \"1\"\nVary: X-A\nCache-Control: max-age=10, stale-if-error=60";
    assert_eq!(
        cache_status(&world, "GET /\nCache-Control: no-cache", "200\nCache-Control: no-store"),
        "pylae; fwd=uri-miss"
    );
    assert_eq!(cache_status(&world, "GET /\nCache-Control: no-store", "200"), "pylae; fwd=uri-miss");
    assert_eq!(cache_status(&world, "GET /\nRange: bytes=0-1", "200\nCache-Control: no-store"), "pylae; fwd=uri-miss");
    assert_eq!(cache_status(&world, "GET /", answer), "pylae; fwd=uri-miss");
    assert_eq!(cache_status(&world, "GET /", answer), "pylae; hit; ttl=10");
    assert_eq!(cache_status(&world, "GET /\nX-A: 1", "200\nCache-Control: no-store"), "pylae; fwd=vary-miss");
    for asked in ["no-cache", "min-fresh=20"] {
        assert_eq!(
            cache_status(&world, &format!("GET /\nCache-Control: {asked}"), answer),
            "pylae; fwd=request",
            "{asked}"
        );
    }
    world.at += 5;
    assert_eq!(cache_status(&world, "GET /\nCache-Control: max-age=1", answer), "pylae; fwd=request");
    world.at += 20;
    assert_eq!(cache_status(&world, "GET /\nCache-Control: max-stale", ""), "pylae; hit; ttl=-10");
    assert_eq!(cache_status(&world, "GET /", "503"), "pylae; fwd=stale; ttl=-10");
    assert_eq!(cache_status(&world, "GET /", "304\nETag: \"1\""), "pylae; fwd=stale; fwd-status=304; ttl=10");
    world.at += 20;
    assert_eq!(cache_status(&world, "GET /", answer), "pylae; fwd=stale");
    assert_eq!(cache_status(&world, "POST /", "200"), "pylae; fwd=method");
    assert_eq!(cache_status(&world, "GET /\nIf-Match: \"1\"", "200"), "pylae; fwd=bypass");
}

#[test]
fn s4_2_3_the_time_that_the_answer_took_counts() {
    let mut world = World::new();
    let mut exchange = world.exchange("GET /");
    world.lookup(&mut exchange);
    world.at += 8;
    world.answer(&mut exchange, "200\nCache-Control: max-age=10\nAge: 1", "x");
    assert!(world.holds("/"));
    world.at += 1;
    assert!(!world.holds("/"));
}

#[test]
fn s4_2_4_stale_responses_are_not_given() {
    let mut world = World::new();
    world.fetch("GET /", "200\nCache-Control: max-age=10", "x");
    world.at += 10;
    assert_eq!(world.ask("GET /"), miss());
}

#[test]
fn s4_2_4_stale_responses_are_given_when_the_origin_fails_and_that_is_allowed() {
    for (rules, control) in [
        (rules(), "max-age=0, stale-if-error=60"),
        (CacheRules { stale_if_error: Duration::from_secs(60), ..rules() }, "max-age=0"),
    ] {
        let mut world = World::with(rules);
        world.fetch("GET /", &format!("200\nETag: \"1\"\nCache-Control: {control}"), "x");
        world.at += 10;
        let mut exchange = world.exchange("GET /");
        world.lookup(&mut exchange);
        let stored = world.fail(&mut exchange).unwrap();
        assert_eq!(
            got_stored(&exchange, &stored),
            Got::Stored { status: 200, body: "x".into(), outcome: CacheOutcome::Stale }
        );
        let (_, settled) = world.fetch("GET /", "503", "no");
        assert!(matches!(settled, Settled::Serve(_)));
        world.at += 50;
        let (_, settled) = world.fetch("GET /", "503", "no");
        assert!(matches!(settled, Settled::Relay));
    }
}

#[test]
fn s4_2_4_directives_forbid_stale_responses() {
    for forbidding in ["must-revalidate", "proxy-revalidate", "s-maxage=0", "no-cache"] {
        let generous = CacheRules {
            stale_if_error: Duration::from_secs(60),
            stale_while_revalidate: Duration::from_secs(60),
            ..rules()
        };
        let mut world = World::with(generous);
        let control = format!("max-age=0, {forbidding}, stale-if-error=60, stale-while-revalidate=60");
        world.fetch("GET /", &format!("200\nETag: \"1\"\nCache-Control: {control}"), "x");
        world.at += 1;
        assert_eq!(world.ask("GET /\nCache-Control: max-stale"), validation("\"1\""), "{forbidding}");
        let mut exchange = world.exchange("GET /");
        world.lookup(&mut exchange);
        assert!(world.fail(&mut exchange).is_none(), "{forbidding}");
    }
}

#[test]
fn s5_2_1_1_max_age_of_the_request() {
    let mut world = World::new();
    world.fetch("GET /", "200\nCache-Control: max-age=100", "x");
    world.at += 10;
    assert_eq!(world.ask("GET /\nCache-Control: max-age=10"), hit("x"));
    assert_eq!(world.ask("GET /\nCache-Control: max-age=9"), miss());
}

#[test]
fn s5_2_1_2_max_stale() {
    let mut world = World::new();
    world.fetch("GET /", "200\nCache-Control: max-age=10", "x");
    world.at += 15;
    let stale = || Got::Stored { status: 200, body: "x".into(), outcome: CacheOutcome::Stale };
    assert_eq!(world.ask("GET /\nCache-Control: max-stale"), stale());
    assert_eq!(world.ask("GET /\nCache-Control: max-stale=5"), stale());
    assert_eq!(world.ask("GET /\nCache-Control: max-stale=4"), miss());
}

#[test]
fn s5_2_1_3_min_fresh() {
    let world = World::new();
    world.fetch("GET /", "200\nCache-Control: max-age=10", "x");
    assert_eq!(world.ask("GET /\nCache-Control: min-fresh=10"), hit("x"));
    assert_eq!(world.ask("GET /\nCache-Control: min-fresh=11"), miss());
}

#[test]
fn s5_2_1_4_no_cache_of_the_request() {
    let world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"", "x");
    assert_eq!(world.ask("GET /\nCache-Control: no-cache"), validation("\"1\""));
}

#[test]
fn s5_2_1_5_no_store_of_the_request() {
    let world = World::new();
    world.fetch("GET /\nCache-Control: no-store", "200", "x");
    assert!(!world.holds("/"));
    // A response stored for other requests may be used.
    world.fetch("GET /", "200", "y");
    assert_eq!(world.ask("GET /\nCache-Control: no-store"), hit("y"));
}

#[test]
fn s5_2_1_7_only_if_cached() {
    let world = World::new();
    assert_eq!(world.ask("GET /\nCache-Control: only-if-cached"), Got::Refused(504));
    world.fetch("GET /", "200", "x");
    assert_eq!(world.ask("GET /\nCache-Control: only-if-cached"), hit("x"));
}

#[test]
fn s5_2_requests_are_not_heeded_if_the_route_says_so() {
    let world = World::with(CacheRules { client_directives: false, ..rules() });
    world.fetch("GET /", "200", "x");
    for control in ["no-cache", "max-age=0", "no-store"] {
        assert_eq!(world.ask(&format!("GET /\nCache-Control: {control}")), hit("x"));
    }
}

#[test]
fn s5_2_2_2_must_revalidate_allows_fresh_responses() {
    assert_eq!(fresh_for(rules(), "200\nCache-Control: max-age=10, must-revalidate"), 10);
}

#[test]
fn s5_2_2_4_no_cache_is_validated_each_time() {
    for control in ["no-cache, max-age=60", "max-age=60, No-Cache=\"x, y\""] {
        let world = World::new();
        world.fetch("GET /", &format!("200\nETag: \"1\"\nCache-Control: {control}"), "x");
        for _ in 0..2 {
            let (_, settled) = world.fetch("GET /", "304\nETag: \"1\"", "");
            assert!(matches!(settled, Settled::Serve(_)));
        }
    }
}

#[test]
fn s5_2_3_names_have_no_case_and_unknown_directives_are_ignored() {
    assert_eq!(fresh_for(rules(), "200\nCache-Control: frob, MAX-AGE=10, x=\"a, no-store, b\\\", private\""), 10);
    assert_eq!(fresh_for(rules(), "200\nCache-Control: max-age=\"10\" , ,"), 10);
    assert!(!World::new().keeps("200\nCache-Control: max-age=10, NO-STORE"));
}

#[test]
fn s5_3_expires_that_is_not_a_date_is_in_the_past() {
    for wrong in ["0", "-1", "never", ""] {
        assert_eq!(fresh_for(rules(), &format!("200\nExpires: {wrong}")), 0, "{wrong}");
    }
    let later = World::new().date(50);
    assert_eq!(fresh_for(rules(), &format!("200\nExpires: {later}\nExpires: {later}")), 0);
}

#[test]
fn s5_4_pragma_counts_without_cache_control() {
    let world = World::new();
    world.fetch("GET /", "200", "x");
    assert_eq!(world.ask("GET /\nPragma: no-cache"), miss());
    assert_eq!(world.ask("GET /\nPragma: no-cache\nCache-Control: max-age=60"), hit("x"));
}

#[test]
fn stale_while_revalidate_gives_what_is_there_and_asks_once() {
    let mut world = World::new();
    world.fetch("GET /", "200\nETag: \"1\"\nCache-Control: max-age=10, stale-while-revalidate=5", "x");
    world.at += 12;
    let refreshes = |exchange: &mut Exchange| match world.lookup(exchange) {
        Verdict::Stored(stored) => stored.refresh,
        _ => panic!("not given"),
    };
    let (mut first, mut second) = (world.exchange("GET /"), world.exchange("GET /"));
    let mut refresh = refreshes(&mut first).unwrap();
    assert!(refreshes(&mut second).is_none());
    let mut background = world.exchange("GET /\nIf-None-Match: \"0\"");
    refresh.begin_at(world.now(), &mut background);
    background.cache_visit().set_fetch(refresh);
    assert_eq!(background.request.edits.get(b"If-None-Match"), Some(&b"\"1\""[..]));
    world.answer(&mut background, "304\nETag: \"1\"", "");
    assert_eq!(world.ask("GET /"), hit("x"));
    world.at += 15;
    assert_eq!(world.ask("GET /"), validation("\"1\""));
}

#[test]
fn control_lines_are_read_in_one_pass() {
    let world = World::new();
    let exchange = world.exchange("GET /\nCache-Control: max-stale, min-fresh=3, max-age=\"7\", only-if-cached");
    let control = RequestControl::read(&exchange.request.head.fields, &exchange.request.buffer);
    assert_eq!(
        control,
        RequestControl {
            only_if_cached: true,
            max_age: Some(7),
            min_fresh: Some(3),
            max_stale: Some(1 << 31),
            ..RequestControl::default()
        }
    );
    let mut exchange = world.exchange("GET /");
    world.head(&mut exchange, "200\nCache-Control: s-maxage=1, must-understand, proxy-revalidate", 0);
    let control = ResponseControl::read(&exchange.response.head.fields, &exchange.response.buffer);
    assert!(control.must_understand && control.forbids_stale() && !control.public);
}
