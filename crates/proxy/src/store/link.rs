//! A connection to one server: opening, logging in, looking at the server, and pipelines.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pylae_core::plan::{ClusterPlan, StoreKind, StoreServer};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, Value};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::call::{Script, error_text};
use super::shared::StoreShared;
use super::socket::{SocketFailure, StoreSocket};

/// Time to connect. A lost SYN is sent again after a second only, a new connection is tried sooner.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// Time for the handshakes, of TLS too.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// The oldest version that is spoken to. It has ACL users, `HELLO`, and writes of scripts that ask for the time.
const OLDEST: (u32, u32) = (6, 2);

/// An open connection to a server.
pub(super) struct Link {
    pub(super) server: StoreServer,
    /// Set if it is for calls that wait for replicas, which hold up all that is sent after them.
    pub(super) replicated: bool,
    connection: MultiplexedConnection,
    /// Moves bytes, until the connection ends.
    task: AbortHandle,
    lost: Rc<Cell<bool>>,
    failure: SocketFailure,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Calls,
    /// Calls that wait for replicas.
    Replicated,
    /// To ask a Sentinel.
    Sentinel,
}

/// What a server says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerState {
    pub(super) version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub(super) mode: String,
    /// `master` or `replica`.
    pub(super) role: String,
}

impl Link {
    /// Connects and logs in. Calls `on_loss` once the connection has ended.
    pub(super) async fn open(
        store: &StoreShared,
        server: &StoreServer,
        purpose: Purpose,
        on_loss: impl FnOnce() + 'static,
    ) -> Result<Rc<Self>, String> {
        let connecting = StoreSocket::connect(&server.host, server.port, store.tls.as_deref());
        let patience = if store.tls.is_some() { HANDSHAKE_TIMEOUT } else { CONNECT_TIMEOUT };
        let socket = timeout(patience, connecting).await.map_err(|_| "no connection in time".to_owned())?;
        let socket = socket.map_err(|error| error.to_string())?;
        let failure = SocketFailure::clone(&socket.failure);
        let info = credentials(&store.plan, purpose == Purpose::Sentinel);
        // Each pipeline has its own time-out.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opening = MultiplexedConnection::new_with_config(&info, socket, config);
        let opening = timeout(HANDSHAKE_TIMEOUT, opening).await;
        let (connection, driver) =
            opening.map_err(|_| "no answer in time".to_owned())?.map_err(|error| said(&error, &failure))?;
        let lost = Rc::new(Cell::new(false));
        let ended = Rc::clone(&lost);
        let task = tokio::task::spawn_local(async move {
            driver.await;
            ended.set(true);
            on_loss();
        });
        let replicated = purpose == Purpose::Replicated;
        Ok(Rc::new(Self { server: server.clone(), replicated, connection, task: task.abort_handle(), lost, failure }))
    }

    /// Returns true once the connection has ended.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get() || self.task.is_finished()
    }

    /// Sends a pipeline, in one write, and returns the answers. Does not wait longer than `patience`.
    pub(super) async fn send(&self, pipeline: &Pipeline, patience: Duration) -> Result<Vec<Value>, Broken> {
        let mut connection = self.connection.clone();
        match timeout(patience, connection.req_packed_commands(pipeline, 0, pipeline.len())).await {
            Ok(Ok(values)) => Ok(values),
            Ok(Err(error)) => Err(Broken::Lost(said(&error, &self.failure))),
            Err(_) => Err(Broken::TimedOut),
        }
    }

    /// Asks the server for its state, and gives it the scripts.
    pub(super) async fn greet(&self, scripts: &[&Script], patience: Duration) -> Result<ServerState, String> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HELLO");
        for script in scripts {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
        }
        let answers = self.send(&pipeline, patience).await.map_err(|broken| broken.to_string())?;
        for answer in &answers {
            if let Value::ServerError(error) = answer {
                return Err(error_text(error));
            }
        }
        answers.first().map(ServerState::read).ok_or_else(|| "no answer".to_owned())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Requests in flight must not keep the connection open.
        self.task.abort();
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("no answer in time")]
    TimedOut,
    #[error("{0}")]
    Lost(String),
}

impl ServerState {
    fn read(hello: &Value) -> Self {
        let mut state = Self::default();
        let Value::Array(items) = hello else { return state };
        for pair in items.chunks_exact(2) {
            let field = match text(&pair[0]) {
                Some("version") => &mut state.version,
                Some("mode") => &mut state.mode,
                Some("role") => &mut state.role,
                _ => continue,
            };
            text(&pair[1]).unwrap_or_default().clone_into(field);
        }
        state
    }

    /// Why the gateway cannot work with this server as what the configuration says it is, or None.
    pub(super) fn mismatch(&self, kind: StoreKind) -> Option<String> {
        let mut numbers = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < OLDEST {
            let (major, minor) = OLDEST;
            return Some(format!("the server has version {}, but at least {major}.{minor} is needed", self.version));
        }
        match (kind, self.mode.as_str()) {
            (StoreKind::Cluster, "standalone") => {
                Some("the server is not part of a Cluster: write valkey:// in place of valkey+cluster://".to_owned())
            }
            (StoreKind::Single | StoreKind::Sentinel, "cluster") => {
                Some("the server is part of a Cluster: write valkey+cluster:// in front of its address".to_owned())
            }
            (_, "sentinel") => Some("the server is a Sentinel: write valkey+sentinel://HOST:PORT/NAME".to_owned()),
            (StoreKind::Single | StoreKind::Sentinel, _) if self.role != "master" => {
                Some(format!("the server is a {}, and cannot be written to", self.role))
            }
            _ => None,
        }
    }
}

fn credentials(plan: &ClusterPlan, sentinel: bool) -> RedisConnectionInfo {
    let (user, password) =
        if sentinel { (&plan.sentinel_user, &plan.sentinel_password) } else { (&plan.user, &plan.password) };
    let mut info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
    if let Some(user) = user {
        info = info.set_username(user);
    }
    if let Some(password) = password {
        info = info.set_password(password);
    }
    if sentinel { info } else { info.set_db(i64::from(plan.database)) }
}

/// An error in the server's words, if it has said something, or in those of the socket.
fn said(error: &RedisError, failure: &SocketFailure) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => failure.get().cloned().unwrap_or_else(|| error.to_string()),
    }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(version: &str, mode: &str, role: &str) -> ServerState {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = [("server", "valkey"), ("version", version), ("mode", mode), ("role", role)];
        ServerState::read(&Value::Array(fields.iter().flat_map(|(name, value)| [text(name), text(value)]).collect()))
    }

    #[test]
    fn a_server_has_to_be_what_the_configuration_says() {
        let current = |mode, role, kind| hello("9.1.2", mode, role).mismatch(kind);
        assert_eq!(current("standalone", "master", StoreKind::Single), None);
        assert_eq!(current("standalone", "master", StoreKind::Sentinel), None);
        assert_eq!(current("cluster", "replica", StoreKind::Cluster), None, "it says where the primary is");
        assert!(current("standalone", "replica", StoreKind::Single).unwrap().contains("replica"));
        assert!(current("cluster", "master", StoreKind::Single).unwrap().contains("valkey+cluster://"));
        assert!(current("standalone", "master", StoreKind::Cluster).unwrap().contains("valkey://"));
        assert!(current("sentinel", "", StoreKind::Single).unwrap().contains("valkey+sentinel://"));
    }

    #[test]
    fn old_servers_are_refused() {
        let version = |version| hello(version, "standalone", "master").mismatch(StoreKind::Single);
        assert_eq!(version("6.2.0"), None);
        assert_eq!(version("10.0"), None);
        let told = "the server has version 6.0.16, but at least 6.2 is needed";
        assert_eq!(version("6.0.16").as_deref(), Some(told));
        assert!(version("").is_some());
    }
}
