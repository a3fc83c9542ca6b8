//! Overlapping routes that admit different clients.

use proptest::prelude::*;

use super::super::conflict::language::Languages;
use super::super::conflict::overlap::Nearby;
use super::super::{RouteMatch, Scratch};
use super::model::path_match;
use super::{With, ask, build, equals, exact, pattern, prefix, template};
use crate::plan::{RoutePlan, ValueTest};

/// A route that admits all clients.
fn open(route: RoutePlan) -> RoutePlan {
    RoutePlan { name: "open".into(), service: Some("s".into()), ..route }
}

/// A route that does not admit all.
fn closed(route: RoutePlan) -> RoutePlan {
    RoutePlan { name: "closed".into(), service: Some("s".into()), ..route }
}

fn of(service: &str, route: RoutePlan) -> RoutePlan {
    RoutePlan { service: Some(service.into()), ..route }
}

fn warnings(routes: &[RoutePlan]) -> Vec<String> {
    let found =
        build(routes).overlaps(routes, |a, b| routes[a].name.contains("open") && routes[b].name.contains("closed"));
    found.iter().map(ToString::to_string).collect()
}

/// The one warning about two routes, in either order.
#[track_caller]
fn warned(one: &RoutePlan, other: &RoutePlan, path: &str, why: &str) {
    assert!(build(&[one.clone(), other.clone()]).warnings().is_empty());
    for routes in [[one.clone(), other.clone()], [other.clone(), one.clone()]] {
        let found = warnings(&routes);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&format!("takes {path} from `closed`")) && found[0].contains(why), "{found:?}");
    }
}

#[track_caller]
fn silent(routes: &[RoutePlan]) {
    assert_eq!(warnings(routes), Vec::<String>::new());
    let reversed: Vec<RoutePlan> = routes.iter().rev().cloned().collect();
    assert_eq!(warnings(&reversed), Vec::<String>::new());
}

#[test]
fn what_goes_first_as_the_narrower_one_is_meant() {
    for (narrow, wide) in vec![
        (exact("/api/login"), prefix("/api")),
        (exact("/api/login"), template("/api/{x}")),
        (exact("/api/login"), pattern("^/api/.*")),
        (prefix("/api/public"), prefix("/api")),
        (prefix("/api/"), prefix("/api")),
        (template("/api/{x}"), prefix("/api")),
        (template("/api/{x}/a"), template("/api/{x}/{y}")),
        (template("/api/{x:int}"), template("/api/{x}")),
        (template("/api/{x}"), pattern("^/api/")),
        (pattern("^/api/.*[.]png$"), prefix("/api")),
        (pattern("^/assets/"), prefix("/")),
        (pattern("^/api/a$").priority(1), pattern("^/api/[a-z]$")),
        (exact("/a").header("k", ValueTest::Present), exact("/a")),
        (template("/a/{x}").header("k", ValueTest::Present), template("/a/{y}")),
        (prefix("/a").methods(&["GET"]).priority(1), prefix("/a")),
        (prefix("/a").hosts(&["a.org"]), prefix("/a")),
        (prefix("/a").hosts(&["a.org"]), prefix("/").hosts(&["*.org"])),
    ] {
        silent(&[open(narrow.clone()), closed(wide.clone())]);
        silent(&[closed(narrow), open(wide)]);
    }
}

#[test]
fn what_does_not_overlap_is_no_matter() {
    for (one, other) in [
        (pattern("^/a/.*"), prefix("/b")),
        (pattern("^/a/[0-9]+$"), prefix("/a/x")),
        (template("/a/{x:int}/c"), template("/a/b/{y}")),
        (template("/{x}"), prefix("/api/")),
        (pattern(".*").methods(&["GET"]), prefix("/a").methods(&["POST"])),
        (pattern(".*").hosts(&["a.org"]), prefix("/a").hosts(&["b.org", "*.a.org"])),
        (pattern(".*").header("k", equals("1")), prefix("/a").header("k", equals("2"))),
        // None of these is a path.
        (pattern("^/a/[.]/|^/(a/|b/c)?/"), prefix("/a")),
        (pattern("^/a%[a-z]"), prefix("/a%C3%A9")),
    ] {
        silent(&[open(one), closed(other)]);
    }
}

#[test]
fn what_goes_first_by_another_rule_is_told() {
    let found = [
        (pattern("[.]png$|/.*[.]png$"), prefix("/admin"), "/admin/.png", "a pattern goes before a prefix"),
        (template("/{page}"), prefix("/admin"), "/admin", "a template goes before a prefix"),
        (template("/{x}"), pattern("^/admin/?$"), "/admin", "a template goes before a pattern"),
        (template("/x/{y}"), template("/{x}/y"), "/x/y", "its template is more specific"),
        (prefix("/").priority(1).methods(&["GET"]), prefix("/a").hosts(&["b.org"]), "/a", "`priority`"),
        (prefix("/").hosts(&["a.org"]), prefix("/admin"), "/admin", "its host is more specific"),
        (prefix("/").hosts(&["a.org"]), prefix("/admin").hosts(&["*.org", "b.net"]), "/admin", "its host"),
        (pattern("^/a/?(b|c)").methods(&["GET"]), prefix("/a/b"), "/a/b", "a pattern goes before a prefix"),
        (
            exact("/a").header("k", ValueTest::Present).header("l", ValueTest::Present),
            exact("/a").header("m", ValueTest::Present),
            "/a",
            "it has more conditions",
        ),
        (pattern("^/a").methods(&["HEAD"]), prefix("/a").methods(&["GET"]), "/a", "a pattern goes before a prefix"),
    ];
    for (first, later, path, why) in found {
        warned(&open(first.clone()), &closed(later.clone()), path, why);
        silent(&[closed(first), open(later)]);
    }
    let first = open(pattern("^/[^/]+/public"));
    let later = closed(pattern("^/admin/.*"));
    assert!(warnings(&[first.clone(), later.clone()])[0].contains("takes /admin/public from `closed`"));
    assert!(warnings(&[later, first]).is_empty(), "the order of declaration decides");
    let first = open(exact("/a").methods(&["GET", "POST"]));
    let later = closed(exact("/a").methods(&["PUT", "POST"]));
    assert!(warnings(&[first.clone(), later.clone()])[0].contains("it is the first in the file"));
    assert!(warnings(&[later, first]).is_empty());
}

#[test]
fn what_can_never_match_is_not_told_twice() {
    for (first, later) in [
        (pattern("^/a"), prefix("/a/b")),
        (pattern("^/.*$"), prefix("/a")),
        (pattern("^/(a|b)(/|$)"), prefix("/a")),
        (template("/{rest:path}"), prefix("/a")),
        (template("/{rest:path}"), pattern("^/a")),
        (template("/a/{x}/{rest:path}"), template("/a/{x:int}/{y}/").priority(-1)),
        (pattern("^/a/[^/]+$"), template("/a/{x}").priority(-1)),
    ] {
        let routes = [closed(later), open(first)];
        let router = build(&routes);
        assert_eq!(router.warnings().len(), 1, "{routes:?}");
        assert!(router.warnings()[0].message.contains("can never match: `open`"));
        assert_eq!(warnings(&routes), Vec::<String>::new());
    }
    for (first, later) in [
        (pattern("^/a$"), prefix("/a")),
        (pattern("^/a/.*"), prefix("/a")),
        (pattern("^/a/[a-z]*$"), prefix("/a/")),
        (pattern("^/a").methods(&["GET"]), prefix("/a/b")),
        (template("/{x}/{rest:path}"), prefix("/a")),
        (pattern("^/a/[^/0]+$"), template("/a/{x}").priority(-1)),
    ] {
        assert!(build(&[first, later]).warnings().is_empty());
    }
}

#[test]
fn what_exposes_nothing_is_not_told() {
    let guard = closed(prefix("/admin"));
    // Another service behind another host.
    silent(&[of("t", open(prefix("/").hosts(&["a.org"]))), guard.clone()]);
    // A route without a service.
    silent(&[RoutePlan { service: None, ..open(prefix("/").priority(1).methods(&["GET"])) }, guard.clone()]);
    // A third route that takes precedence for those requests.
    let images = open(pattern("^/[a-z]+/logo$"));
    assert_eq!(warnings(&[images.clone(), guard.clone()]).len(), 1);
    silent(&[images.clone(), guard.clone(), closed(template("/admin/{logo}"))]);
    assert_eq!(warnings(&[images.clone(), guard.clone(), closed(exact("/admin/logo").methods(&["PUT"]))]).len(), 1);
    // A third route, also open, that would have matched them.
    silent(&[images, guard, open(prefix("/admin/logo"))]);
}

#[test]
fn the_warning_says_where_and_with_whom() {
    let guards =
        ["/a", "/b", "/c", "/d", "/e"].map(|path| RoutePlan { name: format!("closed{path}"), ..closed(prefix(path)) });
    let routes: Vec<RoutePlan> = guards.into_iter().chain([open(pattern("^/.*[.]json$"))]).collect();
    assert_eq!(
        warnings(&routes),
        ["routes[5].match.path: the route takes /a/.json from `closed/a` (routes[0]) and lets in some whom \
          `closed/a` refuses: a pattern goes before a prefix. Narrow either, give `closed/a` a higher `priority`, or guard \
          both alike. The same with `closed/b` (routes[1]), `closed/c` (routes[2]) and 2 more"]
    );
}

#[test]
fn large_tables_are_compared_in_time_or_said_not_to_be() {
    let guards = (0..3000).map(|i| closed(template(&format!("/{{t}}/{i}/{{x}}"))));
    let patterns = (0..3000).map(|i| open(pattern(&format!("^/[a-z]+/{i}/x+[0-9a-f]{{8,32}}$"))));
    let routes: Vec<RoutePlan> = guards.chain(patterns).collect();
    let found = warnings(&routes);
    assert!(found.last().unwrap().contains("more routes than could be compared"), "{found:?}");
    let large = open(pattern("^/a/(([a-z]{1,40}[0-9]){1,20}|.*x.{12}y)$"));
    assert!(warnings(&[large, closed(prefix("/a/b"))]).last().unwrap().contains("too large"));
}

fn matches(route: &RoutePlan, path: &str) -> bool {
    ask("GET", path).find(&build(std::slice::from_ref(route)), &mut Scratch::default()) == RouteMatch::Route(0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn comparing_agrees_with_asking(
        a in path_match(),
        b in path_match(),
        paths in prop::collection::vec("(/[ab1c]{1,2}){1,4}/?", 1..40),
    ) {
        let routes = [a, b];
        let router = build(&routes);
        let mut languages = Languages::new(&router.rules, &routes, 100_000);
        let relation = languages.compare(0, 1, |_| false).unwrap();
        if !relation.common.is_empty() {
            let nearby = Nearby::new(&router.rules, &routes);
            prop_assert!(nearby.of(0).any(|other| other == 1) && nearby.of(1).any(|other| other == 0));
        }
        for path in &relation.common {
            let path = std::str::from_utf8(path).unwrap();
            prop_assert!(matches(&routes[0], path) && matches(&routes[1], path), "{path}");
        }
        for path in paths.iter().map(String::as_str).chain(["/"]) {
            match (matches(&routes[0], path), matches(&routes[1], path)) {
                (true, true) => prop_assert!(!relation.common.is_empty(), "{path}"),
                (true, false) => prop_assert!(relation.only_a, "{path}"),
                (false, true) => prop_assert!(relation.only_b, "{path}"),
                (false, false) => {}
            }
        }
    }
}
