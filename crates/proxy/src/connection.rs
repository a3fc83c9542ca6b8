//! A client's connection, from accept to close.

pub(crate) mod accept;
mod http1;
pub(crate) mod http2;
mod stream_tasks;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use pylae_core::Instant;
use tracing::debug;

use crate::client::Client;
use crate::connection::accept::accept;
use crate::connection::http1::{Done, Http1Connection};
use crate::flow::read_head::wait_longer;
use crate::io::deadline::Deadline;
use crate::io::fresh::FreshStream;
use crate::io::task_pool::{TaskPool, TaskSeat};
use crate::io::tls::AlpnProtocol;
use crate::snapshot::Listener;
use crate::worker::Worker;
use crate::worker::guards::ConnectionGuard;

/// A connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) open: ConnectionGuard,
    pub(crate) listener: Arc<Listener>,
    pub(crate) stream: FreshStream,
    pub(crate) peer: SocketAddr,
}

/// The tasks that serve the connections of a listener. A connection that has been idle for a while waits in a task of
/// its own, which is a tenth as large, until its client says something again.
pub(crate) struct ConnectionTasks {
    worker: Rc<Worker>,
    pool: TaskPool<Visit>,
}

/// What a task is given: a connection to serve for a while.
enum Visit {
    New(Accepted),
    /// The client has sent something after a rest.
    Awake(Box<Http1Connection>),
}

impl ConnectionTasks {
    pub(crate) fn new(worker: &Rc<Worker>) -> Rc<Self> {
        Rc::new(Self { worker: Rc::clone(worker), pool: TaskPool::new() })
    }

    /// Has a connection served.
    pub(crate) fn serve(self: &Rc<Self>, accepted: Accepted) {
        self.give(Visit::New(accepted));
    }

    /// Ends each task as soon as it has served its connection.
    pub(crate) fn end(&self) {
        self.pool.end();
    }

    fn give(self: &Rc<Self>, visit: Visit) {
        self.pool.serve(visit, |visit| {
            let (tasks, seat, mut next) = (Rc::clone(self), TaskSeat::new(), Some(visit));
            tokio::task::spawn_local(async move {
                // That of the last connection, for the next: those of the wheel are only let go when it comes round.
                let mut deadline = None;
                while let Some(visit) = next {
                    deadline = tasks.run(visit, deadline.take()).await;
                    next = tasks.pool.next(&seat).await;
                }
            });
        });
    }

    /// Serves a connection until it is closed, or goes on in another task. Returns a deadline that is no longer used.
    async fn run(self: &Rc<Self>, visit: Visit, spare: Option<Rc<Deadline>>) -> Option<Rc<Deadline>> {
        let (mut connection, awake) = match visit {
            Visit::Awake(connection) => (connection, true),
            Visit::New(Accepted { open, listener, stream, peer }) => {
                let deadline = spare.unwrap_or_else(|| Rc::new(self.worker.wheel.deadline()));
                let Some((client, protocol)) = accept(&self.worker, &listener, stream, peer, &deadline).await else {
                    deadline.clear();
                    return Some(deadline);
                };
                if protocol == AlpnProtocol::Http2 {
                    self.serve_http2(open, client, Vec::new());
                    return None;
                }
                let may_be_http2 = listener.plan.http2 && listener.tls.is_none();
                (Box::new(Http1Connection::new(client, open, may_be_http2)), false)
            }
        };
        match connection.serve(&self.worker, awake).await {
            Done::Closed => {
                let deadline = Rc::clone(&connection.client.deadline);
                drop(connection);
                deadline.clear();
                Some(deadline)
            }
            Done::Rests(until) => {
                connection.client.rest();
                tokio::task::spawn_local(Rc::clone(self).watch(connection, until));
                None
            }
            Done::SpeaksHttp2(ahead) => {
                let Http1Connection { client, open, .. } = *connection;
                self.serve_http2(open, client, ahead);
                None
            }
        }
    }

    /// Waits for the next request of a connection at rest, at most until this moment.
    async fn watch(self: Rc<Self>, mut connection: Box<Http1Connection>, until: Instant) {
        if wait_longer(&self.worker, &mut connection.client, until).await {
            self.give(Visit::Awake(connection));
        } else {
            connection.close(&self.worker).await;
        }
    }

    fn serve_http2(&self, open: ConnectionGuard, client: Client, ahead: Vec<u8>) {
        let worker = Rc::clone(&self.worker);
        tokio::task::spawn_local(async move {
            let peer = client.info.peer;
            http2::serve(worker, client, ahead).await;
            drop(open);
            debug!(%peer, "connection closed");
        });
    }
}

#[cfg(test)]
mod tests;
