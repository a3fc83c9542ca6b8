//! Stage: buffers the request body for a policy that inspects it. Nothing else buffers a whole body.

use std::rc::Rc;
use std::task::Poll;

use pylae_core::{Halt, Pace};
use pylae_http::Framing;

use crate::client::Client;
use crate::flow::Flow;
use crate::io::buffers::SMALL;
use crate::io::clock;

impl Flow<'_> {
    /// Reads the request body to its end or until it exceeds `limit` bytes. It is forwarded from this buffer later.
    pub(super) async fn buffer_body(&mut self, limit: usize) -> Result<(), Halt> {
        let (worker, snapshot, idle_timeout) = (self.worker, self.snapshot, self.idle_timeout());
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        if matches!(exchange.request.framing, Framing::Length(length) if length > exchange.request.max_body) {
            return Err(Halt::BodyTooLarge(exchange.request.max_body));
        }
        if client.body.is_done() {
            return Ok(());
        }
        let limits = &snapshot.plan.limits;
        if client.body.take_expects_continue() && !client.send_continue(limits).await {
            return Err(Halt::ClientGone);
        }
        // Keep everything that is read: the last piece may exceed the limit.
        client.body.buffer_at_least(limit.saturating_add(SMALL));
        let mut pace = Pace::new(limits.min_rate, limits.body_grace.0);
        let mut piece = worker.buffers.small();
        let deadline = Rc::clone(&client.deadline);
        deadline.set(clock::coarse().saturating_add(idle_timeout));
        let read = deadline
            .within(|cx| {
                while !client.body.is_done() && client.body.received() <= limit as u64 {
                    piece.clear();
                    let Client { body, socket, .. } = &mut *client;
                    match body.poll_data(cx, socket, exchange, &mut piece, SMALL) {
                        Poll::Ready(Ok(n)) => pace.transferred(clock::now(), n),
                        Poll::Ready(Err(halt)) => return Poll::Ready(Err(halt)),
                        Poll::Pending => {
                            pace.start_waiting(clock::now());
                            let idle_at = clock::coarse().saturating_add(idle_timeout);
                            deadline.set(pace.due().map_or(idle_at, |due| due.min(idle_at)));
                            return Poll::Pending;
                        }
                    }
                }
                Poll::Ready(Ok(()))
            })
            .await;
        worker.buffers.give_back(piece);
        read.unwrap_or(Err(Halt::BodyTimeout))
    }
}
