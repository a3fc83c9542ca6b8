//! Tables of cases; `model` compares with a scan over all routes.

mod bounds;
pub(super) mod model;
mod overlap;
mod slashes;
mod tables;

use pylae_http::{Fields, Method};

use super::matching::predicate::FieldValues;
use super::{Considered, RouteMatch, RouteQuery, Router, Scratch};
use crate::Problem;
use crate::plan::{EncodedSlash, ErrorPages, Match, PathMatch, RoutePlan, Seconds, ValueMatch, ValueTest};

/// Fields as a list, in place of a parsed head.
struct List<'a>(&'a [(&'a str, &'a str)]);

impl FieldValues for List<'_> {
    fn any(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && test(v.as_bytes()))
    }
}

fn method(token: &str) -> Method {
    match token {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    }
}

/// A request for routing.
#[derive(Clone, Debug)]
struct Ask<'a> {
    host: &'a str,
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
}

fn ask<'a>(method: &'a str, path: &'a str) -> Ask<'a> {
    Ask { host: "example.org", method, path, query: None, headers: &[] }
}

impl Ask<'_> {
    fn lookup<'f>(&'f self, fields: &'f Fields) -> RouteQuery<'f> {
        RouteQuery {
            host: self.host.as_bytes(),
            method: method(self.method),
            method_token: self.method.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.map(str::as_bytes),
            fields,
            buf: b"",
        }
    }

    fn find(&self, router: &Router, scratch: &mut Scratch) -> RouteMatch {
        router.find_where(&self.lookup(&Fields::default()), &List(self.headers), scratch)
    }

    fn explain(&self, router: &Router) -> Vec<Considered> {
        router.explain_where(&self.lookup(&Fields::default()), &List(self.headers))
    }
}

fn route(name: &str, path: PathMatch) -> RoutePlan {
    let second = Seconds(std::time::Duration::from_secs(1));
    RoutePlan {
        name: name.into(),
        matches: Match { path, methods: vec![], hosts: vec![], headers: vec![], query: vec![] },
        priority: 0,
        service: None,
        split: None,
        timeout: second,
        idle_timeout: second,
        deadline: None,
        retries: 0,
        retry_on: vec![],
        preserve_host: None,
        encoded_slash: EncodedSlash::Reject,
        websocket: None,
        strip_prefix: None,
        rewrite: None,
        errors: ErrorPages::default(),
        policies: std::collections::BTreeMap::new(),
    }
}

pub(super) fn exact(path: &str) -> RoutePlan {
    route(path, PathMatch::Exact(path.into()))
}

pub(super) fn prefix(path: &str) -> RoutePlan {
    route(path, PathMatch::Prefix(path.into()))
}

pub(super) fn template(path: &str) -> RoutePlan {
    route(path, PathMatch::Template(path.into()))
}

pub(super) fn pattern(path: &str) -> RoutePlan {
    route(path, PathMatch::Pattern(path.into()))
}

trait With: Sized {
    fn methods(self, list: &[&str]) -> Self;
    fn hosts(self, list: &[&str]) -> Self;
    fn priority(self, priority: i32) -> Self;
    fn header(self, name: &str, value: ValueTest) -> Self;
    fn query(self, name: &str, value: ValueTest) -> Self;
}

impl With for RoutePlan {
    fn methods(mut self, list: &[&str]) -> Self {
        self.matches.methods = list.iter().map(|m| (*m).into()).collect();
        self
    }

    fn hosts(mut self, list: &[&str]) -> Self {
        self.matches.hosts = list.iter().map(|m| (*m).into()).collect();
        self
    }

    fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    fn header(mut self, name: &str, value: ValueTest) -> Self {
        self.matches.headers.push(ValueMatch { name: name.into(), value });
        self
    }

    fn query(mut self, name: &str, value: ValueTest) -> Self {
        self.matches.query.push(ValueMatch { name: name.into(), value });
        self
    }
}

fn equals(value: &str) -> ValueTest {
    ValueTest::Equals(value.into())
}

pub(super) fn build(routes: &[RoutePlan]) -> Router {
    Router::build(routes).unwrap()
}

fn problems(routes: &[RoutePlan]) -> Vec<Problem> {
    Router::build(routes).err().unwrap_or_default()
}

/// Asserts which of `routes` matches each request: its index, or a status.
fn check(routes: &[RoutePlan], cases: &[(Ask<'_>, Result<usize, u16>)]) {
    let router = build(routes);
    let mut scratch = Scratch::default();
    for (ask, wanted) in cases {
        let found = match ask.find(&router, &mut scratch) {
            RouteMatch::Route(route) => Ok(route),
            RouteMatch::MethodNotAllowed => Err(405),
            RouteMatch::NotFound => Err(404),
        };
        assert_eq!(found, *wanted, "{ask:?}");
    }
}
