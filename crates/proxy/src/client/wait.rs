//! Waiting for something else than the client, as long as the client stays.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::{Exchange, Halt};

use crate::client::Client;
use crate::io::clock;

impl Client {
    /// What `poll` comes to, up to the deadline that is set, as long as the client stays. `None`: the deadline has passed.
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

    /// The same within `patience`; `exchange.now` is set to when it was over.
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
