//! Relays a connection that speaks TLS to the end of a pair of sockets that Python has.
//!
//! Python's own limits count: a relay lives as long as Python keeps its end, and a little longer.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::io::tls::Tls;

/// How long a client has to take its answer and close.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are moved at once.
const PIECE: usize = 16 * 1024;
/// How long a client may take nothing of what is left once Python has closed.
const STALL: Duration = Duration::from_secs(10);

/// A connection between a client and Python.
pub(super) struct AdminRelay {
    tls: Box<Tls>,
    python: UnixStream,
    /// What Python must still take.
    request: Unsent,
    /// What the client must still take.
    answer: Unsent,
    client_ended: bool,
    /// Python takes nothing any more.
    deaf: bool,
    _count: Relayed,
}

/// Bytes on their way. It holds no memory while there are none.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    moved: usize,
}

/// Counts a relay until it is dropped.
struct Relayed(Rc<Cell<usize>>);

impl AdminRelay {
    /// `seen` is what the client has sent already; `count` counts relays.
    pub(super) fn new(tls: Box<Tls>, python: UnixStream, seen: Vec<u8>, count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self {
            tls,
            python,
            request: Unsent { bytes: seen, moved: 0 },
            answer: Unsent::default(),
            client_ended: false,
            deaf: false,
            _count: Relayed(Rc::clone(count)),
        }
    }

    /// Relays to the end of either side. If the client breaks off, Python sees an end, as it would without TLS.
    pub(super) async fn run(mut self) {
        if poll_fn(|cx| self.poll_both(cx)).await.is_err() {
            return;
        }
        let Self { mut tls, mut answer, python, .. } = self;
        drop(python);
        while !answer.is_empty() {
            if !matches!(timeout(STALL, poll_fn(|cx| answer.poll_to_client(cx, &mut tls))).await, Ok(Ok(()))) {
                return;
            }
        }
        // Close connections that their clients leave open. The result does not matter: nothing follows.
        let _ = timeout(LINGER, close(&mut tls)).await;
    }

    /// Ready once Python has closed its end.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let to_python = self.poll_to_python(cx)?.is_ready();
            let to_client = match self.poll_to_client(cx)? {
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                polled => polled.is_ready(),
            };
            if !to_python && !to_client {
                return Poll::Pending;
            }
        }
    }

    /// Ready if something was done.
    fn poll_to_python(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.request.is_empty() {
            if let Ok(count) = ready!(Pin::new(&mut self.python).poll_write(cx, self.request.rest())) {
                self.request.advance(count);
            } else {
                // It has closed, which the other direction sees too: what it has sent is still there.
                (self.deaf, self.request) = (true, Unsent::default());
            }
            return Poll::Ready(Ok(()));
        }
        if self.client_ended || self.deaf {
            return Poll::Pending;
        }
        ready!(self.tls.poll_readable(cx))?;
        if ready!(self.tls.poll_read(cx, &mut self.request.bytes, PIECE))? == 0 {
            self.client_ended = true;
            // Fails only if Python has closed.
            let _ = ready!(Pin::new(&mut self.python).poll_shutdown(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Ready if something was done: with false if Python has closed its end.
    fn poll_to_client(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.answer.is_empty() {
            return self.answer.poll_to_client(cx, &mut self.tls).map_ok(|()| true);
        }
        let mut piece = [0; PIECE];
        let mut read = ReadBuf::new(&mut piece);
        // A reset means that Python has left something unread.
        let ended = ready!(Pin::new(&mut self.python).poll_read(cx, &mut read)).is_err() || read.filled().is_empty();
        if !ended {
            self.answer.bytes.extend_from_slice(read.filled());
        }
        Poll::Ready(Ok(!ended))
    }
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.moved..]
    }

    fn advance(&mut self, count: usize) {
        self.moved += count;
        if self.moved == self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Ready once the client has taken some.
    fn poll_to_client(&mut self, cx: &mut Context<'_>, tls: &mut Tls) -> Poll<io::Result<()>> {
        let count = ready!(tls.poll_write(cx, self.rest()))?;
        self.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// Ends the sending side, and waits for the client's end.
pub(super) async fn close(tls: &mut Tls) -> io::Result<()> {
    poll_fn(|cx| tls.poll_shutdown(cx)).await?;
    poll_fn(|cx| tls.poll_linger(cx)).await
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
