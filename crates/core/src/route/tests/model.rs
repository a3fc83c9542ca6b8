//! A scan over all routes in the documented order, and random tables and requests against it.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;
use regex_automata::meta;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use super::super::{RouteMatch, RouteVerdict, Scratch};
use super::{Ask, With, ask, build, exact, method, pattern, prefix, template};
use crate::plan::{PathMatch, RoutePlan, ValueTest};

const PATHS: &[&str] =
    &["/", "/a", "/a/", "/a/b", "/a/1", "/a/b/1", "/b", "/b/12/c", "/1", "/ab", "/a1/b", "/c/c/c/c", "*"];
const HOSTS: &[&str] = &["a.org", "b.a.org", "c.b.a.org", "org", "x.net", ""];
const METHODS: &[&str] = &["GET", "HEAD", "POST", "OPTIONS", "PURGE", "OTHER"];

pub(crate) fn path_match() -> impl Strategy<Value = RoutePlan> {
    let exacts = prop::sample::select(PATHS).prop_map(exact);
    let prefixes = prop::sample::select(&["/", "/a", "/a/", "/a/b", "/b", "/b/"][..]).prop_map(prefix);
    let part = prop::sample::select(&["a", "b", "1", "{}", "{}", "{:int}", "a{}", "{}1", "a{:int}", "{:str}"][..]);
    let last = prop::sample::select(&["", "/", "/{:path}"][..]);
    let templates = (prop::collection::vec(part, 1..4), last).prop_map(|(parts, last)| {
        let mut text = String::new();
        for (i, part) in parts.iter().chain([&last]).enumerate() {
            if !part.is_empty() && !part.starts_with('/') {
                text.push('/');
            }
            text += &part.replace('{', &format!("{{p{i}"));
        }
        template(&text)
    });
    let patterns = prop::sample::select(&["^/a", "^/a$", "^/.*1$", r"^/(\w+)/(\w+)$", "^/[ab]/", ".*", "^/b/(1*)"][..])
        .prop_map(pattern);
    prop_oneof![exacts, prefixes, templates.clone(), templates, patterns]
}

fn any_route() -> impl Strategy<Value = RoutePlan> {
    let hosts = &["a.org", "b.a.org", "x.net", "*.org", "*.a.org", "*.b.a.org"][..];
    let test = prop_oneof![
        Just(ValueTest::Present),
        Just(ValueTest::Equals("1".into())),
        Just(ValueTest::Pattern("1|2$".into())),
    ];
    let condition = (prop::bool::ANY, prop::sample::select(&["k", "l"][..]), test);
    (
        path_match(),
        prop_oneof![3 => Just(0), 1 => -1..2],
        prop_oneof![Just(vec![]), prop::collection::vec(prop::sample::select(hosts), 1..3)],
        prop_oneof![Just(vec![]), prop::collection::vec(prop::sample::select(&METHODS[..5]), 1..3)],
        prop_oneof![3 => Just(vec![]), 2 => prop::collection::vec(condition, 1..3)],
    )
        .prop_map(|(route, priority, hosts, methods, conditions)| {
            let route = route.priority(priority).hosts(&hosts).methods(&methods);
            conditions.into_iter().fold(
                route,
                |r, (field, name, test)| {
                    if field { r.header(name, test) } else { r.query(name, test) }
                },
            )
        })
}

fn host_rank(pattern: &str, host: &str) -> Option<(u8, isize)> {
    match pattern.strip_prefix('*') {
        None => (pattern == host).then_some((0, 0)),
        Some(tail) => (host.ends_with(tail) && host != tail).then_some((1, -tail.len().cast_signed())),
    }
}

/// The template as a regular expression.
fn template_takes(text: &str, path: &str) -> bool {
    let mut regex = String::from("^");
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('{') {
        let (inner, after) = tail.split_once('}').unwrap();
        regex += before;
        regex += match inner.split_once(':') {
            Some((_, "int")) => "[0-9]+",
            Some((_, "path")) => ".*",
            _ => "[^/]+",
        };
        rest = after;
    }
    pattern_takes(&format!("{regex}{rest}$"), path)
}

thread_local! {
    static COMPILED: RefCell<HashMap<String, meta::Regex>> = RefCell::default();
}

fn pattern_takes(text: &str, path: &str) -> bool {
    COMPILED.with_borrow_mut(|compiled| {
        let regex = compiled.entry(text.to_owned()).or_insert_with(|| {
            let syntax = syntax::Config::new().unicode(false).utf8(false);
            meta::Builder::new().syntax(syntax).build(text).unwrap()
        });
        regex.is_match(Input::new(path).anchored(Anchored::Yes))
    })
}

type PathRank = (u8, Vec<(u8, isize, u8)>, isize);

/// Position of the path in the order, if it matches the request's.
fn path_rank(from: &PathMatch, path: &str, routes: &[RoutePlan]) -> Option<PathRank> {
    let (takes, rank) = match from {
        PathMatch::Exact(text) => (text == path, (0, vec![], 0)),
        PathMatch::Template(text) => {
            let key = text[1..].split('/').map(|s| match s.split_once('{') {
                None => (0, 0, 0),
                Some(_) if s.contains(":path") => (3, 0, 0),
                Some((before, tail)) => {
                    let around = before.len() + tail.split_once('}').unwrap().1.len();
                    (if around > 0 { 1 } else { 2 }, -around.cast_signed(), u8::from(!s.contains(":int")))
                }
            });
            (template_takes(text, path), (1, key.collect(), 0))
        }
        PathMatch::Prefix(text) => {
            let takes = if text.ends_with('/') {
                path.starts_with(text)
            } else {
                path == text || path.starts_with(&format!("{text}/"))
            };
            (takes, (3, vec![], -text.len().cast_signed()))
        }
        PathMatch::Pattern(text) => {
            let first = routes.iter().position(|r| r.matches.path == *from).unwrap();
            (path != "*" && pattern_takes(text, path), (2, vec![], first.cast_signed()))
        }
    };
    takes.then_some(rank)
}

/// A path match without the names of parameters.
fn shape(from: &PathMatch) -> PathMatch {
    let PathMatch::Template(text) = from else { return from.clone() };
    let mut text = text.replace(":str", "");
    for i in 0..4 {
        text = text.replace(&format!("p{i}"), "");
    }
    PathMatch::Template(text)
}

fn value_passes(test: &ValueTest, value: &str) -> bool {
    match test {
        ValueTest::Present => true,
        ValueTest::Equals(wanted) => wanted == value,
        ValueTest::Pattern(text) => pattern_takes(text, value),
    }
}

fn conditions_hold(route: &RoutePlan, ask: &Ask<'_>) -> bool {
    let pairs: Vec<(&str, &str)> =
        ask.query.unwrap_or("").split('&').map(|p| p.split_once('=').unwrap_or((p, ""))).collect();
    let holds = |name: &str, test, list: &[(&str, &str)]| list.iter().any(|(n, v)| *n == name && value_passes(test, v));
    route.matches.headers.iter().all(|h| holds(&h.name, &h.value, ask.headers))
        && route.matches.query.iter().all(|q| holds(&q.name, &q.value, &pairs))
}

fn model(routes: &[RoutePlan], ask: &Ask<'_>) -> Result<usize, Vec<String>> {
    let mut fitting = Vec::new();
    for (i, route) in routes.iter().enumerate() {
        let m = &route.matches;
        let host =
            if m.hosts.is_empty() { Some((2, 0)) } else { m.hosts.iter().filter_map(|h| host_rank(h, ask.host)).min() };
        if let (Some(host), Some(path)) = (host, path_rank(&m.path, ask.path, routes))
            && conditions_hold(route, ask)
        {
            fitting.push((-route.priority, host, path, -(m.headers.len() + m.query.len()).cast_signed(), i));
        }
    }
    fitting.sort();
    let lists = |i: usize, method: &str| routes[i].matches.methods.iter().any(|m| m == method);
    let takes = |i: usize| {
        routes[i].matches.methods.is_empty() || lists(i, ask.method) || (ask.method == "HEAD" && lists(i, "GET"))
    };
    let Some(best) = fitting.iter().find(|f| takes(f.4)) else {
        let mut allow: Vec<String> = fitting.iter().flat_map(|f| routes[f.4].matches.methods.clone()).collect();
        if allow.iter().any(|m| m == "GET") {
            allow.push("HEAD".into());
        }
        allow.sort();
        allow.dedup();
        return Err(allow);
    };
    if ask.method == "HEAD" && !routes[best.4].matches.methods.is_empty() && !lists(best.4, "HEAD") {
        let equal = |f: &&(i32, _, _, isize, usize)| {
            (f.0, f.3, &f.1, &f.2) == (best.0, best.3, &best.1, &best.2)
                && shape(&routes[f.4].matches.path) == shape(&routes[best.4].matches.path)
        };
        if let Some(explicit) = fitting.iter().filter(equal).find(|f| lists(f.4, "HEAD")) {
            return Ok(explicit.4);
        }
    }
    Ok(best.4)
}

const QUERIES: &[Option<&str>] = &[None, Some("k=1"), Some("k=2&l"), Some("l=1&k=22")];
const HEADERS: &[&[(&str, &str)]] = &[&[], &[("k", "1")], &[("k", "0"), ("k", "2"), ("l", "x")]];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_scan_over_all_routes(
        routes in prop::collection::vec(any_route(), 1..24),
        query in prop::sample::select(QUERIES),
        headers in prop::sample::select(HEADERS),
    ) {
        let router = build(&routes);
        let mut scratch = Scratch::default();
        let silent: Vec<String> = router.warnings().iter().map(|w| w.path.clone()).collect();
        for host in HOSTS {
            for path in PATHS {
                for token in METHODS {
                    let ask = Ask { host, query, headers, ..ask(token, path) };
                    let found = match ask.find(&router, &mut scratch) {
                        RouteMatch::Route(route) => Ok(route),
                        RouteMatch::MethodNotAllowed => Err(scratch.allow().split(", ").map(String::from).collect()),
                        RouteMatch::NotFound => Err(vec![]),
                    };
                    prop_assert_eq!(&found, &model(&routes, &ask), "{:?} {:?}", ask, method(token));
                    if let Ok(route) = found {
                        prop_assert_eq!(scratch.captures().len(), router.params(route).len());
                        prop_assert!(!silent.contains(&format!("routes[{route}].match")), "{:?} was said to be impossible", route);
                    }
                }
                let ask = Ask { host, query, headers, ..ask("GET", path) };
                let chosen: Vec<usize> =
                    ask.explain(&router).iter().filter(|c| c.verdict == RouteVerdict::Chosen).map(|c| c.route).collect();
                prop_assert_eq!(chosen, model(&routes, &ask).into_iter().collect::<Vec<_>>());
            }
        }
    }
}
