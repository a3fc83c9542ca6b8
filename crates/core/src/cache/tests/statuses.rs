//! Which statuses are stored, for how long, and what an error response must not replace (RFC 9110 section 15, RFC 9111
//! section 3).

use super::*;

/// Whether a response with this status is stored if the origin gives an explicit lifetime, marks it `public`, or gives
/// nothing.
fn kept(rules: fn() -> CacheRules, status: &str) -> [bool; 3] {
    ["\nCache-Control: max-age=60", "\nCache-Control: public", ""]
        .map(|fields| World::with(rules()).keeps(&format!("{status}{fields}")))
}

#[test]
fn s3_final_statuses_are_stored_if_their_freshness_is_stated() {
    for status in ["201", "202", "204", "299", "302", "303", "307", "400", "404", "405", "410", "414", "451", "499"] {
        assert_eq!(kept(rules, status), [true, false, false], "{status}");
    }
    for status in ["500", "501", "502", "503", "504", "505", "599"] {
        assert_eq!(kept(rules, status), [true, false, false], "{status}");
    }
    for status in ["200", "203", "300", "301", "308"] {
        assert_eq!(kept(rules, status), [true, true, true], "{status}");
    }
}

#[test]
fn s3_answers_about_the_request_are_never_stored() {
    let generous = || CacheRules { error_ttl: Duration::from_secs(60), heuristic: 1.0, overrides: true, ..rules() };
    for status in ["206", "226", "401", "403", "407", "408", "411", "412", "413", "416", "417", "421", "425", "426"] {
        assert_eq!(kept(generous, status), [false; 3], "{status}");
    }
    for status in ["428", "429", "431", "511"] {
        assert_eq!(kept(generous, status), [false; 3], "{status}");
    }
}

#[test]
fn an_answer_that_there_is_nothing_is_kept_as_long_as_the_route_says() {
    let short = || CacheRules { error_ttl: Duration::from_secs(60), ..rules() };
    for status in ["404", "410"] {
        assert_eq!(kept(short, status), [true; 3], "{status}");
        let mut world = World::with(short());
        world.fetch("GET /", status, "x");
        world.at += 59;
        assert!(world.holds("/"));
        world.at += 1;
        assert!(!world.holds("/"));
    }
    for status in ["400", "405", "500", "503"] {
        assert_eq!(kept(short, status), [true, false, false], "{status}");
    }
    // The origin's directives come first, unless the route overrides them.
    let world = World::with(short());
    assert!(!world.keeps("404\nCache-Control: max-age=0"));
    let world = World::with(CacheRules { overrides: true, ..short() });
    assert!(world.keeps("404\nCache-Control: max-age=0"));
    assert!(!World::with(CacheRules { overrides: true, ..rules() }).keeps("404\nCache-Control: max-age=0"));
}

#[test]
fn what_has_no_explicit_freshness_is_not_kept_for_the_time_behind_it() {
    let patient = CacheRules { stale_if_error: Duration::from_secs(60), ttl: Duration::ZERO, ..rules() };
    let world = World::with(patient);
    world.fetch("GET /", "500", "x");
    assert_eq!(world.cache.usage().entries, 0);
    world.fetch("GET /", "200", "x");
    assert_eq!(world.cache.usage().entries, 1);
}

#[test]
fn a_stale_status_is_validated_and_given_when_the_origin_fails() {
    for status in ["204", "299", "400", "404", "410", "499", "500", "502", "503", "504", "599"] {
        let mut world = World::new();
        let body = if status == "204" { "" } else { "x" };
        let control = "Cache-Control: max-age=10, stale-if-error=60";
        world.fetch("GET /", &format!("{status}\nETag: \"1\"\n{control}"), body);
        world.at += 20;
        let mut exchange = world.exchange("GET /");
        world.lookup(&mut exchange);
        let number: u16 = status.parse().unwrap();
        let got = |exchange: &Exchange, settled| {
            let Settled::Serve(stored) = settled else { panic!("{status}") };
            got_stored(exchange, &stored)
        };
        let stale = |outcome| Got::Stored { status: number, body: body.into(), outcome };
        let stored = world.fail(&mut exchange).unwrap();
        assert_eq!(got_stored(&exchange, &stored), stale(CacheOutcome::Stale));
        let (exchange, settled) = world.fetch("GET /", "503", "no");
        assert_eq!(got(&exchange, settled), stale(CacheOutcome::Stale));
        let (exchange, settled) = world.fetch("GET /", "304\nETag: \"1\"", "");
        assert_eq!(got(&exchange, settled), stale(CacheOutcome::Revalidated));
        assert_eq!(world.ask("GET /"), stale(CacheOutcome::Hit));
    }
}

#[test]
fn a_failure_that_does_not_say_on_what_it_depends_hides_nothing_good() {
    let mut world = World::new();
    world.fetch("GET /\nX-A: 1", "200\nVary: X-A\nCache-Control: max-age=10, stale-if-error=30", "one");
    world.fetch("GET /\nX-A: 2", "500\nCache-Control: max-age=100", "bad");
    let bad = || Got::Stored { status: 500, body: "bad".into(), outcome: CacheOutcome::Hit };
    assert_eq!(world.ask("GET /\nX-A: 1"), hit("one"));
    assert_eq!(world.ask("GET /\nX-A: 2"), bad());
    // Stale entries too, as long as they may replace an error.
    world.at += 20;
    let (_, settled) = world.fetch("GET /\nX-A: 1", "500\nCache-Control: max-age=100", "bad");
    assert!(matches!(settled, Settled::Serve(_)));
    world.at += 30;
    assert_eq!(world.ask("GET /\nX-A: 1"), bad());
    // An expired error response hides nothing either.
    let (_, settled) = world.fetch("GET /\nX-A: 1\nCache-Control: no-cache", "200\nVary: X-A", "again");
    assert!(matches!(settled, Settled::Relay));
    assert_eq!(world.ask("GET /\nX-A: 1"), hit("again"));
}

#[test]
fn those_who_wait_for_a_failure_that_is_kept_get_it() {
    let world = World::new();
    let (mut first, mut second) = (world.exchange("GET /"), world.exchange("GET /"));
    world.lookup(&mut first);
    let Verdict::Join(join) = world.lookup(&mut second) else { panic!() };
    world.answer(&mut first, "503\nCache-Control: max-age=5", "x");
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert_eq!(join.flight.poll(&mut context), std::task::Poll::Ready(crate::cache::FetchOutcome::Stored));
}
