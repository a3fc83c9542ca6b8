//! The life of a request, from top to bottom. `docs/life-of-a-request.md` describes it in the same order.

mod buffer_body;
mod cache_phase;
pub(crate) mod explain;
mod forward;
mod mirror;
mod observe;
mod python_hooks;
pub(crate) mod read_head;
mod readdress;
mod relay;
mod request_phase;
mod respond;
mod revalidate;
mod route;
mod tunnel;

use std::rc::Rc;
use std::sync::Arc;

use pylae_core::request::trace_token::TraceToken;
use pylae_core::{Exchange, Halt};

use crate::client::{After, Client};
use crate::reply::Reply;
use crate::snapshot::{Route, Snapshot};
use crate::worker::Worker;

/// Why an exchange is watched: with a token, or because of a watch.
#[derive(Clone, Copy, Debug)]
struct Watched(Option<TraceToken>);

/// One exchange and everything that its stages need. Each stage is a method in a file of its own.
pub(crate) struct Flow<'a> {
    worker: &'a Rc<Worker>,
    /// The whole exchange is served by this snapshot, even if another is applied meanwhile.
    snapshot: &'a Arc<Snapshot>,
    /// The matched route, or None before routing and for requests that no route takes.
    route: Option<&'a Route>,
    client: &'a mut Client,
    exchange: &'a mut Exchange,
    /// The head has made a request.
    has_request: bool,
    /// Number of policies of the early stage that were entered.
    entered_early: usize,
    /// Set if somebody wants to see this exchange.
    watched: Option<Watched>,
    /// Set once the exchange was logged and counted, and from the start if it must not be.
    observed: bool,
}

/// Serves the next request of `client`. Returns None if the client disconnected before it sent anything.
pub(crate) async fn serve(worker: &Rc<Worker>, client: &mut Client, exchange: &mut Exchange) -> Option<After> {
    let snapshot = &worker.snapshot();
    let mut flow = Flow::new(worker, snapshot, client, exchange);

    // Read the head: complete, valid and in time.
    let received = flow.read_head().await?;
    flow.has_request = received.is_ok();
    flow.sample_costs();
    let _in_flight = worker.begin_exchange();

    // Check the capacity of the worker, then run the early stage, if there is one.
    let admitted = match received.and_then(|()| worker.check_capacity(snapshot)) {
        Ok(()) => match &snapshot.early {
            None => Ok(None),
            Some(early) => Box::pin(flow.early_request(early)).await,
        },
        Err(halt) => {
            snapshot.unrouted.enter_all(flow.exchange);
            Err(halt)
        }
    };

    // Find the route.
    let reply = match admitted {
        Ok(None) => match flow.find_route() {
            // Request policies, in table order, once.
            Ok(route) => match flow.request_phase(route).await {
                // Pick an instance and forward: only these two are retried. Then the cache sees the response.
                Ok(None) => {
                    let forwarded = flow.forward(route).await;
                    flow.cache_phase(forwarded)
                }
                Ok(Some(Reply::Stored(mut stored))) => {
                    if let Some(fetch) = stored.refresh.take() {
                        flow.revalidate(fetch);
                    }
                    Ok(Reply::Stored(stored))
                }
                Ok(Some(reply)) => Ok(reply),
                Err(halt) => Err(halt),
            },
            Err(halt) => Err(halt),
        },
        Ok(Some(reply)) => Ok(reply),
        Err(halt) => Err(halt),
    };

    // Turn every early exit into a response.
    let reply = reply.unwrap_or_else(|halt| flow.fail(&halt));

    // Rewrite the instance's addresses to those that the client knows.
    flow.readdress();

    // Have the client remember the member of the route's split that has answered.
    flow.remember_member(&reply);

    // Response hooks, then the response policies in reverse order: those whose request half was entered, on rejections
    // too. The early stage comes last.
    let reply = match flow.route {
        Some(route) if route.hooks.is_some() => flow.response_hooks(route, reply).await,
        _ => reply,
    };
    flow.route.map_or(&snapshot.unrouted, |route| &route.chain).response(flow.exchange);
    let reply = match &snapshot.early {
        None => reply,
        Some(early) => Box::pin(flow.early_response(early, reply)).await,
    };
    flow.exchange.set_hook_fields();

    // Send the response.
    let sent = flow.respond(reply).await;

    // Send a copy of the request if the route has a mirror.
    flow.mirror();

    // Log and count.
    flow.observe(sent);
    Some(sent.after)
}

impl<'a> Flow<'a> {
    fn new(
        worker: &'a Rc<Worker>,
        snapshot: &'a Arc<Snapshot>,
        client: &'a mut Client,
        exchange: &'a mut Exchange,
    ) -> Self {
        Self {
            worker,
            snapshot,
            route: None,
            client,
            exchange,
            has_request: false,
            entered_early: 0,
            watched: None,
            observed: false,
        }
    }

    /// Turns an early exit into a response, with the error pages of the route, if there is one, before the gateway's.
    fn fail(&mut self, halt: &Halt) -> Reply<'a> {
        let plan = &self.snapshot.plan;
        match self.exchange.route {
            Some(index) => Reply::from_halt(halt, self.exchange, &[&plan.routes[index].errors, &plan.errors]),
            None => Reply::from_halt(halt, self.exchange, &[&plan.errors]),
        }
    }
}
