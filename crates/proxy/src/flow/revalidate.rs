//! A fetch that no client waits for: a stale answer was sent already, and the cache wants the current one.

use std::rc::Rc;
use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::cache::Fetch;
use pylae_core::request::admit::admit;

use crate::client::Client;
use crate::client::body::Body;
use crate::flow::cache_phase::settle;
use crate::flow::forward::forward;
use crate::flow::python_hooks;
use crate::flow::respond::{Reply, respond};
use crate::io::clock;
use crate::io::socket::Socket;
use crate::snapshot::Snapshot;
use crate::worker::Worker;

/// Starts the fetch for the request in `exchange`: the same path as any other, with nobody at the client's end.
pub(crate) fn fetch(worker: &Rc<Worker>, snapshot: &Arc<Snapshot>, exchange: &Exchange, fetch: Box<Fetch>) {
    let mut copy = worker.buffers.exchange();
    if repeat(worker, snapshot, exchange, &mut copy) {
        tokio::task::spawn_local(run(Rc::clone(worker), Arc::clone(snapshot), copy, fetch));
    }
}

/// Makes `copy` the same request, before anything was sent for it. Its body is empty: the cache answers no others.
fn repeat(worker: &Worker, snapshot: &Snapshot, exchange: &Exchange, copy: &mut Exchange) -> bool {
    copy.buffer.extend_from_slice(&exchange.buffer[..exchange.head.len]);
    copy.peer = exchange.peer;
    copy.secure = exchange.secure;
    let parsed = matches!(copy.head.parse(&copy.buffer, &snapshot.head_limits), Ok(true));
    if !parsed || admit(copy, |peer| snapshot.trusts(peer), worker.random()).is_err() {
        return false;
    }
    copy.id.clone_from(&exchange.id);
    copy.route = exchange.route;
    copy.params.clone_from(&exchange.params);
    copy.forward_path.clone_from(&exchange.forward_path);
    copy.stripped.clone_from(&exchange.stripped);
    // A credential may have been taken out of it.
    copy.forward_query.clone_from(&exchange.forward_query);
    copy.certificate.clone_from(&exchange.certificate);
    copy.user.clone_from(&exchange.user);
    copy.request_edits.clone_from(&exchange.request_edits);
    true
}

async fn run(worker: Rc<Worker>, snapshot: Arc<Snapshot>, mut exchange: Box<Exchange>, mut fetch: Box<Fetch>) {
    let _in_flight = worker.enter();
    let Some(route) = exchange.route.map(|index| &snapshot.routes[index]) else { return };
    let mut client = Client {
        socket: Socket::Nobody,
        peer: exchange.peer,
        peer_text: exchange.peer.ip().to_canonical().to_string().into(),
        secure: exchange.secure,
        certificate: exchange.certificate.clone(),
        deadline: Rc::new(worker.wheel.deadline()),
        body: Body::default(),
        scratch: Vec::new(),
        written: 0,
        slow: false,
        interim: None,
    };
    client.body.start(&exchange, &client.socket);
    exchange.started = clock::now();
    exchange.wall = clock::wall();
    fetch.begin_at(exchange.started, &mut exchange);
    exchange.cache.carry(fetch);
    // What a hook answers itself is not what the service has.
    if !matches!(python_hooks::request(route, &mut client, &mut exchange).await, Ok(None)) {
        return worker.buffers.give_back_exchange(exchange);
    }
    let forwarded = forward(&worker, &snapshot, route, &mut client, &mut exchange).await;
    // Anything else than a full answer has been taken care of.
    if let Ok(reply @ Reply::Taken(_)) = settle(&worker, &snapshot, &mut exchange, forwarded) {
        respond(&worker, &snapshot, Some(route), &mut client, &mut exchange, reply).await;
    }
    worker.buffers.give_back_exchange(exchange);
}
