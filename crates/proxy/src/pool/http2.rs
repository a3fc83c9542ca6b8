//! Connections to instances that speak HTTP/2: shared by the exchanges of a worker, up to so many at once on each.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use foldhash::HashMap;
use h2::client::SendRequest;
use pylae_core::Instant;

use crate::io::clock;
use crate::io::h2_stream::permit::{StreamPermit, StreamPermits};
use crate::pool::http1::fresh_for;

/// A worker's connections, by instance.
#[derive(Default)]
pub(crate) struct SharedConnections {
    by_instance: RefCell<HashMap<u64, Vec<Rc<SharedConnection>>>>,
}

/// One connection.
pub(crate) struct SharedConnection {
    state: RefCell<ConnectionState>,
    /// Who waits for `state` not to be `Connecting`.
    waiting: RefCell<Vec<Waker>>,
    pub(crate) permits: Rc<StreamPermits>,
    /// How long it is kept without a stream.
    idle_timeout: Duration,
}

/// How far it is.
pub(crate) enum ConnectionState {
    Connecting,
    Open(SendRequest<Bytes>),
    Dead,
}

/// In what state its connection was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionUse {
    /// It was made for this stream, or is about as young.
    New,
    /// Nothing was under way on it: it may prove dead.
    Idle,
    /// Others use it as well.
    Busy,
}

impl SharedConnections {
    /// A place on a connection to the instance with the key `instance`, for at most `most` streams at once. Where there is none, `connect`
    /// begins to make one; `surely` as in [`http1`](super::http1).
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

    /// Closes what has been idle for too long, and forgets what is dead.
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

    /// Number of connections without a stream.
    pub(crate) fn idle(&self) -> usize {
        let connections = self.by_instance.borrow();
        connections.values().flatten().filter(|shared| shared.permits.in_use() == 0).count()
    }
}

impl SharedConnection {
    /// One that is being made, and is kept for `keep` without a stream.
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

    /// Ready once it is connected; with nothing if that failed.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<Option<SendRequest<Bytes>>> {
        match &*self.state.borrow() {
            ConnectionState::Connecting => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
            ConnectionState::Open(requests) => Poll::Ready(Some(requests.clone())),
            ConnectionState::Dead => Poll::Ready(None),
        }
    }

    /// In what state it is for a stream that has its place.
    pub(crate) fn usage(&self) -> ConnectionUse {
        match *self.state.borrow() {
            ConnectionState::Open(_) if self.permits.in_use() == 1 => ConnectionUse::Idle,
            ConnectionState::Open(_) => ConnectionUse::Busy,
            ConnectionState::Connecting | ConnectionState::Dead => ConnectionUse::New,
        }
    }

    /// Whether further streams may be opened on it, as far as is known.
    pub(crate) fn is_usable(&self) -> bool {
        if self.permits.is_retired() {
            return false;
        }
        match &mut *self.state.borrow_mut() {
            ConnectionState::Connecting => true,
            ConnectionState::Open(requests) => {
                // A GOAWAY, or an error of which the streams may not have heard yet.
                !matches!(requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
            }
            ConnectionState::Dead => false,
        }
    }

    /// Whether it is in use, or was a short while ago.
    fn is_fresh(&self) -> bool {
        self.permits.in_use() > 0 || clock::coarse().since(self.permits.idle_since()) < fresh_for(self.idle_timeout)
    }

    /// Whether there is room for one more stream: `most` is our own bound, and the instance may have a lower one.
    fn has_room(&self, max: usize) -> bool {
        let max = match &*self.state.borrow() {
            ConnectionState::Open(requests) => max.min(requests.current_max_send_streams().max(1)),
            ConnectionState::Connecting | ConnectionState::Dead => max,
        };
        self.permits.in_use() < max
    }
}
