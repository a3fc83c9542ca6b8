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

use pylae_core::{Exchange, Halt};

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
    let snapshot = worker.snapshot();
    Flow { worker, snapshot: &snapshot, route: None, client, exchange, observed: false }.run().await
}

impl<'a> Flow<'a> {
    async fn run(mut self) -> Option<After> {
        // Read the head: complete, valid and in time.
        let received = self.read_head().await?;
        let _in_flight = self.worker.begin_exchange();

        // Check the capacity of the worker, then find the route.
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

        // Turn every early exit into a response.
        let reply = reply.unwrap_or_else(|halt| Reply::from_halt(&halt, self.exchange));

        // Rewrite the instance's addresses to those that the client knows.
        self.readdress();

        // Response hooks, then the response policies in reverse order: those whose request half was entered, on
        // rejections too.
        let reply = self.response_hooks(reply).await;
        self.route.map_or(&self.snapshot.unrouted, |route| &route.chain).response(self.exchange);

        // Send the response.
        let sent = self.respond(reply).await;

        // Send a copy of the request if the route has a mirror.
        self.mirror();

        // Log and count.
        self.observe(sent);
        Some(sent.after)
    }

    /// Runs the request policies and, unless one of them answers, forwards the request.
    async fn answer(&mut self, route: &'a Route) -> Result<Reply<'a>, Halt> {
        // Request policies, in table order, once.
        match self.request_phase(route).await? {
            // Pick an instance and forward: only these two are retried. Then the cache sees the response.
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
