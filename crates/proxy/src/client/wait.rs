//! Waits for something else than the client, until the client disconnects.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::{Exchange, Halt};

use crate::client::Client;
use crate::io::clock;

impl Client {
    /// Returns the result of `poll`, or None once the deadline has passed. Fails if the client disconnects.
    pub(crate) async fn wait<T>(
        &mut self,
        exchange: &mut Exchange,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<Option<T>, Halt> {
        let deadline = Rc::clone(&self.deadline);
        let waited = deadline
            .within(|cx| match poll(cx) {
                Poll::Ready(value) => Poll::Ready(Ok(value)),
                Poll::Pending => self.poll_disconnect(cx, exchange).map(|()| Err(Halt::ClientGone)),
            })
            .await;
        waited.transpose()
    }

    /// Sets the deadline to `patience` from now and waits. Sets `exchange.times.now` to the end of the wait.
    pub(crate) async fn wait_for<T>(
        &mut self,
        patience: Duration,
        exchange: &mut Exchange,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<Option<T>, Halt> {
        self.deadline.set(clock::now().saturating_add(patience));
        let waited = self.wait(exchange, poll).await;
        exchange.times.now = clock::now();
        waited
    }
}
