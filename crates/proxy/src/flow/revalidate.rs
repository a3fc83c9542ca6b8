//! A fetch that no client waits for: a stale answer was sent already, and the cache wants the current one.

use std::rc::Rc;
use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::cache::Fetch;
use pylae_core::request::admit::admit;

use crate::client::{Client, ClientInfo};
use crate::flow::Flow;
use crate::io::clock;
use crate::io::socket::Socket;
use crate::reply::Reply;
use crate::snapshot::Snapshot;
use crate::worker::Worker;

impl Flow<'_> {
    /// Starts the fetch for the same request: the same stages as for any other, with nobody at the client's end.
    pub(super) fn revalidate(&self, fetch: Box<Fetch>) {
        let (worker, snapshot) = (self.worker, self.snapshot);
        let mut copy = worker.buffers.exchange();
        if copy_request(worker, snapshot, self.exchange, &mut copy) {
            tokio::task::spawn_local(run(Rc::clone(worker), Arc::clone(snapshot), copy, fetch));
        }
    }

    /// Asks the service, and lets what the cache takes of its answer pass.
    async fn fetch(&mut self, index: usize) {
        let route = &self.snapshot.routes[index];
        self.route = Some(route);
        // What a hook answers itself is not what the service has.
        if !matches!(self.request_hooks(route).await, Ok(None)) {
            return;
        }
        let forwarded = self.forward(route).await;
        // Anything else than a full answer has been taken care of.
        if let Ok(reply @ Reply::Forwarded(_)) = self.cache_phase(forwarded) {
            self.respond(reply).await;
        }
    }
}

/// Makes `copy` the same request, before anything was sent for it. Its body is empty: the cache answers no others.
fn copy_request(worker: &Worker, snapshot: &Snapshot, exchange: &Exchange, copy: &mut Exchange) -> bool {
    copy.request.buffer.extend_from_slice(&exchange.request.buffer[..exchange.request.head.len]);
    copy.request.origin.peer = exchange.request.origin.peer;
    copy.request.origin.secure = exchange.request.origin.secure;
    let parsed = matches!(copy.request.head.parse(&copy.request.buffer, &snapshot.head_limits), Ok(true));
    if !parsed || admit(copy, |peer| snapshot.trusts(peer), worker.random()).is_err() {
        return false;
    }
    copy.request.id.clone_from(&exchange.request.id);
    copy.route = exchange.route;
    copy.request.params.clone_from(&exchange.request.params);
    copy.request.forward_path.clone_from(&exchange.request.forward_path);
    copy.request.stripped.clone_from(&exchange.request.stripped);
    // A credential may have been taken out of it.
    copy.request.forward_query.clone_from(&exchange.request.forward_query);
    copy.request.origin.certificate.clone_from(&exchange.request.origin.certificate);
    copy.request.user.clone_from(&exchange.request.user);
    copy.request.edits.clone_from(&exchange.request.edits);
    true
}

async fn run(worker: Rc<Worker>, snapshot: Arc<Snapshot>, mut exchange: Box<Exchange>, mut fetch: Box<Fetch>) {
    let _in_flight = worker.begin_exchange();
    let Some(route) = exchange.route else { return };
    let peer_text = exchange.request.origin.peer.ip().to_canonical().to_string().into();
    let info = ClientInfo {
        peer: exchange.request.origin.peer,
        peer_text,
        secure: exchange.request.origin.secure,
        certificate: exchange.request.origin.certificate.clone(),
    };
    let mut client = Client::new(Socket::Null, info, worker.wheel.deadline());
    client.body.start(&exchange, &client.socket);
    exchange.times.started = clock::now();
    exchange.times.wall = clock::wall();
    fetch.begin_at(exchange.times.started, &mut exchange);
    exchange.cache_visit().carry(fetch);
    let (client, fetched) = (&mut client, &mut *exchange);
    let mut flow =
        Flow { worker: &worker, snapshot: &snapshot, route: None, client, exchange: fetched, observed: true };
    flow.fetch(route).await;
    drop(flow);
    worker.buffers.give_back_exchange(exchange);
}
