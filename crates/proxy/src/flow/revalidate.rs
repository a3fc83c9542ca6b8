//! Background revalidation: a stale response was sent already, and the cache fetches the current one.

use std::rc::Rc;
use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::cache::Fetch;

use crate::client::{AddressText, Client, ClientInfo};
use crate::flow::Flow;
use crate::io::clock;
use crate::io::socket::Socket;
use crate::reply::Reply;
use crate::snapshot::Snapshot;
use crate::worker::Worker;

impl Flow<'_> {
    /// Starts a fetch for the same request. It runs the same stages as any other, with a null socket for a client.
    pub(super) fn revalidate(&self, fetch: Box<Fetch>) {
        let (worker, snapshot) = (self.worker, self.snapshot);
        let mut copy = worker.buffers.exchange();
        if copy_request(worker, snapshot, self.exchange, &mut copy) {
            tokio::task::spawn_local(run(Rc::clone(worker), Arc::clone(snapshot), copy, fetch));
        }
    }

    /// Forwards the request and feeds the response to the cache.
    async fn fetch(&mut self, index: usize) {
        let route = &self.snapshot.routes[index];
        self.route = Some(route);
        // A response that a hook made is not the service's.
        if !matches!(self.request_hooks(route).await, Ok(None)) {
            return;
        }
        let forwarded = self.forward(route).await;
        // `cache_phase` has handled everything but a full response.
        if let Ok(reply @ Reply::Forwarded(_)) = self.cache_phase(forwarded) {
            self.respond(reply).await;
        }
    }
}

/// Copies the request as it was before it was forwarded. There is no body: the cache only stores responses to
/// requests without one. Returns false if the copy cannot be made.
fn copy_request(worker: &Worker, snapshot: &Snapshot, exchange: &Exchange, copy: &mut Exchange) -> bool {
    copy.request.buffer.extend_from_slice(&exchange.request.buffer[..exchange.request.head.len]);
    copy.request.origin.peer = exchange.request.origin.peer;
    copy.request.origin.secure = exchange.request.origin.secure;
    let parsed = matches!(copy.request.head.parse(&copy.request.buffer, &snapshot.head_limits), Ok(true));
    if !parsed || snapshot.admit(copy, worker.random()).is_err() {
        return false;
    }
    copy.request.id.clone_from(&exchange.request.id);
    let context = exchange.trace_context;
    if context.is_known() {
        copy.trace_context = context.below(worker.random_u64());
        copy.recorded = context.sampled;
    }
    copy.route = exchange.route;
    exchange.copy_member(copy);
    copy.request.params.clone_from(&exchange.request.params);
    copy.request.forward_path.clone_from(&exchange.request.forward_path);
    copy.request.stripped.clone_from(&exchange.request.stripped);
    // A policy may have removed a credential from the query.
    copy.request.forward_query.clone_from(&exchange.request.forward_query);
    copy.request.origin.certificate.clone_from(&exchange.request.origin.certificate);
    copy.request.user.clone_from(&exchange.request.user);
    copy.request.edits.clone_from(&exchange.request.edits);
    true
}

async fn run(worker: Rc<Worker>, snapshot: Arc<Snapshot>, mut exchange: Box<Exchange>, mut fetch: Box<Fetch>) {
    let _in_flight = worker.begin_exchange();
    let Some(route) = exchange.route else { return };
    let info = ClientInfo {
        peer: exchange.request.origin.peer,
        peer_text: AddressText::of(exchange.request.origin.peer.ip()),
        secure: exchange.request.origin.secure,
        certificate: exchange.request.origin.certificate.clone(),
    };
    let mut client = Client::new(Socket::Null, info, Rc::new(worker.wheel.deadline()));
    client.body.start(&exchange, &client.socket);
    exchange.times.started = clock::now();
    exchange.times.wall = clock::wall();
    fetch.begin_at(exchange.times.started, &mut exchange);
    exchange.cache_visit().set_fetch(fetch);
    let (client, fetched) = (&mut client, &mut *exchange);
    let mut flow = Flow::new(&worker, &snapshot, client, fetched);
    flow.observed = true;
    flow.fetch(route).await;
    flow.send_revalidation();
    drop(flow);
    worker.buffers.give_back_exchange(exchange);
}
