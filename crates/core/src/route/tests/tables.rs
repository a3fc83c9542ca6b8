use pylae_http::Fields;

use super::super::{By, Considered, RouteMatch, RouteVerdict, Scratch};
use super::{Ask, With, ask, build, check, equals, exact, pattern, prefix, problems, template};
use crate::plan::{RoutePlan, ValueTest};

#[test]
fn paths() {
    let one = |route: RoutePlan, path: &str, taken: bool| {
        check(&[route], &[(ask("GET", path), if taken { Ok(0) } else { Err(404) })]);
    };
    for (route, yes, no) in [
        (exact("/a"), &["/a"][..], &["/a/", "/A", "/", "/ab", "*"][..]),
        (exact("/"), &["/"], &["/a", "*"]),
        (exact("*"), &["*"], &["/", "/*"]),
        (prefix("/api"), &["/api", "/api/", "/api/x", "/api/x/y"], &["/apix", "/ap", "/", "/x/api"]),
        (prefix("/api/"), &["/api/", "/api/x"], &["/api", "/apix"]),
        (prefix("/"), &["/", "/a", "/a/b/"], &["*"]),
        (template("/u/{id}"), &["/u/1", "/u/a.b"], &["/u/", "/u", "/u/1/", "/u/1/2"]),
        (template("/u/{id:str}/"), &["/u/1/"], &["/u/1", "/u//"]),
        (template("/u/{id:int}"), &["/u/1", "/u/0099999999999999999999"], &["/u/a", "/u/1a", "/u/-1", "/u/"]),
        (template("/f/{rest:path}"), &["/f/", "/f/a", "/f/a/b/"], &["/f", "/fa"]),
        (template("/{rest:path}"), &["/", "/f/a"], &["*"]),
        (template("/v{n:int}/{x}.json"), &["/v2/a.json", "/v10/.json.json"], &["/v/a.json", "/v2/.json", "/va/a.json"]),
        (template("/"), &["/"], &["/a"]),
        (pattern(r"^/a/(\d+)$"), &["/a/1"], &["/a/", "/a/1/", "/a/x", "/b/a/1"]),
        (pattern(r"/a"), &["/a", "/ab", "/a/b"], &["/", "/b/a"]),
        (pattern(r"^/api/orders.*$"), &["/api/orders", "/api/orders/1"], &["/api/order"]),
        (pattern(r"/x$|/y"), &["/x", "/y", "/yy"], &["/xx", "/a/x"]),
        (pattern(r"(?i)/ab\b"), &["/AB", "/ab/c"], &["/abc"]),
        (pattern(r".*"), &["/", "/a"], &["*"]),
    ] {
        for path in yes {
            one(route.clone(), path, true);
        }
        for path in no {
            one(route.clone(), path, false);
        }
    }
}

#[test]
fn the_most_specific_path_wins() {
    let routes = [
        pattern("^/a/c/.*"),
        prefix("/"),
        prefix("/a"),
        template("/a/d/{rest:path}"),
        template("/a/{x}"),
        template("/a/{x:int}"),
        template("/a/b{x}"),
        template("/a/b{x:int}"),
        template("/a/bc{x}"),
        exact("/a/b"),
        template("/{x}/b"),
        pattern("^/z"),
        pattern("^/z/y"),
        prefix("/z/y/x"),
        template("/a/c/{x}"),
    ];
    check(
        &routes,
        &[
            (ask("GET", "/a/b"), Ok(9)),
            (ask("GET", "/x/b"), Ok(10)),
            (ask("GET", "/a/bcd"), Ok(8)),
            (ask("GET", "/a/b1"), Ok(7)),
            (ask("GET", "/a/bd"), Ok(6)),
            (ask("GET", "/a/7"), Ok(5)),
            (ask("GET", "/a/x"), Ok(4)),
            (ask("GET", "/a/d/x/y"), Ok(3)),
            (ask("GET", "/a/c/x"), Ok(14)),
            (ask("GET", "/a/c/x/y"), Ok(0)),
            (ask("GET", "/a/x/y"), Ok(2)),
            (ask("GET", "/a"), Ok(2)),
            (ask("GET", "/z/y/x"), Ok(11)),
            (ask("GET", "/y"), Ok(1)),
        ],
    );
    check(&routes[11..], &[(ask("GET", "/z/y"), Ok(0)), (ask("GET", "/y"), Err(404))]);
}

#[test]
fn priority_then_host_then_path() {
    let at = |host, path| Ask { host, ..ask("GET", path) };
    check(
        &[
            exact("/a"),
            prefix("/").hosts(&["*.org"]),
            prefix("/").hosts(&["*.example.org"]),
            pattern("^/").hosts(&["a.example.org"]),
            prefix("/top").priority(1),
            prefix("/low").priority(-1).hosts(&["a.example.org"]),
            prefix("/m").hosts(&["x.net", "*.example.org"]),
        ],
        &[
            (at("other.net", "/a"), Ok(0)),
            (at("b.org", "/a"), Ok(1)),
            (at("example.org", "/a"), Ok(1)),
            (at("b.example.org", "/a"), Ok(2)),
            (at("b.c.example.org", "/a"), Ok(2)),
            (at("a.example.org", "/a"), Ok(3)),
            (at("a.example.org", "/top"), Ok(4)),
            (at("a.example.org", "/low"), Ok(3)),
            (at("b.example.org", "/m"), Ok(6)),
            (at("x.net", "/m"), Ok(6)),
            (at("badexample.net", "/m"), Err(404)),
            (at(".org", "/a"), Ok(0)),
            (at("", "/a"), Ok(0)),
            (at("org", "/b"), Err(404)),
        ],
    );
}

#[test]
fn conditions() {
    let with = |headers, query| Ask { query, headers, ..ask("GET", "/a") };
    check(
        &[
            exact("/a").header("X-Version", equals("2")),
            exact("/a").query("debug", ValueTest::Present),
            exact("/a").header("x-version", ValueTest::Pattern("2.*[a-z]$".into())).query("q", equals("a b&=é")),
            exact("/a").query("n", ValueTest::Pattern("[0-9]+$".into())),
            prefix("/"),
        ],
        &[
            (with(&[], None), Ok(4)),
            (with(&[("x-version", "1"), ("X-VERSION", "2")], None), Ok(0)),
            (with(&[("x-version", "22")], Some("")), Ok(4)),
            (with(&[], Some("debug")), Ok(1)),
            (with(&[], Some("a=1&debug=&b")), Ok(1)),
            (with(&[], Some("DEBUG=1")), Ok(4)),
            (with(&[], Some("d%65bug")), Ok(1)),
            (with(&[("x-version", "2xa")], Some("q=1&q=a+b%26=%C3%a9")), Ok(2)),
            (with(&[("x-version", "2x1")], Some("q=a+b%26=%C3%a9")), Ok(4)),
            (with(&[], Some("n=12")), Ok(3)),
            (with(&[], Some("n=12x")), Ok(4)),
            (with(&[], Some("n=%")), Ok(4)),
            (with(&[], Some("n=%3")), Ok(4)),
        ],
    );
}

#[test]
fn methods_head_and_allow() {
    let routes = [
        exact("/a").methods(&["GET"]),
        exact("/a").methods(&["POST", "PURGE"]),
        prefix("/a").methods(&["DELETE"]),
        exact("/h").methods(&["GET"]),
        exact("/h").methods(&["HEAD"]),
        prefix("/h").methods(&["HEAD"]),
        exact("/c").methods(&["GET"]).header("x", ValueTest::Present),
        pattern("^/p").methods(&["PUT"]),
        pattern("^/g").methods(&["GET"]),
        prefix("/g/x").methods(&["HEAD"]),
        exact("/any"),
    ];
    check(
        &routes,
        &[
            (ask("GET", "/a"), Ok(0)),
            (ask("HEAD", "/a"), Ok(0)),
            (ask("POST", "/a"), Ok(1)),
            (ask("PURGE", "/a"), Ok(1)),
            (ask("purge", "/a"), Err(405)),
            (ask("DELETE", "/a"), Ok(2)),
            (ask("PUT", "/a"), Err(405)),
            (ask("GET", "/h"), Ok(3)),
            (ask("HEAD", "/h"), Ok(4)),
            (ask("HEAD", "/h/x"), Ok(5)),
            (ask("POST", "/c"), Err(404)),
            (ask("GET", "/p"), Err(405)),
            (ask("HEAD", "/g/x"), Ok(8)),
            (ask("ANYTHING", "/any"), Ok(10)),
            (ask("GET", "/none"), Err(404)),
        ],
    );
    let router = build(&routes);
    let mut scratch = Scratch::default();
    for (ask, allow) in [
        (ask("PUT", "/a"), "DELETE, GET, HEAD, POST, PURGE"),
        (ask("GET", "/p"), "PUT"),
        (ask("FOO", "/h"), "GET, HEAD"),
        (ask("OPTIONS", "/a/x"), "DELETE"),
        (Ask { headers: &[("X", "")], ..ask("POST", "/c") }, "GET, HEAD"),
    ] {
        assert_eq!(ask.find(&router, &mut scratch), RouteMatch::MethodNotAllowed);
        assert_eq!(scratch.allow(), allow, "{ask:?}");
    }
    for (ask, allow) in [
        (ask("GET", "/a"), "DELETE, GET, HEAD, POST, PURGE"),
        (ask("OPTIONS", "/a"), "DELETE, GET, HEAD, POST, PURGE"),
        (ask("OPTIONS", "/any"), "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PURGE, PUT, TRACE"),
        (ask("OPTIONS", "/none"), ""),
    ] {
        assert_eq!(router.allow(&ask.lookup(&Fields::default()), &mut scratch), allow, "{ask:?}");
    }
}

#[test]
fn captures() {
    let routes = [
        template("/u/{id:int}/v{n}.json/{rest:path}"),
        pattern(r"^/p/(?P<year>\d+)(-(\d+))?$"),
        pattern(r"^/q/(.*)/(.*)$"),
        pattern(r"^/n/\d+$"),
        prefix("/x"),
    ];
    let router = build(&routes);
    let mut scratch = Scratch::default();
    let names = |route: usize| router.params(route).iter().map(|p| &**p).collect::<Vec<_>>();
    assert_eq!(names(0), ["id", "n", "rest"]);
    assert_eq!(names(1), ["year", "2", "3"]);
    assert_eq!(names(2), ["1", "2"]);
    assert!(names(3).is_empty() && names(4).is_empty());
    for (path, route, wanted) in [
        ("/u/12/v3.json/a/b", 0, &["12", "3", "a/b"][..]),
        ("/u/12/v3.json/", 0, &["12", "3", ""]),
        ("/p/2024-05", 1, &["2024", "-05", "05"]),
        ("/p/2024", 1, &["2024", "", ""]),
        ("/q/a/b/c", 2, &["a/b", "c"]),
        ("/n/1", 3, &[]),
        ("/x/1", 4, &[]),
    ] {
        assert_eq!(ask("GET", path).find(&router, &mut scratch), RouteMatch::Route(route));
        let texts: Vec<&str> =
            scratch.captures().iter().map(|s| std::str::from_utf8(s.of(path.as_bytes())).unwrap()).collect();
        assert_eq!(texts, wanted, "{path}");
    }
}

#[test]
fn a_scratch_serves_routers_in_turn() {
    let a = build(&[pattern("^/a(x)"), pattern("^/b")]);
    let b = build(&[pattern("^/c"), exact("/q").query("x", ValueTest::Pattern("1".into())), pattern("^/a(x)(y)")]);
    let mut scratch = Scratch::default();
    for _ in 0..3 {
        assert_eq!(ask("GET", "/axy").find(&a, &mut scratch), RouteMatch::Route(0));
        assert_eq!(scratch.captures().len(), 1);
        assert_eq!(ask("GET", "/axy").find(&b, &mut scratch), RouteMatch::Route(2));
        assert_eq!(scratch.captures().len(), 2);
        assert_eq!(Ask { query: Some("x=1"), ..ask("GET", "/q") }.find(&b, &mut scratch), RouteMatch::Route(1));
    }
}

#[test]
fn mistakes_are_all_reported_with_place_and_advice() {
    let cases = vec![
        (exact("a"), "path", "does not start with `/`"),
        (exact("/a?x"), "path", "match the query with `query`"),
        (template("/{id}/{id}"), "path", "appears twice"),
        (template("/{a}{b}"), "path", "more than one parameter"),
        (template("/{id:uuid}"), "path", "unknown converter `uuid`"),
        (template("/{}"), "path", "has no name"),
        (template("/{rest:path}/x"), "path", "must be the last segment"),
        (template("/a}"), "path", "`}` without `{`"),
        (template("/{a"), "path", "`{` without `}`"),
        (prefix("/a//b"), "path", "merged before routing"),
        (exact("/é"), "path", "as `%C3%A9`"),
        (exact("/%41"), "path", "write `%41` as `A`"),
        (exact("/%c3"), "path", "write `%C3`"),
        (exact("/%2F"), "path", "`encoded_slash: keep`"),
        (exact("/%5C"), "path", "such requests are refused"),
        (exact("/%"), "path", "`%25`"),
        (exact("/a/../b"), "path", "resolved before routing"),
        (prefix("/a;v=1/b"), "path", "parameters of segments"),
        (template("/a/{id};{x}"), "path", "more than one parameter"),
        (template("/a/{id};v"), "path", "parameters of segments"),
        (pattern("^/a(?!b)"), "path", "look-around is not supported because matching must take linear time"),
        (pattern(r"^/(a)\1"), "path", "backreferences are not supported"),
        (pattern("^/(a"), "path", "unclosed group"),
        (pattern("/a{1000}{1000}"), "path", "smaller repetition counts"),
        (pattern(&format!("/{}a{}", "(".repeat(60), ")".repeat(60))), "path", "nested too deeply"),
        (pattern(&"/a".repeat(3000)), "path", "4096 are allowed"),
        (pattern("/é"), "path", "percent-encoded"),
        (pattern(r"/\p{Greek}"), "path", "classes are ASCII"),
        (exact("/ok").methods(&["get"]), "methods[0]", "write `GET`"),
        (exact("/ok").methods(&["GET", "G T"]), "methods[1]", "is not a method"),
        (exact("/ok").hosts(&["ok", "Example.org"]), "hosts[1]", "write `example.org`"),
        (exact("/ok").hosts(&["a.*.org"]), "hosts[0]", "`*.example.org`"),
        (exact("/ok").hosts(&["a.org:80"]), "hosts[0]", "without port"),
        (exact("/ok").header("a b", ValueTest::Present), "headers[0].name", "is not a field name"),
        (exact("/ok").query("", ValueTest::Present), "query[0].name", "empty"),
        (
            exact("/ok").query("a", equals("")).query("b", ValueTest::Pattern("(".into())),
            "query[1].value",
            "unclosed group",
        ),
        (template("/x{rest:path}"), "path", "a whole segment"),
        (template("/{1a}"), "path", "is not a name"),
    ];
    let routes: Vec<RoutePlan> = cases.iter().map(|(route, ..)| route.clone()).collect();
    let found = problems(&routes);
    assert_eq!(found.len(), cases.len(), "{found:#?}");
    for (route, (problem, (_, key, text))) in found.iter().zip(cases).enumerate() {
        assert_eq!(problem.path, format!("routes[{route}].match.{key}"), "{problem}");
        assert!(problem.message.contains(text), "{problem}");
    }
}

#[test]
fn routes_that_never_match_are_reported() {
    let shadowed = |routes: &[RoutePlan]| -> Vec<(String, bool)> {
        let router = build(routes);
        router.warnings().iter().map(|w| (w.path.clone(), w.message.contains("`/first`"))).collect()
    };
    let first = || RoutePlan { name: "/first".into(), ..exact("/a") };
    let reported = |second: RoutePlan| shadowed(&[first(), second]) == [("routes[1].match".into(), true)];
    assert!(reported(exact("/a")));
    assert!(reported(exact("/a").methods(&["GET"])));
    assert!(reported(exact("/a").priority(-1).query("x", ValueTest::Present)));
    assert!(!reported(exact("/a").query("x", ValueTest::Present)));
    assert!(!reported(exact("/a").hosts(&["a.org"])));
    assert!(!reported(exact("/a").priority(1)));
    assert!(!reported(template("/{x}")));

    let first = || RoutePlan { name: "/first".into(), ..prefix("/a") }.priority(1).hosts(&["*.org", "x.net"]);
    let reported = |second: RoutePlan| shadowed(&[first(), second]) == [("routes[1].match".into(), true)];
    assert!(reported(exact("/a/b").hosts(&["x.net"])));
    assert!(reported(prefix("/a/").hosts(&["b.org", "*.example.org", "x.net"])));
    assert!(reported(template("/a/{id}").hosts(&["*.org"])));
    assert!(!reported(template("/a/{id}").hosts(&["*.org", "y.net"])));
    assert!(!reported(template("/{id}").hosts(&["*.org"])));
    assert!(!reported(prefix("/").hosts(&["*.org"])));
    assert!(!reported(prefix("/ab").hosts(&["*.org"])));
    assert!(!reported(exact("/a/b").hosts(&["org"])));
    assert!(!reported(exact("/a/b")));

    let first = || RoutePlan { name: "/first".into(), ..pattern("^/a/[a-z]+$") }.methods(&["GET"]).priority(1);
    let reported = |second: RoutePlan| shadowed(&[first(), second]) == [("routes[1].match".into(), true)];
    assert!(reported(exact("/a/b").methods(&["GET"])));
    assert!(reported(pattern("^/a/[a-z]+$").methods(&["GET"])));
    assert!(!reported(exact("/a/b").methods(&["GET", "HEAD"])));
    assert!(!reported(exact("/a/b")));
    assert!(!reported(exact("/a/1").methods(&["GET"])));
    assert!(!reported(pattern("^/a/[a-c]+$").methods(&["GET"])));

    let warnings = |route| build(&[route]).warnings().to_vec();
    assert!(warnings(pattern("api/users"))[0].message.contains("can never match"));
    assert!(warnings(pattern("(api)?/users")).is_empty() && warnings(pattern(".*users")).is_empty());
    for needs_parameters in ["^/a;v=1", "^/a(/b|/c)+(;x|;y)$", "/a[;]"] {
        assert!(warnings(pattern(needs_parameters))[0].message.contains("parameters"), "{needs_parameters}");
    }
    assert!(warnings(pattern("^/a[^;]*(;v)?(;|$)")).is_empty());
}

#[test]
fn explain_names_the_first_reason() {
    let routes = [
        prefix("/").priority(-1),
        exact("/a").hosts(&["x.net"]),
        exact("/a").methods(&["POST"]),
        exact("/a").header("x-a", ValueTest::Present),
        exact("/a").query("q", ValueTest::Present),
        pattern("^/a$"),
        exact("/b"),
        exact("/c").hosts(&["example.org"]),
    ];
    let router = build(&routes);
    let wanted = [
        (3, RouteVerdict::Header("x-a".into())),
        (4, RouteVerdict::Query("q".into())),
        (2, RouteVerdict::Method),
        (5, RouteVerdict::Chosen),
        (0, RouteVerdict::Shadowed(By::Priority)),
        (1, RouteVerdict::Host),
        (7, RouteVerdict::Path),
        (6, RouteVerdict::Path),
    ];
    let wanted: Vec<_> = wanted.into_iter().map(|(route, verdict)| Considered { route, verdict }).collect();
    assert_eq!(ask("GET", "/a").explain(&router), wanted);
    assert_eq!(ask("GET", "/none").explain(&build(&routes[1..4])).len(), 3);
}

#[test]
fn explain_names_what_decided() {
    let decided = |method: &str, winner: RoutePlan, loser: RoutePlan| {
        let router = build(&[loser, winner]);
        let all = ask(method, "/a/b").explain(&router);
        assert_eq!(all[usize::from(all[0].route != 1)], Considered { route: 1, verdict: RouteVerdict::Chosen });
        let other = all.iter().find(|one| one.route == 0).unwrap();
        let RouteVerdict::Shadowed(by) = other.verdict else { panic!("{other:?}") };
        by
    };
    assert_eq!(decided("GET", prefix("/").priority(1), exact("/a/b")), By::Priority);
    assert_eq!(decided("GET", prefix("/").hosts(&["x.net", "*.org"]), exact("/a/b")), By::Host);
    assert_eq!(decided("GET", pattern("^/a"), prefix("/a/b")), By::Path);
    assert_eq!(decided("GET", prefix("/a/b"), prefix("/a")), By::Path);
    assert_eq!(decided("GET", template("/a/{x}"), pattern("^/a/b$")), By::Path);
    assert_eq!(decided("HEAD", exact("/a/b").methods(&["HEAD"]), exact("/a/b").methods(&["GET"])), By::Head);
    let router = build(&[exact("/a/b"), exact("/a/b")]);
    assert_eq!(ask("GET", "/a/b").explain(&router)[1].verdict, RouteVerdict::Shadowed(By::Declaration));
    let all = Ask { headers: &[("k", "")], ..ask("GET", "/a") }
        .explain(&build(&[exact("/a"), exact("/a").header("k", ValueTest::Present)]));
    assert_eq!(all[1].verdict, RouteVerdict::Shadowed(By::Conditions));
}
