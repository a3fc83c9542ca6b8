//! What must hold of compiled configuration for any document. Called by the fuzz target and by `crates/core/tests`.
#![allow(clippy::expect_used, reason = "what fails here is a finding")]

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use pylae_core::clock::Instant;
use pylae_core::exchange::answer::{self, FoundPages};
use pylae_core::route::rewrite::PathEdit;
use pylae_core::route::{RouteMatch, RouteQuery, Router, Scratch};
use pylae_core::service::ServiceState;
use pylae_core::{Exchange, Halt, Plan};
use pylae_http::{HeadLimits, Method, RequestHead, Target};

/// Paths that routes are asked for.
const PATHS: [&str; 7] =
    ["/", "/users/7", "/users/7/orders", "/files/a/b%20c", "/a/", "/%C3%A9", "/users;a/7;b/orders;c=d"];
const REQUEST: &[u8] = b"GET /users/7?v=1 HTTP/1.1\r\nHost: a.example.org\r\nX-Kind: beta\r\n\
    Cookie: group=b; at=0123456789abcdef\r\n\r\n";

/// `data` as a plan: read, or refused; read again as it was written; built, or refused; and asked.
pub(crate) fn check(data: &[u8]) {
    let Ok(plan) = serde_json::from_slice::<Plan>(data) else { return };
    let written = serde_json::to_vec(&plan).expect("a plan can be written");
    assert_eq!(serde_json::from_slice::<Plan>(&written).expect("what was written can be read"), plan);
    for service in &plan.services {
        if let Err(problems) = ServiceState::build(service, None, Instant::default()) {
            assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.message.is_empty()));
        }
    }
    fail(&plan);
    match Router::build(&plan.routes) {
        Ok(router) => {
            ask(&plan, &router);
            let overlaps = router.overlaps(&plan.routes, |first, behind| (first + behind) % 2 == 1);
            assert!(overlaps.iter().all(|problem| problem.path.starts_with("routes")));
        }
        Err(problems) => assert!(problems.iter().all(|problem| problem.path.starts_with("routes"))),
    }
}

/// Makes answers of errors, with and without pages.
fn fail(plan: &Plan) {
    let exchange = Exchange::new(0);
    let layers = plan.routes.first().map(|route| &route.errors).into_iter().chain([&plan.errors]).collect::<Vec<_>>();
    for halt in [Halt::NotFound, Halt::BadGateway, Halt::HeadTimeout] {
        let pages = FoundPages::of(halt.status(), &layers);
        let answer = answer::to_halt(&halt, &exchange, Duration::ZERO, pages);
        assert_eq!(answer.status, halt.status());
        assert!(pages.is_some() || !answer.body.is_empty());
    }
}

/// Asks for a few requests: whatever is found captures within the path, and edits it to a path.
fn ask(plan: &Plan, router: &Router) {
    let limits = HeadLimits { head: 1024, target: 256, fields: 16 };
    let mut head = RequestHead::default();
    assert_eq!(head.parse(REQUEST, &limits), Ok(true));
    let mut exchange = Exchange::new(REQUEST.len());
    exchange.request.buffer.extend_from_slice(REQUEST);
    exchange.request.head.clone_from(&head);
    let (mut scratch, mut out, turns) = (Scratch::default(), Vec::new(), AtomicU64::new(0));
    for raw in PATHS {
        let mut target = Target::default();
        target.read(raw.as_bytes(), Method::Get).expect("a path");
        let path = target.routing_path();
        for (method, host) in [(Method::Get, &b"a.example.org"[..]), (Method::Post, b"")] {
            let token = if method == Method::Get { &b"GET"[..] } else { b"POST" };
            let query = Some(&b"v=1"[..]);
            let lookup =
                RouteQuery { host, method, method_token: token, path, query, fields: &head.fields, buf: REQUEST };
            let RouteMatch::Route(place) = router.find(&lookup, &mut scratch) else { continue };
            let (route, params) = (&plan.routes[place], router.params(place));
            assert!(route.matches.methods.is_empty() || !route.matches.methods.iter().all(|one| one == "DELETE"));
            assert_eq!(scratch.captures().len(), params.len());
            assert!(scratch.captures().iter().all(|span| span.end() <= path.len()));
            if let Some(split) = &route.split {
                let choice = router.choose(place, &exchange, &mut scratch, &turns, |index| index % 2 == 1);
                assert!(choice.map_or(0, |choice| choice.index) < split.members.len());
            }
            let edit = PathEdit::build(route.rewrite.as_deref(), route.strip_prefix.as_deref(), params);
            if let Ok(Some(edit)) = edit {
                edit.apply(&target, scratch.captures(), &mut out);
                assert!(out.starts_with(b"/") && !out.windows(2).any(|two| two == b"//"));
            }
        }
    }
}
