//! The life of a request, from top to bottom. `docs/life-of-a-request.md` tells it in words, in the same order.

use std::rc::Rc;

use pylae_core::Exchange;

use crate::cached::settle;
use crate::client::{After, Client};
use crate::decide::{Decided, decide};
use crate::forward::forward;
use crate::hooked;
use crate::mirror::mirror;
use crate::observe::observe;
use crate::receive::receive;
use crate::respond::{Reply, respond};
use crate::revalidate;
use crate::route::route;
use crate::worker::Worker;

/// One exchange. `None`: the client went away before it had asked for anything.
pub(crate) async fn flow(worker: &Rc<Worker>, client: &mut Client, exchange: &mut Exchange) -> Option<After> {
    // One snapshot serves the whole exchange, whatever is applied meanwhile.
    let snapshot = worker.snapshot();

    // Request in: its head, complete, valid and in time.
    let received = receive(worker, &snapshot, client, exchange).await?;
    let _admission = worker.enter();

    // Route.
    let routed = received.and_then(|()| worker.admits(&snapshot)).and_then(|()| route(worker, &snapshot, exchange));

    let (matched, reply) = match routed {
        Err(halt) => (None, Err(halt)),
        Ok(matched) => {
            // Request policies, in table order, once.
            let reply = match decide(worker, &snapshot, matched, client, exchange).await {
                Ok(Decided::Forward) => {
                    // Pick an instance, forward; only these two repeat.
                    let forwarded = forward(worker, &snapshot, matched, client, exchange).await;
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
            };
            (Some(matched), reply)
        }
    };

    // Every early exit becomes a response here.
    let reply = reply.unwrap_or_else(|halt| Reply::from_halt(&halt, exchange));

    // Response policies, in reverse order: those whose request half was entered, on rejections too. Hooks are the last of them.
    let reply = match matched {
        Some(route) if route.hooks.is_some() => hooked::response(worker, route, client, exchange, reply).await,
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
    observe(worker, &snapshot, matched, client, exchange, &sent);
    Some(sent.after)
}
