//! An HTTP/2 connection that its streams share with the task that drives it. Streams only put frames into its output;
//! the task writes what all of them have put there at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use pylae_http::http2::connection::{Http2Connection, Http2Event, StreamKey};

/// A connection, and who waits for what on it.
pub(crate) struct SharedHttp2 {
    pub(super) connection: RefCell<Http2Connection>,
    /// Tasks of streams that wait, by slot.
    pub(super) waiting: RefCell<Vec<Option<Waker>>>,
    /// Tasks that wait until a stream can be opened.
    openers: RefCell<Vec<Waker>>,
    /// The task that drives the connection.
    pub(super) driver: RefCell<Option<Waker>>,
    /// It will run soon.
    pub(super) awake: Cell<bool>,
    /// The socket takes nothing at the moment.
    pub(super) stalled: Cell<bool>,
    /// Streams that somebody has.
    pub(super) streams: Cell<usize>,
    /// It ends once nobody has a stream.
    pub(super) closing: Cell<bool>,
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
    pub(super) fn dispatch(&self, connection: &mut Http2Connection, opened: &mut VecDeque<StreamKey>) {
        while let Some(event) = connection.next_event() {
            match event {
                Http2Event::Opened(key) => opened.push_back(key),
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
