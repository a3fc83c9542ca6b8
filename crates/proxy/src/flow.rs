//! The life of a request, from top to bottom. `docs/life-of-a-request.md` tells it in words, in the same order.

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

use pylae_core::{Exchange, Halt};

use crate::client::{After, Client};
use crate::reply::Reply;
use crate::snapshot::{Route, Snapshot};
use crate::worker::Worker;

/// One exchange, and all that its stages need. Each stage is a method, in a file of its own.
pub(crate) struct Flow<'a> {
    worker: &'a Rc<Worker>,
    /// One snapshot serves the whole exchange, whatever is applied meanwhile.
    snapshot: &'a Arc<Snapshot>,
    /// Its route, once there is one.
    route: Option<&'a Route>,
    client: &'a mut Client,
    exchange: &'a mut Exchange,
    /// It was logged and counted, or is not to be.
    observed: bool,
}

/// Serves the next request of `client`. `None`: the client went away before it had said anything.
pub(crate) async fn serve(worker: &Rc<Worker>, client: &mut Client, exchange: &mut Exchange) -> Option<After> {
    let snapshot = worker.snapshot();
    Flow { worker, snapshot: &snapshot, route: None, client, exchange, observed: false }.run().await
}

impl<'a> Flow<'a> {
    async fn run(mut self) -> Option<After> {
        // Request in: its head, complete, valid and in time.
        let received = self.read_head().await?;
        let _in_flight = self.worker.begin_exchange();

        // Room, and then the route.
        let reply = match received.and_then(|()| self.worker.check_capacity(self.snapshot)) {
            Ok(()) => match self.find_route() {
                Ok(route) => self.answer(route).await,
                Err(halt) => Err(halt),
            },
            Err(halt) => {
                self.snapshot.unrouted.enter_all(self.exchange);
                Err(halt)
            }
        };

        // Every early exit becomes a response here.
        let reply = reply.unwrap_or_else(|halt| Reply::from_halt(&halt, self.exchange));

        // What an instance says of itself becomes what its client knows.
        self.readdress();

        // Response policies, in reverse order: those whose request half was entered, on rejections too. Hooks are the last of them.
        let reply = self.response_hooks(reply).await;
        self.route.map_or(&self.snapshot.unrouted, |route| &route.chain).response(self.exchange);

        // Out.
        let sent = self.respond(reply).await;

        // Copied, where the route has a mirror.
        self.mirror();

        // Observed.
        self.observe(sent);
        Some(sent.after)
    }

    /// What answers the request on its route.
    async fn answer(&mut self, route: &'a Route) -> Result<Reply<'a>, Halt> {
        // Request policies, in table order, once.
        match self.request_phase(route).await? {
            // Pick an instance, forward; only these two repeat. Then what the cache makes of it.
            None => {
                let forwarded = self.forward(route).await;
                self.cache_phase(forwarded)
            }
            Some(Reply::Stored(mut stored)) => {
                if let Some(fetch) = stored.refresh.take() {
                    self.revalidate(fetch);
                }
                Ok(Reply::Stored(stored))
            }
            Some(reply) => Ok(reply),
        }
    }
}
