//! Drives an HTTP/2 connection: reads and writes its socket, and tells its streams what has come.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use pylae_http::http2::connection::{Http2Connection, StreamKey};
use pylae_http::http2::error::{Http2Code, Http2Error};

use super::shared::SharedHttp2;
use crate::io::client_watch::ClientWatch;
use crate::io::socket::Socket;

/// Size of the buffer of a thread that connections read into.
const READ: usize = 64 * 1024;
/// Most reads before other tasks run, which take what was read.
const READS_PER_TURN: usize = 8;

thread_local! {
    static INCOMING: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(READ));
}

/// The right to drive a connection. Once it is dropped, after a panic as well, the connection has ended.
pub(crate) struct Http2Driver {
    shared: Rc<SharedHttp2>,
    opened: VecDeque<StreamKey>,
}

impl Http2Driver {
    pub(crate) fn new(shared: Rc<SharedHttp2>) -> Self {
        Self { shared, opened: VecDeque::new() }
    }

    /// The connection.
    pub(crate) fn shared(&self) -> &Rc<SharedHttp2> {
        &self.shared
    }

    /// Finishes open streams and begins no more.
    pub(crate) fn shut_down(&self) {
        self.shared.connection.borrow_mut().shut_down();
    }

    /// Cuts off a peer that has exceeded a limit.
    pub(crate) fn abort(&self) {
        let error = Http2Error::connection(Http2Code::ENHANCE_YOUR_CALM, "a limit was exceeded");
        self.shared.connection.borrow_mut().abort(error);
    }

    /// Returns true if the socket has still to take something.
    pub(crate) fn has_output(&self) -> bool {
        !self.shared.connection.borrow().output().is_empty()
    }

    /// Takes a stream that the peer has opened, in their order.
    pub(crate) fn next_opened(&mut self) -> Option<StreamKey> {
        self.opened.pop_front()
    }

    /// Gives memory back on a connection without streams.
    pub(crate) fn rest(&mut self) {
        self.opened = VecDeque::new();
        self.shared.connection.borrow_mut().rest();
        if self.shared.streams.get() == 0 {
            self.shared.waiting.replace(Vec::new());
        }
    }

    /// Reads what has come, tells streams of it, and writes what they have to say. Ready once the connection is over.
    /// Clients are watched.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Socket, watch: Option<&ClientWatch>) -> Poll<()> {
        let shared = &*self.shared;
        shared.awake.set(true);
        {
            let mut driver = shared.driver.borrow_mut();
            if !driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
                *driver = Some(cx.waker().clone());
            }
        }
        let mut connection = shared.connection.borrow_mut();
        let read = poll_receive(cx, &mut connection, socket, watch);
        if read.is_ready() {
            connection.lose();
        }
        if shared.closing.get() && shared.streams.get() == 0 {
            connection.shut_down();
        }
        let written = poll_send(cx, &mut connection, socket, watch);
        shared.stalled.set(written.is_pending());
        if written == Poll::Ready(false) {
            connection.lose();
        }
        connection.share_out();
        shared.dispatch(&mut connection, &mut self.opened);
        shared.awake.set(false);
        if connection.is_over() && connection.output().is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Http2Driver {
    fn drop(&mut self) {
        let mut connection = self.shared.connection.borrow_mut();
        connection.lose();
        self.shared.dispatch(&mut connection, &mut self.opened);
    }
}

/// Reads what there is. Ready once the peer sends nothing more.
fn poll_receive(
    cx: &mut Context<'_>,
    connection: &mut Http2Connection,
    socket: &mut Socket,
    watch: Option<&ClientWatch>,
) -> Poll<()> {
    INCOMING.with_borrow_mut(|incoming| {
        for _ in 0..READS_PER_TURN {
            if !connection.may_receive() || watch.is_some_and(ClientWatch::is_breached) {
                return Poll::Pending;
            }
            incoming.clear();
            match socket.poll_read(cx, incoming, usize::MAX) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            match watch {
                Some(watch) => watch.receive(connection, incoming),
                None => connection.receive(incoming, |_| true),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Writes the output. Ready with true once all of it is written, or with false if that has failed.
fn poll_send(
    cx: &mut Context<'_>,
    connection: &mut Http2Connection,
    socket: &mut Socket,
    watch: Option<&ClientWatch>,
) -> Poll<bool> {
    while !connection.output().is_empty() {
        let written = socket.poll_write(cx, connection.output());
        if let Some(watch) = watch {
            watch.wrote(&written);
        }
        match written {
            Poll::Ready(Ok(n)) if n > 0 => connection.wrote(n),
            Poll::Ready(_) => return Poll::Ready(false),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(true)
}
