//! The tasks that serve the streams of a client's HTTP/2 connection.

use std::rc::Rc;

use crate::client::{After, Client, ClientInfo};
use crate::flow;
use crate::io::client_watch::ClientWatch;
use crate::io::h2_stream::stream::H2Stream;
use crate::io::socket::Socket;
use crate::io::task_pool::{TaskPool, TaskSeat};
use crate::worker::Worker;

/// The tasks of a connection. Each keeps a deadline: those of the wheel are only let go when it comes round.
pub(super) struct StreamTasks {
    worker: Rc<Worker>,
    watch: Rc<ClientWatch>,
    pool: TaskPool<H2Stream>,
}

impl StreamTasks {
    pub(super) fn new(worker: &Rc<Worker>, watch: &Rc<ClientWatch>) -> Rc<Self> {
        Rc::new(Self { worker: Rc::clone(worker), watch: Rc::clone(watch), pool: TaskPool::new() })
    }

    /// Has a stream of the client served.
    pub(super) fn serve(self: &Rc<Self>, stream: H2Stream, info: &ClientInfo) {
        self.pool.serve(stream, |stream| {
            let (tasks, seat) = (Rc::clone(self), TaskSeat::new());
            let deadline = Rc::new(self.worker.wheel.deadline());
            let mut client = Client::new(Socket::Stream(Box::new(stream)), info.clone(), deadline);
            tokio::task::spawn_local(async move {
                loop {
                    tasks.serve_stream(&mut client).await;
                    client.leave_stream();
                    let Some(stream) = tasks.pool.next(&seat).await else { return };
                    client.take_stream(stream);
                }
            });
        });
    }

    async fn serve_stream(&self, client: &mut Client) {
        let worker = &self.worker;
        let mut exchange = worker.buffers.exchange();
        match flow::serve(worker, client, &mut exchange).await {
            Some(After::Keep | After::Close) => {
                if exchange.request.upgrades {
                    client.socket.end(&[]);
                    // Fails only if the stream has ended already.
                    let _ = client.socket.finish();
                } else if !exchange.is_call() {
                    // Read the rest of the request: some clients treat an early reset as a failure. gRPC clients rely
                    // on it.
                    client.drain(&worker.buffers, &mut exchange).await;
                }
                self.watch.served();
            }
            Some(After::Abort) | None => client.socket.close_by_reset(),
        }
        worker.buffers.give_back_exchange(exchange);
    }

    /// Ends the tasks that wait.
    pub(super) fn rest(&self) {
        self.pool.rest();
    }

    /// Ends each task as soon as it has served its stream.
    pub(super) fn end(&self) {
        self.pool.end();
    }
}
