//! The bytes of an HTTP/2 connection, watched as they come and go.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pylae_core::Instant;
use pylae_core::flood::{Flood, FloodLimits};
use pylae_http::frames::Frames;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;
use crate::socket::Socket;

/// What is known of a client by its frames.
pub(crate) struct Watch {
    flood: RefCell<Flood>,
    frames: RefCell<Frames>,
}

impl Watch {
    pub(crate) fn new(limits: FloodLimits) -> Rc<Self> {
        let flood = Flood::new(limits, clock::coarse());
        Rc::new(Self { flood: RefCell::new(flood), frames: RefCell::new(Frames::behind_preface()) })
    }

    fn read(&self, bytes: &[u8]) {
        let now = clock::coarse();
        let mut flood = self.flood.borrow_mut();
        self.frames.borrow_mut().read(bytes, |frame| flood.frame(frame, now));
    }

    /// Says that an exchange was served to its end.
    pub(crate) fn served(&self) {
        self.flood.borrow_mut().served();
    }

    /// Whether the client has gone too far.
    pub(crate) fn is_breached(&self) -> bool {
        self.flood.borrow().is_breached()
    }

    /// When the head began that the client has not completed yet.
    pub(crate) fn head_since(&self) -> Option<Instant> {
        self.flood.borrow().head_since()
    }
}

/// A connection that has bytes read ahead, and is watched if it is a client's.
pub(crate) struct Wire {
    socket: Socket,
    ahead: Vec<u8>,
    watch: Option<Rc<Watch>>,
}

impl Wire {
    pub(crate) fn new(socket: Socket, ahead: Vec<u8>, watch: Option<Rc<Watch>>) -> Self {
        Self { socket, ahead, watch }
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Some(watch), Poll::Ready(Ok(n))) = (&self.watch, &written) {
            watch.flood.borrow_mut().sent(*n);
        }
        written
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { socket, ahead, watch } = &mut *self;
        if watch.as_ref().is_some_and(|watch| watch.is_breached()) {
            // The task that drives the connection looks at it as well, and ends it.
            return Poll::Pending;
        }
        let start = into.filled().len();
        if ahead.is_empty() {
            ready!(socket.poll_fill(cx, into))?;
        } else {
            let n = ahead.len().min(into.remaining());
            into.put_slice(&ahead[..n]);
            ahead.drain(..n);
            if ahead.is_empty() {
                *ahead = Vec::new();
            }
        }
        if let Some(watch) = watch {
            watch.read(&into.filled()[start..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.socket.poll_write(cx, bytes);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket.poll_write_vectored(cx, pieces);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What counts as written has been taken by the kernel.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_shutdown(cx)
    }
}
