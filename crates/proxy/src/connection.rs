//! A client's connection, from accept to close.

pub(crate) mod accept;
pub(crate) mod http2;
mod stream_tasks;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use pylae_core::Exchange;
use tokio::net::TcpStream;
use tracing::debug;

use crate::client::{After, Client};
use crate::connection::accept::accept;
use crate::flow;
use crate::flow::read_head::{read_at_once, wait_readable};
use crate::io::deadline::Deadline;
use crate::io::task_pool::{TaskPool, TaskSeat};
use crate::io::tls::AlpnProtocol;
use crate::snapshot::Listener;
use crate::worker::Worker;
use crate::worker::guards::ConnectionGuard;

/// A connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) open: ConnectionGuard,
    pub(crate) listener: Arc<Listener>,
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
}

/// The tasks that serve the connections of a listener. Each keeps a deadline.
pub(crate) struct ConnectionTasks {
    worker: Rc<Worker>,
    pool: TaskPool<Accepted>,
}

impl ConnectionTasks {
    pub(crate) fn new(worker: &Rc<Worker>) -> Rc<Self> {
        Rc::new(Self { worker: Rc::clone(worker), pool: TaskPool::new() })
    }

    /// Has a connection served.
    pub(crate) fn serve(self: &Rc<Self>, accepted: Accepted) {
        self.pool.serve(accepted, |accepted| {
            let (tasks, seat, mut next) = (Rc::clone(self), TaskSeat::new(), Some(accepted));
            tokio::task::spawn_local(async move {
                let deadline = Rc::new(tasks.worker.wheel.deadline());
                while let Some(accepted) = next {
                    serve(&tasks.worker, accepted, &deadline).await;
                    deadline.clear();
                    next = tasks.pool.next(&seat).await;
                }
            });
        });
    }

    /// Ends each task as soon as it has served its connection.
    pub(crate) fn end(&self) {
        self.pool.end();
    }
}

/// Serves a connection until either side closes it.
async fn serve(worker: &Rc<Worker>, accepted: Accepted, deadline: &Rc<Deadline>) {
    let Accepted { open: _open, listener, stream, peer } = accepted;
    let Some((client, protocol)) = accept(worker, &listener, stream, peer, deadline).await else { return };
    let may_be_http2 = listener.plan.http2 && listener.tls.is_none();
    drop(listener);
    match protocol {
        AlpnProtocol::Http1 => serve_http1(worker, client, may_be_http2).await,
        // Boxed, so that the tasks of HTTP/1 connections do not carry this future's size.
        AlpnProtocol::Http2 => Box::pin(http2::serve(Rc::clone(worker), client, Vec::new())).await,
    }
    debug!(%peer, "connection closed");
}

/// Serves the exchanges of an HTTP/1 connection in turn. `may_be_http2`: the client may begin with the preface of
/// HTTP/2 instead.
async fn serve_http1(worker: &Rc<Worker>, mut client: Client, may_be_http2: bool) {
    let (mut first, mut only) = (true, true);
    while let Some(mut exchange) = begin_exchange(worker, &mut client, first).await {
        if first && may_be_http2 && http2::starts_with_preface(&mut client, &mut exchange.request.buffer).await {
            let ahead = exchange.request.buffer.clone();
            worker.buffers.give_back_exchange(exchange);
            // Boxed, so that the tasks of HTTP/1 connections do not carry this future's size.
            return Box::pin(http2::serve(Rc::clone(worker), client, ahead)).await;
        }
        first = false;
        let after = loop {
            let after = flow::serve(worker, &mut client, &mut exchange).await;
            if after != Some(After::Keep) {
                break after;
            }
            only = false;
            // Pipelined bytes stay for the next exchange.
            exchange.request.buffer.drain(..client.body.consumed());
            exchange.reset();
            if exchange.request.buffer.is_empty() {
                break after;
            }
        };
        let is_last = after == Some(After::Close) && client.has_said_all(&exchange).await;
        worker.buffers.give_back_exchange(exchange);
        match after {
            Some(After::Keep) => {}
            Some(After::Close) if is_last => return client.end(&worker.snapshot().plan.limits, only).await,
            Some(After::Close) => return client.linger(&worker.buffers, &worker.snapshot().plan.limits).await,
            Some(After::Abort) | None => return client.close(&worker.snapshot().plan.limits).await,
        }
    }
    client.socket.close_notify();
    client.close(&worker.snapshot().plan.limits).await;
}

/// Waits until the client sends something, and takes an exchange for it: buffers are held only while an exchange is in
/// progress. None if the connection is to be closed.
async fn begin_exchange(worker: &Rc<Worker>, client: &mut Client, first: bool) -> Option<Box<Exchange>> {
    if first {
        let mut exchange = worker.buffers.exchange();
        if read_at_once(client, &mut exchange).await {
            return Some(exchange);
        }
        worker.buffers.give_back_exchange(exchange);
    }
    wait_readable(worker, client, first).await.then(|| worker.buffers.exchange())
}
