//! The life of a request, from top to bottom. `docs/life-of-a-request.md` tells it in words, in the same order.

pub(crate) mod buffer_body;
pub(crate) mod cache_phase;
pub(crate) mod explain;
pub(crate) mod forward;
pub(crate) mod mirror;
pub(crate) mod observe;
pub(crate) mod python_hooks;
pub(crate) mod read_head;
pub(crate) mod readdress;
pub(crate) mod request_phase;
pub(crate) mod respond;
pub(crate) mod revalidate;
pub(crate) mod route;
pub(crate) mod tunnel;

use std::rc::Rc;

use pylae_core::Exchange;

use crate::client::{After, Client};
use crate::flow::cache_phase::settle;
use crate::flow::forward::forward;
use crate::flow::mirror::mirror;
use crate::flow::observe::Passage;
use crate::flow::read_head::receive;
use crate::flow::readdress::readdress;
use crate::flow::request_phase::{Decided, decide};
use crate::flow::respond::{Reply, respond};
use crate::flow::route::route;
use crate::worker::Worker;

/// One exchange. `None`: the client went away before it had said anything.
pub(crate) async fn flow(worker: &Rc<Worker>, client: &mut Client, exchange: &mut Exchange) -> Option<After> {
    // One snapshot serves the whole exchange, whatever is applied meanwhile.
    let snapshot = worker.snapshot();
    // Observed however it ends, cut off by the end of a drain too.
    let mut passage = Passage::begin(worker, &snapshot, client, exchange);
    let Passage { matched, client, exchange, .. } = &mut passage;

    // Request in: its head, complete, valid and in time.
    let received = receive(worker, &snapshot, client, exchange).await?;
    let _admission = worker.enter();

    // Room, and then the route.
    let routed = match received.and_then(|()| worker.admits(&snapshot)) {
        Ok(()) => route(worker, &snapshot, exchange),
        Err(halt) => {
            snapshot.unrouted.enter_unasked(exchange);
            Err(halt)
        }
    };

    let reply = match routed {
        Err(halt) => Err(halt),
        Ok(route) => {
            *matched = Some(route);
            // Request policies, in table order, once.
            match decide(worker, &snapshot, route, client, exchange).await {
                Ok(Decided::Forward) => {
                    // Pick an instance, forward; only these two repeat.
                    let forwarded = forward(worker, &snapshot, route, client, exchange).await;
                    settle(worker, &snapshot, exchange, forwarded)
                }
                Ok(Decided::Answer(answer)) => Ok(Reply::own(*answer, exchange)),
                Ok(Decided::Stored(mut stored)) => {
                    if let Some(fetch) = stored.refresh.take() {
                        revalidate::fetch(worker, &snapshot, exchange, fetch);
                    }
                    Ok(Reply::Stored(stored))
                }
                Err(halt) => Err(halt),
            }
        }
    };
    let matched = *matched;

    // Every early exit becomes a response here.
    let reply = reply.unwrap_or_else(|halt| Reply::from_halt(&halt, exchange));

    // What an instance says of itself becomes what its client knows.
    readdress(&snapshot, exchange);

    // Response policies, in reverse order: those whose request half was entered, on rejections too. Hooks are the last of them.
    let reply = match matched {
        Some(route) if route.hooks.is_some() => python_hooks::response(worker, route, client, exchange, reply).await,
        _ => reply,
    };
    matched.map_or(&snapshot.unrouted, |route| &route.chain).response(exchange);

    // Out.
    let sent = respond(worker, &snapshot, matched, client, exchange, reply).await;

    // Copied, where the route has a mirror.
    if let Some(route) = matched {
        mirror(worker, &snapshot, route, client, exchange);
    }

    // Observed.
    passage.end(sent);
    Some(sent.after)
}
