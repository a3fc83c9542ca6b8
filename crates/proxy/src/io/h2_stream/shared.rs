//! An HTTP/2 connection that its streams share with the task that drives it. Streams only put frames into its output;
//! the task writes what all of them have put there at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pylae_http::http2::connection::{Http2Connection, Http2Event, StreamKey};
use pylae_http::http2::error::{Http2Code, Http2Error};

use crate::io::client_watch::ClientWatch;
use crate::io::socket::Socket;

/// Size of the buffer of a thread that connections read into.
const READ: usize = 64 * 1024;
/// Most reads before other tasks run, which take what was read.
const READS_PER_TURN: usize = 8;

thread_local! {
    static INCOMING: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(READ));
}

/// A connection, and who waits for what on it.
pub(crate) struct SharedHttp2 {
    connection: RefCell<Http2Connection>,
    /// Tasks of streams that wait, by slot.
    waiting: RefCell<Vec<Option<Waker>>>,
    /// Tasks that wait until a stream can be opened.
    openers: RefCell<Vec<Waker>>,
    /// The task that drives the connection.
    driver: RefCell<Option<Waker>>,
    /// It will run soon.
    awake: Cell<bool>,
    /// The socket takes nothing at the moment.
    stalled: Cell<bool>,
    /// Streams that somebody has.
    streams: Cell<usize>,
    /// It ends once nobody has a stream.
    closing: Cell<bool>,
}

/// The right to drive a connection. Once it is dropped, after a panic as well, the connection has ended.
pub(crate) struct Http2Driver {
    shared: Rc<SharedHttp2>,
    opened: Vec<StreamKey>,
}

impl SharedHttp2 {
    pub(crate) fn new(connection: Http2Connection) -> Rc<Self> {
        Rc::new(Self {
            connection: RefCell::new(connection),
            waiting: RefCell::default(),
            openers: RefCell::default(),
            driver: RefCell::default(),
            awake: Cell::new(false),
            stalled: Cell::new(false),
            streams: Cell::new(0),
            closing: Cell::new(false),
        })
    }

    /// Calls `act` with the connection, whose task then writes what there is to write.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Http2Connection) -> T) -> T {
        let mut connection = self.connection.borrow_mut();
        let result = act(&mut connection);
        let is_due = (!connection.output().is_empty() && !self.stalled.get()) || connection.needs_turn();
        drop(connection);
        if is_due {
            self.wake_driver();
        }
        result
    }

    fn wake_driver(&self) {
        if !self.awake.replace(true)
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    /// Wakes the task of `cx` when the stream changes. A stream has one task.
    pub(super) fn wait(&self, key: StreamKey, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() <= key.slot() {
            waiting.resize(key.slot() + 1, None);
        }
        let waker = &mut waiting[key.slot()];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Wakes the task of `cx` when a stream can be opened.
    pub(super) fn wait_to_open(&self, cx: &Context<'_>) {
        self.openers.borrow_mut().push(cx.waker().clone());
    }

    /// Counts a stream that somebody has.
    pub(super) fn add_stream(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    /// Gives a stream back that was opened, or was to be.
    pub(super) fn release(&self, key: Option<StreamKey>) {
        self.streams.set(self.streams.get() - 1);
        if let Some(key) = key {
            self.with(|connection| connection.release(key));
            if let Some(waker) = self.waiting.borrow_mut().get_mut(key.slot()) {
                *waker = None;
            }
        }
        if self.closing.get() && self.streams.get() == 0 {
            self.wake_driver();
        }
    }

    /// Lets the connection end once nobody has a stream.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.wake_driver();
    }

    /// Returns true if streams can be opened, as far as is known.
    pub(crate) fn is_usable(&self) -> bool {
        !self.closing.get() && self.connection.borrow().is_usable()
    }

    /// Most streams that the peer lets this side have open.
    pub(crate) fn max_open(&self) -> usize {
        self.connection.borrow().max_open()
    }

    /// Wakes the tasks of streams that have changed, and notes those that were opened.
    fn dispatch(&self, connection: &mut Http2Connection, opened: &mut Vec<StreamKey>) {
        while let Some(event) = connection.next_event() {
            match event {
                Http2Event::Opened(key) => opened.push(key),
                Http2Event::Changed(key) => {
                    if let Some(Some(waker)) = self.waiting.borrow().get(key.slot()) {
                        waker.wake_by_ref();
                    }
                }
            }
        }
        if connection.may_open() || !connection.is_usable() {
            self.openers.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Http2Driver {
    pub(crate) fn new(shared: Rc<SharedHttp2>) -> Self {
        Self { shared, opened: Vec::new() }
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

    /// Takes the streams that the peer has opened.
    pub(crate) fn take_opened(&mut self) -> Vec<StreamKey> {
        std::mem::take(&mut self.opened)
    }

    /// Gives memory back on a connection without streams.
    pub(crate) fn rest(&mut self) {
        self.opened = Vec::new();
        self.shared.connection.borrow_mut().rest();
        if self.shared.streams.get() == 0 {
            self.shared.waiting.replace(Vec::new());
        }
    }

    /// Reads what has come, tells streams of it, and writes what they have to say. Ready once the connection is over.
    /// Clients are watched.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        watch: Option<&ClientWatch>,
    ) -> Poll<()> {
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
