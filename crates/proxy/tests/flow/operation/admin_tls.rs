//! The admin address with TLS: what is not a probe is relayed, and refused inside TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use pylae_proxy::{AdminConnection, AdminSettings, local_certificate};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::Instance;
use crate::support::peer::PATIENCE;
use crate::support::plan::Plan;

const ADDRESS: &str = "127.0.0.1:0";
const LIVE: &[u8] = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
const OTHER: &[u8] = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Most connections that wait for Python.
const QUEUE: usize = 256;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A gateway whose admin address speaks TLS, and what its clients trust.
struct Secured {
    gateway: Gateway,
    address: SocketAddr,
    trust: Arc<ClientConfig>,
}

fn settings(patience: Duration) -> AdminSettings {
    let hosts = Some(Vec::new());
    AdminSettings { address: ADDRESS.into(), hosts, connections: 8, head_time: PATIENCE, patience, token: None }
}

impl Secured {
    /// Somebody has taken connections from it, so that those that come wait `patience`.
    fn start(instance: &Instance, patience: Duration) -> Self {
        let made = local_certificate().unwrap();
        let certificates = json!([{"cert": made.cert, "key": made.key}]);
        let tls = json!({
            "certificates": certificates, "min_version": "1.2", "client_auth": null, "session_tickets": true,
            "handshake_timeout": 10,
        });
        let gateway = Gateway::start(&Plan::to([instance]).with(json!({"admin": {"address": ADDRESS, "tls": tls}})));
        let listening = TcpListener::bind(ADDRESS).unwrap();
        let address = listening.local_addr().unwrap();
        gateway.engine().serve_admin(listening.into(), settings(patience)).unwrap();
        assert!(gateway.next_admin_connection().is_none());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let trust = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Self { gateway, address, trust }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.trust), name).unwrap(), stream)
    }

    fn ask(&self, request: &[u8]) -> String {
        let mut client = self.connect();
        client.write_all(request).unwrap();
        read_all(client)
    }

    /// What waits for Python.
    fn taken(&self) -> (UnixStream, AdminConnection) {
        let mut found = None;
        wait_until(|| {
            found = self.gateway.next_admin_connection();
            found.is_some()
        });
        let connection = found.unwrap();
        let python = UnixStream::from(connection.descriptor.try_clone().unwrap());
        python.set_nonblocking(false).unwrap();
        python.set_read_timeout(Some(PATIENCE)).unwrap();
        (python, connection)
    }
}

/// Everything to the end, which must be told.
fn read_all(mut client: impl Read) -> String {
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    String::from_utf8(all).unwrap()
}

#[test]
fn python_gets_what_is_inside() {
    let instance = Instance::manual();
    let secured = Secured::start(&instance, PATIENCE);
    assert!(secured.ask(LIVE).starts_with("HTTP/1.1 200 OK\r\n"));
    let mut client = secured.connect();
    client.write_all(&OTHER[..10]).unwrap();
    client.write_all(&OTHER[10..]).unwrap();
    let (mut python, connection) = secured.taken();
    let ends = connection.ends.unwrap();
    assert_eq!((ends.client, ends.server), (client.sock.local_addr().unwrap(), secured.address));
    drop(connection);
    let mut request = vec![0; OTHER.len()];
    python.read_exact(&mut request).unwrap();
    assert_eq!(request, OTHER);
    for _ in 0..3 {
        python.write_all(b"one").unwrap();
        let mut answer = [0; 3];
        client.read_exact(&mut answer).unwrap();
        client.write_all(b"two").unwrap();
        python.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"two");
    }
    drop(python);
    assert_eq!(read_all(client), "");
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_the_answer() {
    let instance = Instance::manual();
    let secured = Secured::start(&instance, PATIENCE);
    let mut client = secured.connect();
    client.write_all(OTHER).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    let (mut python, connection) = secured.taken();
    drop(connection);
    let mut request = Vec::new();
    python.read_to_end(&mut request).unwrap();
    assert_eq!(request, OTHER);
    python.write_all(b"answer").unwrap();
    drop(python);
    assert_eq!(read_all(client), "answer");
}

#[test]
fn a_client_that_breaks_off_is_an_end_to_python() {
    let instance = Instance::manual();
    let secured = Secured::start(&instance, PATIENCE);
    let mut client = secured.connect();
    client.write_all(OTHER).unwrap();
    let (mut python, connection) = secured.taken();
    drop((connection, client));
    let mut request = Vec::new();
    python.read_to_end(&mut request).unwrap();
    assert_eq!(request, OTHER);
    let broken = loop {
        if let Err(error) = python.write_all(&[0; 1024]) {
            break error;
        }
    };
    assert!(matches!(broken.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{broken}");
}

#[test]
fn what_python_has_written_arrives_although_it_has_closed() {
    const SIZE: usize = 4 << 20;
    let instance = Instance::manual();
    let secured = Secured::start(&instance, PATIENCE);
    let mut client = secured.connect();
    client.write_all(OTHER).unwrap();
    let (mut python, connection) = secured.taken();
    drop(connection);
    let writing = std::thread::spawn(move || python.write_all(&vec![b'x'; SIZE]));
    assert_eq!(read_all(client).len(), SIZE);
    writing.join().unwrap().unwrap();
}

#[test]
fn what_python_does_not_take_is_refused_inside() {
    let instance = Instance::manual();
    let secured = Secured::start(&instance, Duration::from_millis(50));
    for _ in 0..3 {
        let refused = secured.ask(OTHER);
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains(r#""code":"control_plane_stuck""#), "{refused}");
        assert!(secured.ask(LIVE).starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[test]
fn as_is_what_finds_the_queue_full() {
    let instance = Instance::manual();
    let secured = Secured::start(&instance, PATIENCE);
    let mut waiting = Vec::new();
    for _ in 0..QUEUE {
        let mut client = secured.connect();
        client.write_all(OTHER).unwrap();
        waiting.push(client);
    }
    assert!(secured.ask(OTHER).starts_with("HTTP/1.1 503 "));
    assert!(secured.ask(LIVE).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn without_tls_it_is_served_on_loopback_addresses_only() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let refused = |address: &str| -> io::Result<()> {
        let listening = TcpListener::bind(address)?;
        gateway.engine().serve_admin(listening.into(), settings(PATIENCE)).map(drop)
    };
    assert_eq!(refused("0.0.0.0:0").unwrap_err().kind(), ErrorKind::InvalidInput);
    refused("127.0.0.1:0").unwrap();
}
