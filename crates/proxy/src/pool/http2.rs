//! HTTP/2 connections to instances, shared by the exchanges of a worker.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::HashMap;
use pylae_core::{Instant, Shortage};

use crate::io::clock;
use crate::io::h2_stream::permit::{StreamPermit, StreamPermits};
use crate::io::h2_stream::shared::SharedHttp2;
use crate::pool::http1::fresh_for;

/// The connections of a worker, by instance.
#[derive(Default)]
pub(crate) struct SharedConnections {
    by_instance: RefCell<HashMap<u64, Vec<Rc<SharedConnection>>>>,
}

/// One connection and its permits.
pub(crate) struct SharedConnection {
    state: RefCell<ConnectionState>,
    /// Wakers of exchanges that wait for the connection.
    waiting: RefCell<Vec<Waker>>,
    pub(crate) permits: Rc<StreamPermits>,
    /// How long the connection is kept without a stream.
    idle_timeout: Duration,
}

/// The state of a connection.
pub(crate) enum ConnectionState {
    Connecting,
    Open(Rc<SharedHttp2>),
    /// It has ended, or was never made: with what the gateway itself lacked, if that was why.
    Dead(Option<Shortage>),
}

/// How a connection was in use when a stream was opened on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionUse {
    /// It is being connected.
    New,
    /// It had no other stream, so it may turn out to be dead.
    Idle,
    /// Other streams use it.
    Busy,
}

impl SharedConnections {
    /// Acquires a permit on a connection to `instance` with fewer than `max` streams. Calls `connect` if there is none.
    /// `must_be_fresh` is as in [`http1`](super::http1).
    pub(crate) fn acquire(
        &self,
        instance: u64,
        max: usize,
        must_be_fresh: bool,
        connect: impl FnOnce() -> Option<Rc<SharedConnection>>,
    ) -> Option<(Rc<SharedConnection>, StreamPermit)> {
        let mut connections = self.by_instance.borrow_mut();
        let connections = connections.entry(instance).or_default();
        connections.retain(|shared| shared.is_usable());
        let found = connections.iter().find(|shared| shared.has_room(max) && (!must_be_fresh || shared.is_fresh()));
        let shared = if let Some(shared) = found {
            Rc::clone(shared)
        } else {
            let shared = connect()?;
            connections.push(Rc::clone(&shared));
            shared
        };
        let permit = shared.permits.acquire();
        Some((shared, permit))
    }

    /// Closes connections that were idle for too long and removes dead ones.
    pub(crate) fn sweep(&self, now: Instant) {
        self.by_instance.borrow_mut().retain(|_, connections| {
            connections.retain(|shared| {
                let idle =
                    shared.permits.in_use() == 0 && now.since(shared.permits.idle_since()) >= shared.idle_timeout;
                shared.is_usable() && !idle
            });
            !connections.is_empty()
        });
    }

    /// Closes up to `count` idle connections. Returns how many.
    pub(crate) fn close_idle(&self, count: usize) -> usize {
        let mut closed = 0;
        self.by_instance.borrow_mut().retain(|_, connections| {
            connections.retain(|shared| {
                let close = closed < count && shared.permits.in_use() == 0;
                closed += usize::from(close);
                !close
            });
            !connections.is_empty()
        });
        closed
    }

    /// Number of idle connections.
    pub(crate) fn idle(&self) -> usize {
        let connections = self.by_instance.borrow();
        connections.values().flatten().filter(|shared| shared.permits.in_use() == 0).count()
    }
}

impl SharedConnection {
    /// A connection in the state `Connecting`, which is kept for `idle_timeout` without a stream.
    pub(crate) fn new(idle_timeout: Duration) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(ConnectionState::Connecting),
            waiting: RefCell::default(),
            permits: StreamPermits::new(),
            idle_timeout,
        })
    }

    pub(crate) fn set(&self, state: ConnectionState) {
        self.state.replace(state);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Ready once it is connected. Fails with what the gateway itself lacked, if that was why.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<Result<Rc<SharedHttp2>, Option<Shortage>>> {
        match &*self.state.borrow() {
            ConnectionState::Connecting => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
            ConnectionState::Open(connection) => Poll::Ready(Ok(Rc::clone(connection))),
            ConnectionState::Dead(lacked) => Poll::Ready(Err(*lacked)),
        }
    }

    /// How the connection is in use, seen from a stream that holds a permit.
    pub(crate) fn usage(&self) -> ConnectionUse {
        match *self.state.borrow() {
            ConnectionState::Open(_) if self.permits.in_use() == 1 => ConnectionUse::Idle,
            ConnectionState::Open(_) => ConnectionUse::Busy,
            ConnectionState::Connecting | ConnectionState::Dead(_) => ConnectionUse::New,
        }
    }

    /// Returns true if streams can be opened on it, as far as is known.
    pub(crate) fn is_usable(&self) -> bool {
        if self.permits.is_retired() {
            return false;
        }
        match &*self.state.borrow() {
            ConnectionState::Connecting => true,
            ConnectionState::Open(connection) => connection.is_usable(),
            ConnectionState::Dead(_) => false,
        }
    }

    /// Returns true if it is in use or was used recently.
    fn is_fresh(&self) -> bool {
        self.permits.in_use() > 0 || clock::coarse().since(self.permits.idle_since()) < fresh_for(self.idle_timeout)
    }

    /// Returns true if one more stream can be opened: within `max` and the instance's own limit.
    fn has_room(&self, max: usize) -> bool {
        let max = match &*self.state.borrow() {
            ConnectionState::Open(connection) => max.min(connection.max_open().max(1)),
            ConnectionState::Connecting | ConnectionState::Dead(_) => max,
        };
        self.permits.in_use() < max
    }
}

impl Drop for SharedConnection {
    fn drop(&mut self) {
        if let ConnectionState::Open(connection) = &*self.state.borrow() {
            connection.close();
        }
    }
}
