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

use pylae_core::Exchange;

use crate::client::{After, Client};
use crate::reply::Reply;
use crate::snapshot::{Route, Snapshot};
use crate::worker::Worker;

/// One exchange and everything that its stages need. Each stage is a method in a file of its own.
pub(crate) struct Flow<'a> {
    worker: &'a Rc<Worker>,
    /// The whole exchange is served by this snapshot, even if another is applied meanwhile.
    snapshot: &'a Arc<Snapshot>,
    /// The matched route, or None before routing and for requests that no route takes.
    route: Option<&'a Route>,
    client: &'a mut Client,
    exchange: &'a mut Exchange,
    /// Set once the exchange was logged and counted, and from the start if it must not be.
    observed: bool,
}

/// Serves the next request of `client`. Returns None if the client disconnected before it sent anything.
pub(crate) async fn serve(worker: &Rc<Worker>, client: &mut Client, exchange: &mut Exchange) -> Option<After> {
    let snapshot = &worker.snapshot();
    let mut flow = Flow { worker, snapshot, route: None, client, exchange, observed: false };

    // Read the head: complete, valid and in time.
    let received = flow.read_head().await?;
    let _in_flight = worker.begin_exchange();

    // Check the capacity of the worker, then find the route.
    let routed = match received.and_then(|()| worker.check_capacity(snapshot)) {
        Ok(()) => flow.find_route(),
        Err(halt) => {
            snapshot.unrouted.enter_all(flow.exchange);
            Err(halt)
        }
    };

    let reply = match routed {
        Err(halt) => Err(halt),
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
    };

    // Turn every early exit into a response.
    let reply = reply.unwrap_or_else(|halt| Reply::from_halt(&halt, flow.exchange));

    // Rewrite the instance's addresses to those that the client knows.
    flow.readdress();

    // Response hooks, then the response policies in reverse order: those whose request half was entered, on rejections
    // too.
    let reply = match flow.route {
        Some(route) if route.hooks.is_some() => flow.response_hooks(route, reply).await,
        _ => reply,
    };
    flow.route.map_or(&snapshot.unrouted, |route| &route.chain).response(flow.exchange);

    // Send the response.
    let sent = flow.respond(reply).await;

    // Send a copy of the request if the route has a mirror.
    flow.mirror();

    // Log and count.
    flow.observe(sent);
    Some(sent.after)
}
