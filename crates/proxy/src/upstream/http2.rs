//! Connections to instances that speak HTTP/2: shared by the exchanges of a worker, up to so many at once on each.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use foldhash::HashMap;
use h2::client::{Builder, Connection, SendRequest};
use http::uri::Scheme;
use pylae_core::service::Outcome;
use pylae_core::{Exchange, Halt, Instant};
use tracing::debug;

use crate::client::Client;
use crate::io::clock;
use crate::io::h2_stream::place::{Place, Places};
use crate::io::h2_stream::stream::Stream;
use crate::io::socket::Socket;
use crate::io::tls::Protocol;
use crate::io::wire::{HELD_FRAMES, SEND_BUFFER, Wire};
use crate::pool;
use crate::snapshot::{Service, Snapshot};
use crate::upstream::connect;
use crate::upstream::failure::Failure;

/// Bytes of one answer that are held before they are sent on.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all answers on a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes of an answer's head that are taken in at all; `limits.max_head`, which is at most that, is looked at later.
const HEAD: u32 = 1024 * 1024;
/// Streams reset by the gateway, because their clients went away, of which late frames are still expected.
const RESET_STREAMS: usize = 100;

/// The instance at `index` of `service`, which is one of `snapshot`.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) service: &'a Service,
    pub(crate) index: usize,
}

/// A worker's connections, by instance.
#[derive(Default)]
pub(crate) struct Connections {
    by_instance: RefCell<HashMap<u64, Vec<Rc<Shared>>>>,
}

/// One connection.
struct Shared {
    state: RefCell<State>,
    /// Who waits for `state` not to be `Connecting`.
    waiting: RefCell<Vec<Waker>>,
    places: Rc<Places>,
    /// How long it is kept without a stream.
    keep: Duration,
}

enum State {
    Connecting,
    Open(SendRequest<Bytes>),
    Dead,
}

/// A stream on which nothing was sent yet.
pub(crate) struct Opened {
    pub(crate) socket: Socket,
    pub(crate) found: Found,
}

/// In what state its connection was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was made for this stream, or is about as young.
    New,
    /// Nothing was under way on it: it may prove dead.
    Idle,
    /// Others use it as well.
    Busy,
}

impl Connections {
    /// A stream to `target`, up to the deadline that is set on `client`, and only as long as the client stays.
    ///
    /// `surely`: the connection must not end under the request. So others use it, or it was used of late and is looked at for its end.
    pub(crate) async fn take(
        &self,
        target: Target<'_>,
        surely: bool,
        client: &mut Client,
        exchange: &mut Exchange,
    ) -> Result<Opened, Failure> {
        let (shared, place, found) = loop {
            let (shared, place) =
                self.place(target, surely).ok_or_else(|| Failure::instance(Outcome::ConnectFailed, false, false))?;
            let found = shared.found();
            if !surely || found != Found::Idle {
                break (shared, place, found);
            }
            // Behind a turn of the event loop, in which the task that drives it reads what the kernel has.
            tokio::task::yield_now().await;
            if shared.is_usable() {
                break (shared, place, found);
            }
        };
        let deadline = Rc::clone(&client.deadline);
        let connected = deadline.within(|cx| match shared.poll_open(cx) {
            Poll::Ready(opened) => Poll::Ready(Ok(opened)),
            Poll::Pending => client.poll_gone(cx, exchange).map(|()| Err(Failure::Halt(Halt::ClientGone))),
        });
        match connected.await.transpose()?.flatten() {
            Some(connection) => {
                debug!(id = %exchange.id.escape_ascii(), ?found, "over a shared connection");
                let socket =
                    Socket::Stream(Box::new(Stream::asking(connection, scheme(target.service, target.index), place)));
                Ok(Opened { socket, found })
            }
            None => Err(Failure::instance(Outcome::ConnectFailed, false, false)),
        }
    }

    /// A place on a connection, a new one if need be.
    fn place(&self, target: Target<'_>, surely: bool) -> Option<(Rc<Shared>, Place)> {
        let mut connections = self.by_instance.borrow_mut();
        let connections = connections.entry(target.service.pools[target.index]).or_default();
        connections.retain(|shared| shared.is_usable());
        let most = target.service.plan.max_streams;
        let found = connections.iter().find(|shared| shared.has_room(most) && (!surely || shared.is_of_late()));
        let shared = if let Some(shared) = found {
            Rc::clone(shared)
        } else {
            // The task that drives it outlives the exchange.
            let service = target.snapshot.services.get(&*target.service.name)?;
            let shared = Shared::connect(service, target.index);
            connections.push(Rc::clone(&shared));
            shared
        };
        let place = shared.places.take();
        Some((shared, place))
    }

    /// Closes what has been idle for too long, and forgets what is dead.
    pub(crate) fn sweep(&self, now: Instant) {
        self.by_instance.borrow_mut().retain(|_, connections| {
            connections.retain(|shared| {
                let idle = shared.places.taken() == 0 && now.since(shared.places.free_since()) >= shared.keep;
                shared.is_usable() && !idle
            });
            !connections.is_empty()
        });
    }

    /// Number of connections without a stream.
    pub(crate) fn idle(&self) -> usize {
        let connections = self.by_instance.borrow();
        connections.values().flatten().filter(|shared| shared.places.taken() == 0).count()
    }
}

impl Shared {
    /// Begins to connect, in a task that then drives the connection until its end.
    fn connect(service: &Arc<Service>, index: usize) -> Rc<Self> {
        let shared = Rc::new(Self {
            state: RefCell::new(State::Connecting),
            waiting: RefCell::default(),
            places: Places::free(),
            keep: service.plan.idle_timeout.0,
        });
        let (service, timeout) = (Arc::clone(service), service.plan.connect_timeout.0);
        let (driven, places) = (Rc::downgrade(&shared), Rc::clone(&shared.places));
        tokio::task::spawn_local(async move {
            let opened = tokio::time::timeout(timeout, open(&service, index)).await;
            let connection = match opened {
                Ok(Ok((requests, connection))) => {
                    // Without it nobody wants the connection any more.
                    let Some(shared) = driven.upgrade() else { return };
                    shared.set(State::Open(requests));
                    Some(connection)
                }
                _ => None,
            };
            if let Some(connection) = connection {
                // Every stream hears of an error itself.
                let _ = connection.await;
            }
            places.retire();
            if let Some(shared) = driven.upgrade() {
                shared.set(State::Dead);
            }
        });
        shared
    }

    fn set(&self, state: State) {
        self.state.replace(state);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Ready once it is connected; with nothing if that failed.
    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<Option<SendRequest<Bytes>>> {
        match &*self.state.borrow() {
            State::Connecting => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
            State::Open(requests) => Poll::Ready(Some(requests.clone())),
            State::Dead => Poll::Ready(None),
        }
    }

    /// In what state it is for a stream that has its place.
    fn found(&self) -> Found {
        match *self.state.borrow() {
            State::Open(_) if self.places.taken() == 1 => Found::Idle,
            State::Open(_) => Found::Busy,
            State::Connecting | State::Dead => Found::New,
        }
    }

    /// Whether further streams may be opened on it, as far as is known.
    fn is_usable(&self) -> bool {
        if self.places.is_retired() {
            return false;
        }
        match &mut *self.state.borrow_mut() {
            State::Connecting => true,
            State::Open(requests) => {
                // A GOAWAY, or an error of which the streams may not have heard yet.
                !matches!(requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
            }
            State::Dead => false,
        }
    }

    /// Whether it is in use, or was a short while ago.
    fn is_of_late(&self) -> bool {
        self.places.taken() > 0 || clock::coarse().since(self.places.free_since()) < pool::of_late(self.keep)
    }

    /// Whether there is room for one more stream: `most` is our own bound, and the instance may have a lower one.
    fn has_room(&self, most: usize) -> bool {
        let most = match &*self.state.borrow() {
            State::Open(requests) => most.min(requests.current_max_send_streams().max(1)),
            State::Connecting | State::Dead => most,
        };
        self.places.taken() < most
    }
}

/// Opens a connection that speaks HTTP/2. What is given back second drives it and must be polled.
async fn open(service: &Service, index: usize) -> io::Result<(SendRequest<Bytes>, Connection<Wire, Bytes>)> {
    let socket = connect::open(service, index).await?;
    if let Socket::Tls(tls) = &socket
        && tls.protocol() != Protocol::Http2
    {
        return Err(io::Error::other("the instance does not speak HTTP/2"));
    }
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(HELD_FRAMES)
        .max_header_list_size(HEAD)
        .max_concurrent_reset_streams(RESET_STREAMS)
        // What still comes for a stream after that is no error of the instance.
        .max_local_error_reset_streams(None);
    builder.handshake(Wire::of_instance(socket)).await.map_err(io::Error::other)
}

/// A stream on a connection of its own, for what is asked once in a while.
pub(crate) async fn open_alone(service: &Service, index: usize) -> io::Result<Socket> {
    let (requests, connection) = open(service, index).await?;
    let scheme = scheme(service, index);
    tokio::task::spawn_local(async move {
        // The stream hears of an error itself.
        let _ = connection.await;
    });
    let place = Places::free().take();
    Ok(Socket::Stream(Box::new(Stream::asking(requests, scheme, place))))
}

/// What a request says that its address begins with.
fn scheme(service: &Service, index: usize) -> Scheme {
    let secure = service.plan.instances.get(index).is_some_and(|instance| instance.url.starts_with("https:"));
    if secure { Scheme::HTTPS } else { Scheme::HTTP }
}
