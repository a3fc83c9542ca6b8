use pylae_http::message::target::{ENCODED_SLASH, Target, TargetError};
use pylae_http::{Fields, Method};

use super::super::{RouteMatch, RouteQuery, Scratch};
use super::{With, ask, build, exact, prefix, template};
use crate::plan::{EncodedSlash, RoutePlan};

fn keeping(mut route: RoutePlan) -> RoutePlan {
    route.encoded_slash = EncodedSlash::Keep;
    route
}

/// Returns the result for a request, if routes at even and odd indexes admit different clients.
fn outcome(routes: &[RoutePlan], method: &str, path: &str) -> Result<RouteMatch, TargetError> {
    let (router, mut scratch, fields) = (build(routes), Scratch::default(), Fields::default());
    let mut target = Target::default();
    target.read_with_slashes(path.as_bytes(), Method::Get).unwrap();
    let request = ask(method, "");
    let mut find = |path: &[u8]| router.find(&RouteQuery { path, ..request.lookup(&fields) }, &mut scratch);
    let found = find(target.routing_path());
    router.check_slashes(&target, found, find, |one, other| one % 2 == other % 2).map(|()| found)
}

#[test]
fn a_route_must_keep_encoded_slashes() {
    let routes = [keeping(template("/{key}")), template("/a/{key}")];
    assert_eq!(outcome(&routes, "GET", "/x%2Fy"), Ok(RouteMatch::Route(0)));
    assert_eq!(outcome(&routes, "GET", "/a/x%2Fy"), Err(ENCODED_SLASH));
    assert_eq!(outcome(&routes, "GET", "/a/x"), Ok(RouteMatch::Route(1)));
    assert_eq!(outcome(&routes, "GET", "/x/y/z%2F"), Err(ENCODED_SLASH));
}

#[test]
fn the_other_reading_must_let_in_the_same() {
    let two_places = |path: &str, method: &str, routes: &[RoutePlan]| {
        let outcome = outcome(routes, method, path);
        assert!(outcome.is_ok() || outcome.is_err_and(|error| error != ENCODED_SLASH), "{path}: {outcome:?}");
        outcome.is_err()
    };
    let routes = [keeping(template("/{key}")), prefix("/a"), prefix("/b"), exact("/c/d").methods(&["PUT"])];
    assert!(two_places("/a%2Fx", "GET", &routes));
    assert!(!two_places("/b%2Fx", "GET", &routes));
    assert!(!two_places("/x%2Fy", "GET", &routes));
    // Only other methods.
    assert!(two_places("/c%2Fd", "GET", &routes));
    assert!(two_places("/c%2Fd", "PUT", &routes));
    // The same route matches both.
    assert!(!two_places("/a%2Fx", "GET", &[keeping(prefix("/"))]));
    // Path parameters hide nothing here either.
    assert!(two_places("/a%2Fx;y", "GET", &routes));
}

#[test]
fn methods_are_told_as_ever() {
    let routes = [keeping(template("/{key}").methods(&["PUT"]))];
    assert_eq!(outcome(&routes, "GET", "/a%2Fb"), Ok(RouteMatch::MethodNotAllowed));
}
