//! The admin address: a thread that owns its listening socket, answers probes without the interpreter, and hands all
//! other connections to Python.

mod connections;
mod handover;
mod health;
mod probe;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::Socket;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use self::connections::{AdminConnections, Shared, watch};
use self::handover::Handover;
use self::health::AdminHealth;
pub(crate) use self::health::HealthSource;
use crate::telemetry::liveness::Liveness;
use crate::telemetry::log::Log;
use crate::telemetry::panics::{Duty, enter, supervise_task};

/// How the admin address is served.
#[derive(Clone)]
pub struct AdminSettings {
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

/// A handle to the thread. The address is closed when this is dropped.
pub(crate) struct AdminEdge {
    shared: Arc<Shared>,
    patience: Duration,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminEdge {
    /// Starts to accept from a socket that listens.
    pub(crate) fn start(
        listening: OwnedFd,
        settings: AdminSettings,
        liveness: Arc<Liveness>,
        log: Arc<Log>,
        health: HealthSource,
    ) -> io::Result<Self> {
        let AdminSettings { hosts, connections, head_time, patience, token } = settings;
        let hosts = Mutex::new(hosts.map(|hosts| hosts.into_iter().collect()));
        let shared = Arc::new(Shared {
            handover: Handover::new(patience)?,
            hosts,
            liveness,
            log,
            health: AdminHealth::new(token.as_deref(), health),
        });
        let listening = Socket::from(listening);
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
        Ok(Self { shared, patience, stop: Some(stop), thread: Some(thread) })
    }

    /// A descriptor that is readable while connections wait for Python.
    pub(crate) fn watched(&self) -> io::Result<OwnedFd> {
        self.shared.handover.watched()
    }

    /// The next connection that waits for Python.
    pub(crate) fn next_connection(&self) -> Option<OwnedFd> {
        self.shared.handover.take(self.patience)
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
