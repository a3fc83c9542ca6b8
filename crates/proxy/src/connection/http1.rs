//! HTTP/1 connections of clients: one exchange after another.

use std::rc::Rc;

use pylae_core::{Exchange, Instant};
use tracing::debug;

use crate::client::{After, Client};
use crate::connection::http2;
use crate::flow;
use crate::flow::read_head::{Waited, read_at_once, wait_readable};
use crate::worker::Worker;
use crate::worker::guards::ConnectionGuard;

/// A client's HTTP/1 connection.
pub(super) struct Http1Connection {
    pub(super) client: Client,
    pub(super) open: ConnectionGuard,
    /// Its first bytes may be the preface of HTTP/2.
    may_be_http2: bool,
    /// It has begun no exchange.
    first: bool,
    /// It has served one exchange at most.
    only: bool,
}

/// Why a task no longer serves a connection.
pub(super) enum Done {
    Closed,
    /// It is idle. Its next request is waited for until this moment.
    Rests(Instant),
    /// It speaks HTTP/2. These are the bytes that were read already.
    SpeaksHttp2(Vec<u8>),
}

/// What came of the wait for a request.
enum Begun {
    Exchange(Box<Exchange>),
    /// None for a while, and it may take until this moment.
    Rests(Instant),
    /// The connection is to be closed.
    Over,
}

impl Http1Connection {
    pub(super) fn new(client: Client, open: ConnectionGuard, may_be_http2: bool) -> Self {
        Self { client, open, may_be_http2, first: true, only: true }
    }

    /// Serves the exchanges of the connection in turn. `awake`: its client has sent something.
    pub(super) async fn serve(&mut self, worker: &Rc<Worker>, awake: bool) -> Done {
        let mut begun = if awake { Begun::Exchange(worker.buffers.exchange()) } else { self.begin(worker).await };
        loop {
            let mut exchange = match begun {
                Begun::Exchange(exchange) => exchange,
                Begun::Rests(until) => return Done::Rests(until),
                Begun::Over => {
                    self.close(worker).await;
                    return Done::Closed;
                }
            };
            let buffer = &mut exchange.request.buffer;
            if self.first && self.may_be_http2 && http2::starts_with_preface(&mut self.client, buffer).await {
                let ahead = buffer.clone();
                worker.buffers.give_back_exchange(exchange);
                return Done::SpeaksHttp2(ahead);
            }
            self.first = false;
            if !self.serve_exchanges(worker, exchange).await {
                debug!(peer = %self.client.info.peer, "connection closed");
                return Done::Closed;
            }
            begun = self.begin(worker).await;
        }
    }

    /// Serves the request that has begun, and those that the client has sent behind it already. Returns false if it has
    /// closed the connection then.
    async fn serve_exchanges(&mut self, worker: &Rc<Worker>, mut exchange: Box<Exchange>) -> bool {
        let client = &mut self.client;
        let after = loop {
            let after = flow::serve(worker, client, &mut exchange).await;
            if after != Some(After::Keep) {
                break after;
            }
            self.only = false;
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
            Some(After::Keep) => return true,
            Some(After::Close) if is_last => client.end(&worker.snapshot().plan.limits, self.only).await,
            Some(After::Close) => client.linger(&worker.buffers, &worker.snapshot().plan.limits).await,
            Some(After::Abort) | None => client.close(&worker.snapshot().plan.limits).await,
        }
        false
    }

    /// Waits until the client sends something, and takes an exchange for it: buffers are held only while an exchange is
    /// in progress.
    async fn begin(&mut self, worker: &Worker) -> Begun {
        if self.first {
            let mut exchange = worker.buffers.exchange();
            if read_at_once(&mut self.client, &mut exchange).await {
                return Begun::Exchange(exchange);
            }
            worker.buffers.give_back_exchange(exchange);
        }
        match wait_readable(worker, &mut self.client, self.first).await {
            Waited::Readable => Begun::Exchange(worker.buffers.exchange()),
            Waited::Long(until) => Begun::Rests(until),
            Waited::Over => Begun::Over,
        }
    }

    /// Closes a connection whose client is not waited for any longer.
    pub(super) async fn close(&mut self, worker: &Worker) {
        self.client.socket.close_notify();
        self.client.close(&worker.snapshot().plan.limits).await;
        debug!(peer = %self.client.info.peer, "connection closed");
    }
}
