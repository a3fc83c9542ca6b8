//! Stage: finds the route of the request, and the member of its split.

use pylae_core::route::{RouteMatch, RouteQuery, Scratch};
use pylae_core::{Exchange, Halt, Verdict};
use pylae_http::message::target;
use pylae_http::{Method, TargetError};
use pylae_policies::cors;
use tracing::debug;

use crate::flow::Flow;
use crate::reply::Reply;
use crate::snapshot::{Route, Snapshot};

impl<'a> Flow<'a> {
    /// Finds the route of the request, its path parameters and the path to forward, and chooses the member of its
    /// split. If there is no route, runs the policies for unrouted requests first, so that a client that they refuse
    /// does not learn which routes exist.
    pub(super) fn find_route(&mut self) -> Result<&'a Route, Halt> {
        let (worker, snapshot, exchange) = (self.worker, self.snapshot, &mut *self.exchange);
        let found = match_route(&mut worker.scratch.borrow_mut(), snapshot, exchange);
        match &found {
            Ok(route) => debug!(id = %exchange.request.id.escape_ascii(), route = %route.name, "route chosen"),
            Err(halt) => debug!(id = %exchange.request.id.escape_ascii(), code = halt.code(), "no route"),
        }
        let halt = match found {
            Ok(route) => {
                self.route = Some(route);
                self.decide_trace(route);
                let exchange = &mut *self.exchange;
                if let (Some(split), Some(index)) = (&route.split, exchange.route) {
                    split.choose(&snapshot.router, index, &mut worker.scratch.borrow_mut(), exchange);
                    let service = exchange.member().map(|member| member.service());
                    debug!(id = %exchange.request.id.escape_ascii(), service, "member chosen");
                }
                return Ok(route);
            }
            Err(halt) => halt,
        };
        if matches!(halt, Halt::Target(_)) {
            // Every refused target closes the connection.
            exchange.request.options.close = true;
        }
        let halt = refuse(snapshot, exchange, halt);
        let is_lost = matches!(halt, Halt::NotFound | Halt::MethodNotAllowed(_));
        let refusal = if is_lost { worker.maintenance().rejection(None, || None) } else { None };
        Err(refusal.map_or(halt, Halt::Rejected))
    }
}

/// Runs the policies for unrouted requests. Returns the refusal of one of them, or else why there is no route.
pub(super) fn refuse(snapshot: &Snapshot, exchange: &mut Exchange, halt: Halt) -> Halt {
    loop {
        match snapshot.unrouted.request(exchange) {
            Verdict::Continue => return halt,
            Verdict::Reject(rejection) if rejection.code != cors::REFUSED => {
                debug!(
                    id = %exchange.request.id.escape_ascii(), policy = snapshot.unrouted.name_before(exchange.entered),
                    code = rejection.code, "rejected by a policy"
                );
                return Halt::Rejected(rejection);
            }
            // A refused preflight keeps the original halt: there is no route that it could be for.
            _ => {}
        }
    }
}

impl Flow<'_> {
    /// Keeps the client on the member that was chosen for it by weight, if `reply` is an answer of that member.
    pub(super) fn remember_member(&mut self, reply: &Reply<'_>) {
        let Some(split) = self.route.and_then(|route| route.split.as_ref()) else { return };
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        let answers = match reply {
            Reply::Forwarded(forwarded) => split.has_chosen(forwarded.service, exchange),
            Reply::Stored(_) => true,
            Reply::Own(_) | Reply::Disconnected => false,
        };
        let compiled = exchange.route.and_then(|index| self.snapshot.router.split(index));
        client.scratch.clear();
        if answers
            && exchange.response.status < 500
            && compiled.is_some_and(|split| split.write_cookie(exchange, &mut client.scratch))
        {
            // Cannot fail: the name is a token and the gateway wrote the rest.
            let _ = exchange.response.edits.append(b"Set-Cookie", &client.scratch);
        }
    }
}

/// Matches the request against the router, using the caller's scratch memory.
pub(super) fn match_route<'s>(
    scratch: &mut Scratch,
    snapshot: &'s Snapshot,
    exchange: &mut Exchange,
) -> Result<&'s Route, Halt> {
    if snapshot.hosts.as_ref().is_some_and(|hosts| !hosts.has(exchange.request.host_name())) {
        return Err(Halt::Misdirected);
    }
    if exchange.request.target.has_slashes() {
        check_slashes(scratch, snapshot, exchange).map_err(Halt::Target)?;
    }
    match match_path(scratch, snapshot, exchange, exchange.request.target.routing_path()) {
        RouteMatch::Route(index) => {
            let route = &snapshot.routes[index];
            exchange.request.params.extend_from_slice(scratch.captures());
            if let Some(edit) = &route.path_edit {
                exchange.request.stripped.extend_from_slice(edit.stripped(exchange.request.target.routing_path()));
                edit.apply(&exchange.request.target, &exchange.request.params, &mut exchange.request.forward_path);
                if exchange.request.target.has_slashes() && target::has_odd_slashes(&exchange.request.forward_path) {
                    return Err(Halt::Target(target::ODD_SLASH));
                }
            }
            exchange.route = Some(index);
            Ok(route)
        }
        RouteMatch::MethodNotAllowed => Err(Halt::MethodNotAllowed(scratch.allow().to_owned())),
        RouteMatch::NotFound => Err(Halt::NotFound),
    }
}

/// Checks that encoded slashes (`%2F`) in the path cannot be used to bypass another route's access rules.
fn check_slashes(scratch: &mut Scratch, snapshot: &Snapshot, exchange: &Exchange) -> Result<(), TargetError> {
    let found = match_path(scratch, snapshot, exchange, exchange.request.target.routing_path());
    let access = |route: usize| snapshot.routes[route].chain.access();
    snapshot.router.check_slashes(
        &exchange.request.target,
        found,
        |path| match_path(scratch, snapshot, exchange, path),
        |a, b| access(a).is_equivalent_to(&access(b)),
    )
}

/// Matches the request as if its path were `path`.
fn match_path(scratch: &mut Scratch, snapshot: &Snapshot, exchange: &Exchange, path: &[u8]) -> RouteMatch {
    let query = RouteQuery { path, ..RouteQuery::of(exchange) };
    match match_preflight(scratch, snapshot, exchange, query) {
        Some(index) => RouteMatch::Route(index),
        None => snapshot.router.find(&query, scratch),
    }
}

/// Matches the request that a CORS preflight announces. Returns its route if that route answers preflights.
fn match_preflight(
    scratch: &mut Scratch,
    snapshot: &Snapshot,
    exchange: &Exchange,
    query: RouteQuery<'_>,
) -> Option<usize> {
    if exchange.request.head.method != Method::Options {
        return None;
    }
    let method_token = cors::announced_method(exchange)?;
    let preflight = RouteQuery { method: Method::from_token(method_token), method_token, ..query };
    match snapshot.router.find(&preflight, scratch) {
        RouteMatch::Route(index) if snapshot.routes[index].chain.answers_preflights() => Some(index),
        _ => None,
    }
}
