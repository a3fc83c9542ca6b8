use std::time::{Duration, Instant};

use super::super::{RouteMatch, Scratch};
use super::{Ask, With, ask, build, check, exact, pattern, prefix, template};
use crate::plan::RoutePlan;

#[test]
fn twenty_thousand_routes() {
    let routes: Vec<RoutePlan> = (0..20_000)
        .map(|i| match i % 5 {
            0 => exact(&format!("/exact/{i}")),
            1 => template(&format!("/template/{i}/{{id:int}}")),
            2 => prefix(&format!("/prefix/{i}")),
            3 => template(&format!("/{{tenant}}/items/{i}")),
            _ => prefix("/").hosts(&[&format!("h{i}.example.org"), &format!("*.w{i}.example.org")]),
        })
        .collect();
    let router = build(&routes);
    assert!(router.warnings().is_empty());
    let mut scratch = Scratch::default();
    for i in 0..20_000 {
        let (host, path) = match i % 5 {
            0 => ("x".into(), format!("/exact/{i}")),
            1 => ("x".into(), format!("/template/{i}/{i}")),
            2 => ("x".into(), format!("/prefix/{i}/x")),
            3 => ("x".into(), format!("/t{i}/items/{i}")),
            _ if i % 2 == 0 => (format!("h{i}.example.org"), "/x".into()),
            _ => (format!("a.w{i}.example.org"), "/x".into()),
        };
        let found = Ask { host: &host, ..ask("GET", &path) }.find(&router, &mut scratch);
        assert_eq!(found, RouteMatch::Route(i), "{host}{path}");
    }
    assert_eq!(ask("GET", "/exact/x").find(&router, &mut scratch), RouteMatch::NotFound);
    assert_eq!(ask("GET", "/exact/0").explain(&router).len(), 101);
}

#[test]
fn the_same_path_under_many_methods_hosts_and_nothing_else_builds_fast() {
    let routes: Vec<RoutePlan> = (0..3000).map(|i| exact("/a").priority(i % 7).methods(&["POST"])).collect();
    let router = build(&routes);
    assert_eq!(router.warnings().len(), 2999);
    assert_eq!(ask("POST", "/a").find(&router, &mut Scratch::default()), RouteMatch::Route(6));
    assert_eq!(ask("GET", "/a").find(&router, &mut Scratch::default()), RouteMatch::MethodNotAllowed);
}

#[test]
fn many_patterns_in_one_pass() {
    let routes: Vec<RoutePlan> = (0..2000).map(|i| pattern(&format!(r"^/api/r{i}/(\d+)$"))).collect();
    let router = build(&routes);
    let mut scratch = Scratch::default();
    for i in 0..2000 {
        let path = format!("/api/r{i}/{i}");
        assert_eq!(ask("GET", &path).find(&router, &mut scratch), RouteMatch::Route(i));
        assert_eq!(scratch.captures()[0].of(path.as_bytes()), i.to_string().as_bytes());
    }
}

#[test]
fn pathological_patterns_take_linear_time() {
    let long = format!("/{}!", "a".repeat(60_000));
    let router = build(&[
        pattern("^/(a+)+$"),
        pattern("^/(a|aa)+$"),
        pattern("^/(.*)(.*)(.*)(.*)b$"),
        pattern("^/.*a.{12}b$"),
        pattern("^/((a*)*)*b"),
    ]);
    let mut scratch = Scratch::default();
    let begun = Instant::now();
    assert_eq!(ask("GET", &long).find(&router, &mut scratch), RouteMatch::NotFound);
    let matching = &long[..long.len() - 1];
    assert_eq!(ask("GET", matching).find(&router, &mut scratch), RouteMatch::Route(0));
    // Exponential or quadratic time would take minutes and more; this limit only has to be far from that and from a
    // slow machine.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    check(&[pattern("(a+)+$"), pattern("^/(a+)+$")], &[(ask("GET", "/aaa"), Ok(1))]);
}

#[test]
fn all_patterns_together_are_bounded() {
    let routes: Vec<RoutePlan> = (0..2000).map(|i| pattern(&format!("^/{i}/[a-z]{{1500}}$"))).collect();
    let problems = super::problems(&routes);
    assert!(problems[0].message.contains("64 MB"), "{}", problems[0]);
}
