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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;
    use crate::client::{AddressText, ClientInfo};
    use crate::io::deadline::Wheel;
    use crate::io::fresh::FreshStream;
    use crate::io::socket::Socket;
    use crate::telemetry::panics::fixture::PATIENCE;

    /// A client that was accepted and has not been read yet, and its far end.
    fn visitor(wheel: &Rc<Wheel>) -> (Client, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = FreshStream::accept(&listener).unwrap();
        let info = ClientInfo { peer, peer_text: AddressText::of(peer.ip()), secure: false, certificate: None };
        (Client::new(Socket::Fresh(stream), info, Rc::new(wheel.deadline())), far)
    }

    fn run<F: Future<Output = ()>>(test: impl FnOnce(Rc<Wheel>) -> F) {
        let wheel = Wheel::new(clock::coarse());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tasks = LocalSet::new();
        tasks.spawn_local(Rc::clone(&wheel).run());
        tasks.block_on(&runtime, test(wheel));
    }

    #[test]
    fn a_client_that_leaves_during_the_wait_is_noticed() {
        run(async |wheel| {
            let (mut client, far) = visitor(&wheel);
            let mut exchange = Exchange::new(1024);
            client.body.start(&exchange, &client.socket);
            let mut far = Some(far);
            let waited = client.wait(&mut exchange, |_| {
                // After the wait has begun.
                drop(far.take());
                Poll::<()>::Pending
            });
            assert!(matches!(timeout(PATIENCE, waited).await, Ok(Err(Halt::ClientGone))));
        });
    }

    #[test]
    fn a_short_wait_leaves_a_fresh_connection_unwatched() {
        run(async |wheel| {
            let (mut client, mut far) = visitor(&wheel);
            let mut exchange = Exchange::new(1024);
            client.body.start(&exchange, &client.socket);
            far.write_all(b"next").unwrap();
            let mut polls = 0;
            let waited = client.wait(&mut exchange, |cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                if polls < 3 { Poll::Pending } else { Poll::Ready(polls) }
            });
            assert!(matches!(waited.await, Ok(Some(3))));
            assert!(client.socket.is_fresh() && exchange.request.buffer.is_empty());
        });
    }
}
