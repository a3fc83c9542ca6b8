//! Accepts the connections to the admin address, answers probes, and passes on all others.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Shutdown};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pylae_http::RequestHead;
use rustix::net::RecvFlags;
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::handover::{AdminConnection, Handover};
use super::health::AdminHealth;
use super::probe::{self, AdminHosts, HEAD, Probe, Sighting, inspect};
use super::relay::{AdminRelay, LINGER};
use crate::io::clock;
use crate::io::tls::Acceptor;
use crate::telemetry::liveness::Liveness;
use crate::telemetry::log::{Log, Refusals};

/// Most bytes that are read behind a request that ends its connection.
const MOST_BEHIND: usize = 64 * 1024;
/// How long nothing is accepted after that has failed.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a hook must keep other Python code from running before Python is taken to be stuck. On a busy machine all
/// hooks do so for moments.
const SPELL: Duration = Duration::from_secs(1);
/// Interval between two looks at whether a hook still does so.
const LOOK: Duration = Duration::from_millis(50);

/// Has the runtime watch a socket.
pub(super) fn watch(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor until it is dropped, and nobody replaces one in an `AsyncFd`.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// What the thread shares with the engine.
pub(super) struct Shared {
    pub(super) handover: Handover,
    pub(super) hosts: Mutex<AdminHosts>,
    pub(super) liveness: Arc<Liveness>,
    pub(super) log: Arc<Log>,
    pub(super) health: AdminHealth,
    /// TLS of connections that begin from now on.
    pub(super) tls: Mutex<Option<Arc<Acceptor>>>,
}

/// The connections that Python has not got.
pub(super) struct AdminConnections {
    pub(super) shared: Arc<Shared>,
    /// Most of them.
    most: usize,
    pub(super) head_time: Duration,
    /// By their age.
    open: RefCell<BTreeMap<u64, AbortHandle>>,
    next: Cell<u64>,
    /// What a look at a connection sees. Nothing is kept in it.
    seen: RefCell<Box<[u8]>>,
    failures: Refusals,
    refusals: Refusals,
    pub(super) failed_handshakes: Refusals,
    /// Number of connections that are relayed to Python.
    pub(super) relayed: Rc<Cell<usize>>,
}

/// Takes a connection out of the table when its task ends.
struct OpenConnection(Rc<AdminConnections>, u64);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.borrow_mut().remove(&self.1);
    }
}

impl AdminConnections {
    pub(super) fn new(shared: Arc<Shared>, most: usize, head_time: Duration) -> Rc<Self> {
        Rc::new(Self {
            shared,
            most: most.max(1),
            head_time,
            open: RefCell::default(),
            next: Cell::default(),
            seen: RefCell::new(vec![0; HEAD].into()),
            failures: Refusals::default(),
            refusals: Refusals::default(),
            failed_handshakes: Refusals::default(),
            relayed: Rc::default(),
        })
    }

    /// Accepts for ever.
    pub(super) async fn accept(self: Rc<Self>, listening: Rc<AsyncFd<Socket>>) {
        loop {
            let accepted = match listening.readable().await {
                Ok(mut guard) => match guard.try_io(|socket| socket.get_ref().accept()) {
                    Ok(accepted) => accepted,
                    Err(_) => continue,
                },
                Err(error) => Err(error),
            };
            match accepted {
                Ok((socket, _)) => self.spawn(socket, Self::serve),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => {
                    // Out of descriptors or memory: wait for others to be freed.
                    let what = || format!("a connection to the admin address could not be accepted: {error}");
                    self.failures.report(&self.shared.log, clock::now(), "admin_accept_failed", what);
                    tokio::time::sleep(PAUSE).await;
                }
            }
            // Those that were accepted before are looked at first, so that a flood does not push out probes.
            tokio::task::yield_now().await;
        }
    }

    /// Refuses, for ever, what Python does not take in time.
    pub(super) async fn refuse_overdue(self: Rc<Self>) {
        loop {
            for connection in self.shared.handover.overdue().await {
                let own = connection.ends.map(|ends| ends.server.ip());
                self.spawn(connection.descriptor.into(), |this, socket| async move {
                    this.refuse(socket, own).await;
                    None
                });
            }
        }
    }

    /// Begins a task for a connection. Where there are too many, the oldest is closed. A relay that is left to run is
    /// one of Python's connections, and not of these.
    fn spawn<F>(self: &Rc<Self>, socket: Socket, serve: impl FnOnce(Rc<Self>, AsyncFd<Socket>) -> F)
    where
        F: Future<Output = Option<AdminRelay>> + 'static,
    {
        // Fails only if the connection cannot be watched for want of descriptors, and then it is closed.
        let Ok(socket) = socket.set_nonblocking(true).and_then(|()| watch(socket)) else { return };
        let oldest = if self.open.borrow().len() >= self.most { self.open.borrow_mut().pop_first() } else { None };
        if let Some((_, oldest)) = oldest {
            oldest.abort();
        }
        let id = self.next.replace(self.next.get() + 1);
        let (entry, serving) = (OpenConnection(Rc::clone(self), id), serve(Rc::clone(self), socket));
        let task = tokio::task::spawn_local(async move {
            let relay = serving.await;
            drop(entry);
            if let Some(relay) = relay {
                relay.run().await;
            }
        });
        self.open.borrow_mut().insert(id, task.abort_handle());
    }

    async fn serve(self: Rc<Self>, socket: AsyncFd<Socket>) -> Option<AdminRelay> {
        let acceptor = self.shared.tls.lock().clone();
        match acceptor {
            Some(acceptor) => return self.serve_secure(socket, acceptor).await,
            None => self.serve_plain(socket).await,
        }
        None
    }

    async fn serve_plain(self: Rc<Self>, socket: AsyncFd<Socket>) {
        match timeout(self.head_time, self.look(&socket)).await {
            Ok(Ok(Some(probe))) => {
                let mut head = vec![0; probe.len];
                if socket.get_ref().read_exact(&mut head).is_ok() {
                    finish(socket, &probe.answer(&self.shared.liveness)).await;
                }
            }
            Ok(Ok(None)) if self.is_stuck().await => self.refuse(socket, None).await,
            Ok(Ok(None)) => {
                let connection = AdminConnection { descriptor: socket.into_inner().into(), ends: None };
                if let Err(connection) = self.shared.handover.offer(connection)
                    && let Ok(socket) = watch(connection.descriptor.into())
                {
                    self.refuse(socket, None).await;
                }
            }
            // It has ended, or its head did not come in time.
            Ok(Err(_)) | Err(_) => {}
        }
    }

    /// True if Python cannot take a connection, because a hook keeps it from running and goes on doing so.
    pub(super) async fn is_stuck(&self) -> bool {
        let since = Instant::now();
        while self.shared.liveness.is_held() {
            if since.elapsed() >= SPELL {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }

    /// Waits until it is clear what a connection wants: None is whatever is no probe. Takes nothing from it.
    async fn look(&self, socket: &AsyncFd<Socket>) -> io::Result<Option<Probe>> {
        let own = own_address(socket);
        let mut head = RequestHead::default();
        loop {
            let mut guard = socket.readable().await?;
            match self.peek(socket, &mut head, own) {
                Ok(Sighting::Probe(probe)) => return Ok(Some(probe)),
                Ok(Sighting::Other) => return Ok(None),
                Ok(Sighting::More) if guard.ready().is_read_closed() => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(Sighting::More) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
            // What was seen stays there. The kernel tells when more comes, and what came since the look counts as more.
            guard.clear_ready();
        }
    }

    /// Looks at what has come so far, and leaves it there.
    fn peek(&self, socket: &AsyncFd<Socket>, head: &mut RequestHead, own: Option<IpAddr>) -> io::Result<Sighting> {
        let mut seen = self.seen.borrow_mut();
        let (len, _) = rustix::net::recv(socket, &mut **seen, RecvFlags::PEEK)?;
        if len == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(inspect(head, &seen[..len], &self.shared.hosts.lock(), own))
    }

    /// Answers what Python does not take. `own` is the address that it was sent to, where the socket does not know.
    async fn refuse(self: Rc<Self>, socket: AsyncFd<Socket>, own: Option<IpAddr>) {
        self.report_refusal();
        let own = own.or_else(|| own_address(&socket));
        let health = {
            let mut seen = self.seen.borrow_mut();
            let peeked = rustix::net::recv(&socket, &mut **seen, RecvFlags::PEEK);
            peeked.ok().and_then(|(len, _)| self.health(&seen[..len], own))
        };
        finish(socket, &health.unwrap_or_else(probe::stuck)).await;
    }

    pub(super) fn report_refusal(&self) {
        let what = || "a request to the admin API was answered 503: Python does not take it".to_owned();
        self.refusals.report(&self.shared.log, clock::now(), "control_plane_stuck", what);
    }

    /// The answer to a request for `/health` that Python does not take.
    pub(super) fn health(&self, seen: &[u8], own: Option<IpAddr>) -> Option<String> {
        let head = probe::admissible(seen, &self.shared.hosts.lock(), own)?;
        self.shared.health.answer(&head, seen).map(|document| probe::health(&document))
    }
}

fn own_address(socket: &AsyncFd<Socket>) -> Option<IpAddr> {
    socket.get_ref().local_addr().ok()?.as_socket().map(|address| address.ip())
}

/// Writes the last answer of a connection, and closes it once the client has read that.
pub(super) async fn finish(socket: AsyncFd<Socket>, answer: &str) {
    // The kernel takes this much at once from a connection that was not written to.
    let written = socket.get_ref().send_with_flags(answer.as_bytes(), libc::MSG_NOSIGNAL);
    if !written.is_ok_and(|written| written == answer.len()) || socket.get_ref().shutdown(Shutdown::Write).is_err() {
        return;
    }
    // With unread bytes, closing would reset the connection, and the answer with it.
    let rest = async {
        let (mut behind, mut discarded) = (0, [0; 4096]);
        while behind < MOST_BEHIND {
            let Ok(mut guard) = socket.readable().await else { return };
            match guard.try_io(|socket| socket.get_ref().read(&mut discarded)) {
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(count)) => behind += count,
                Err(_) => {}
            }
        }
    };
    // Close connections that their clients leave open.
    let _ = timeout(LINGER, rest).await;
}
