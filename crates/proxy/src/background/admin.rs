//! The admin address: a thread that owns its listening socket, ends TLS, answers probes without the interpreter, and
//! hands all other connections to Python.

mod connections;
mod handover;
mod health;
mod probe;
mod relay;
mod secure;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::plan::AdminPlan;
use socket2::Socket;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use self::connections::{AdminConnections, Shared, watch};
use self::handover::Handover;
pub use self::handover::{AdminConnection, ConnectionEnds};
use self::health::AdminHealth;
pub(crate) use self::health::HealthSource;
use crate::io::tls::Acceptor;
use crate::telemetry::liveness::Liveness;
use crate::telemetry::log::Log;
use crate::telemetry::panics::{Duty, enter, supervise_task};

/// How the admin address is served.
#[derive(Clone)]
pub struct AdminSettings {
    /// The address as the plan names it.
    pub address: String,
    /// Names besides the loopback ones that it may be asked for under, in lower case; None if any is right.
    pub hosts: Option<Vec<String>>,
    /// Most connections that wait for a head.
    pub connections: usize,
    /// Time that a head may take.
    pub head_time: Duration,
    /// Time that a connection waits for Python.
    pub patience: Duration,
    /// What it must present; None if everyone who can connect may do everything.
    pub token: Option<String>,
}

/// TLS of the admin address by a plan.
#[derive(Clone, Copy)]
pub(crate) struct AdminTls<'p> {
    /// What the plan says of the admin address.
    pub(crate) plan: Option<&'p AdminPlan>,
    /// Its TLS, ready to use.
    pub(crate) acceptor: Option<&'p Arc<Acceptor>>,
}

impl AdminTls<'_> {
    /// True if the plan speaks of this address.
    fn is_for(self, address: &str) -> bool {
        self.plan.is_some_and(|plan| plan.address == address)
    }
}

/// A handle to the thread. The address is closed when this is dropped.
pub(crate) struct AdminEdge {
    address: String,
    shared: Arc<Shared>,
    patience: Duration,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminEdge {
    /// Starts to accept from a socket that listens. Refuses to do so without TLS off the loopback addresses.
    pub(crate) fn start(
        listening: OwnedFd,
        settings: AdminSettings,
        liveness: Arc<Liveness>,
        log: Arc<Log>,
        health: HealthSource,
        tls: AdminTls<'_>,
    ) -> io::Result<Self> {
        let AdminSettings { address, hosts, connections, head_time, patience, token } = settings;
        let hosts = Mutex::new(hosts.map(|hosts| hosts.into_iter().collect()));
        let shared = Arc::new(Shared {
            handover: Handover::new(patience)?,
            hosts,
            liveness,
            log,
            health: AdminHealth::new(token.as_deref(), health),
            tls: Mutex::new(tls.acceptor.filter(|_| tls.is_for(&address)).cloned()),
        });
        let listening = Socket::from(listening);
        let bound = listening.local_addr()?.as_socket();
        if shared.tls.lock().is_none() && bound.is_some_and(|bound| !bound.ip().to_canonical().is_loopback()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "off loopback the admin API needs TLS"));
        }
        listening.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("pylae-admin".to_owned()).spawn(move || {
            enter(Some(&of_thread.log), Duty::Admin);
            let connections = AdminConnections::new(Arc::clone(&of_thread), connections, head_time);
            LocalSet::new().block_on(&runtime, async {
                if let Err(error) = run(connections, listening, stopped).await {
                    let message = format!("the admin address cannot be served: {error}");
                    of_thread.log.write("error", "admin_failed", message);
                }
            });
        })?;
        Ok(Self { address, shared, patience, stop: Some(stop), thread: Some(thread) })
    }

    /// A descriptor that is readable while connections wait for Python.
    pub(crate) fn watched(&self) -> io::Result<OwnedFd> {
        self.shared.handover.watched()
    }

    /// The next connection that waits for Python.
    pub(crate) fn next_connection(&self) -> Option<AdminConnection> {
        self.shared.handover.take(self.patience)
    }

    /// Takes over the TLS of another plan, unless that has another address for the admin API, which needs a restart.
    pub(crate) fn set_tls(&self, tls: AdminTls<'_>) {
        if tls.is_for(&self.address) {
            *self.shared.tls.lock() = tls.acceptor.cloned();
        }
    }

    /// Replaces the token, if there is one.
    pub(crate) fn set_token(&self, token: &str) {
        self.shared.health.set_token(token);
    }

    /// Replaces the names.
    pub(crate) fn set_hosts(&self, hosts: Vec<String>) {
        if let Some(names) = &mut *self.shared.hosts.lock() {
            *names = hosts.into_iter().collect();
        }
    }
}

/// Serves until it is stopped.
async fn run(connections: Rc<AdminConnections>, listening: Socket, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let listening = Rc::new(watch(listening)?);
    let overdue = Rc::clone(&connections);
    let accepting = supervise_task(Duty::Admin, move || Rc::clone(&connections).accept(Rc::clone(&listening)));
    let refusing = supervise_task(Duty::Admin, move || Rc::clone(&overdue).refuse_overdue());
    tokio::select! {
        // An error is as good: it means that the handle has gone.
        _ = stopped => {}
        _ = accepting => {}
        _ = refusing => {}
    }
    Ok(())
}

impl Drop for AdminEdge {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported on standard error, and nothing depends on the thread any more.
            let _ = thread.join();
        }
        self.shared.handover.close();
    }
}
