//! The admin address: probes are answered, and all other connections handed over, once and unread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use pylae_proxy::{AdminSettings, Drain};

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::Instance;
use crate::support::message::Message;
use crate::support::peer::{PATIENCE, Peer};
use crate::support::plan::Plan;

const LIVE: &str = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
const READY: &str = "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
const OTHER: &str = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Most connections that wait for Python.
const QUEUE: usize = 256;

fn settings(patience: Duration) -> AdminSettings {
    AdminSettings {
        address: "127.0.0.1:0".into(),
        hosts: Some(vec!["gate.example".into()]),
        connections: 8,
        head_time: PATIENCE,
        patience,
        token: None,
    }
}

/// A gateway with an admin address. Somebody has taken connections from it, so that those that come wait `patience`.
fn with_admin(instance: &Instance, patience: Duration) -> (Gateway, SocketAddr, TcpStream) {
    let gateway = Gateway::start(&Plan::to([instance]));
    let listening = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listening.local_addr().unwrap();
    let watched = gateway.engine().serve_admin(listening.into(), settings(patience)).unwrap();
    assert!(gateway.next_admin_connection().is_none());
    // Only peeked at and waited for, which is alike for all sockets.
    (gateway, address, TcpStream::from(watched))
}

fn ask(address: SocketAddr, request: &str) -> Message {
    let mut peer = Peer::connect(address);
    peer.send(request);
    let answer = peer.read_answer();
    assert!(peer.is_closed());
    answer
}

fn is_readable(watched: &TcpStream) -> bool {
    watched.set_nonblocking(true).unwrap();
    watched.peek(&mut [0]).is_ok()
}

#[test]
fn other_connections_are_handed_over_unread() {
    let instance = Instance::manual();
    let (gateway, address, watched) = with_admin(&instance, PATIENCE);
    assert!(!is_readable(&watched));
    let mut first = Peer::connect(address);
    first.send("GET /sta");
    let mut second = Peer::connect(address);
    second.send(OTHER);
    wait_until(|| is_readable(&watched));
    let mut taken = Peer::new(TcpStream::from(gateway.next_admin_connection().unwrap().descriptor));
    assert!(!is_readable(&watched));
    assert!(gateway.next_admin_connection().is_none());
    assert_eq!(taken.read(OTHER.len()), OTHER.as_bytes());
    taken.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(second.read_answer().status(), 204);
    // A probe is answered meanwhile, and the other head may come to its end.
    assert_eq!(ask(address, LIVE).status(), 200);
    first.send(&OTHER["GET /sta".len()..]);
    wait_until(|| is_readable(&watched));
    let mut taken = Peer::new(TcpStream::from(gateway.next_admin_connection().unwrap().descriptor));
    assert_eq!(taken.read(OTHER.len()), OTHER.as_bytes());
}

#[test]
fn what_nobody_takes_is_told_so() {
    let instance = Instance::manual();
    let (gateway, address, watched) = with_admin(&instance, Duration::from_millis(50));
    for _ in 0..3 {
        let refused = ask(address, OTHER);
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.single("content-type"), Some("application/problem+json"));
        assert!(refused.text().contains(r#""code":"control_plane_stuck""#), "{}", refused.text());
        assert_eq!(ask(address, LIVE).status(), 200);
    }
    assert!(!is_readable(&watched));
    assert!(gateway.next_admin_connection().is_none());
    let said = || gateway.take_log().unwrap_or_default();
    assert!(said().iter().any(|record| record.event == "control_plane_stuck"));
}

#[test]
fn as_is_what_finds_the_queue_full() {
    let instance = Instance::manual();
    let (gateway, address, watched) = with_admin(&instance, PATIENCE);
    let mut waiting = Vec::new();
    for _ in 0..QUEUE {
        let mut peer = Peer::connect(address);
        peer.send(OTHER);
        waiting.push(peer);
    }
    // Once a second one is answered all those before the first have been looked at.
    assert_eq!((ask(address, LIVE).status(), ask(address, LIVE).status()), (200, 200));
    assert_eq!(ask(address, OTHER).status(), 503);
    assert_eq!(ask(address, LIVE).status(), 200);
    let mut taken = 0;
    while let Some(connection) = gateway.next_admin_connection() {
        let mut connection = TcpStream::from(connection.descriptor);
        connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        taken += 1;
    }
    assert_eq!(taken, QUEUE);
    assert!(!is_readable(&watched));
    for mut peer in waiting {
        assert_eq!(peer.read_answer().status(), 204);
    }
}

#[test]
fn the_oldest_of_too_many_that_wait_is_closed() {
    let instance = Instance::manual();
    let (_gateway, address, _watched) = with_admin(&instance, PATIENCE);
    let mut idle: Vec<Peer> = (0..20).map(|_| Peer::connect(address)).collect();
    assert_eq!(ask(address, LIVE).status(), 200);
    assert!(idle[..12].iter_mut().all(Peer::is_closed));
    let last = idle.last_mut().unwrap();
    last.send(READY);
    assert_eq!(last.read_answer().status(), 200);
}

#[test]
fn probes_follow_the_gateway_and_are_answered_to_the_end_of_a_drain() {
    let instance = Instance::manual();
    let (gateway, address, _watched) = with_admin(&instance, PATIENCE);
    assert_eq!((ask(address, LIVE).status(), ask(address, READY).status()), (200, 200));
    let mut client = gateway.connect();
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut server = instance.accept();
    server.read_request();
    let engine = &*gateway;
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop(Drain::Within));
        wait_until(|| ask(address, READY).status() == 503);
        assert_eq!(ask(address, READY).text(), r#"{"status":"stopping"}"#);
        assert_eq!(ask(address, LIVE).status(), 200);
        assert!(!stop.is_finished());
        server.send("HTTP/1.1 204 No Content\r\n\r\n");
        stop.join().unwrap();
    });
    assert!(TcpStream::connect(address).is_err());
    let listening = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    assert!(gateway.engine().serve_admin(listening.into(), settings(PATIENCE)).is_err());
}

#[test]
fn health_is_told_to_who_has_the_token_while_python_cannot() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let listening = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listening.local_addr().unwrap();
    let settings = AdminSettings { token: Some("old".into()), ..settings(Duration::ZERO) };
    let _watched = gateway.engine().serve_admin(listening.into(), settings).unwrap();
    assert!(gateway.next_admin_connection().is_none());
    let health = |field: &str| ask(address, &format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{field}\r\n"));
    let answer = health("Authorization: bearer old\r\n");
    assert_eq!(answer.status(), 200);
    assert!(answer.text().contains(r#""status":"degraded""#), "{}", answer.text());
    gateway.set_admin_token("new");
    assert_eq!(health("Authorization: Bearer new\r\n").status(), 200);
    for field in [
        "",
        "Authorization: Bearer old\r\n",
        "Authorization: Bearer newer\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Basic new\r\n",
        "Authorization: Bearer new\r\nAuthorization: Bearer new\r\n",
        "Authorization: Bearer new\r\nOrigin: http://evil.example\r\n",
    ] {
        assert_eq!(health(field).status(), 503, "{field}");
    }
}

#[test]
fn names_are_replaced_while_it_runs() {
    let instance = Instance::manual();
    let (gateway, address, _watched) = with_admin(&instance, Duration::from_millis(50));
    let named = |host: &str| ask(address, &LIVE.replace("localhost", host)).status();
    assert_eq!((named("gate.example"), named("other.example")), (200, 503));
    gateway.set_admin_hosts(vec!["other.example".into()]);
    assert_eq!((named("gate.example"), named("other.example")), (503, 200));
}

#[test]
fn a_unix_socket_is_served_alike() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let path = std::env::temp_dir().join(format!("pylae-admin-{}.sock", std::process::id()));
    let listening = UnixListener::bind(&path).unwrap();
    let settings = AdminSettings { hosts: None, ..settings(PATIENCE) };
    let watched: OwnedFd = gateway.engine().serve_admin(listening.into(), settings).unwrap();
    let watched = TcpStream::from(watched);
    let mut probe = UnixStream::connect(&path).unwrap();
    for byte in LIVE.replace("localhost", "any.name").bytes() {
        probe.write_all(&[byte]).unwrap();
    }
    let mut answer = String::new();
    probe.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(r#"{"status":"live"}"#), "{answer}");
    let mut other = UnixStream::connect(&path).unwrap();
    other.write_all(OTHER.as_bytes()).unwrap();
    wait_until(|| is_readable(&watched));
    let mut taken = UnixStream::from(gateway.next_admin_connection().unwrap().descriptor);
    taken.set_nonblocking(false).unwrap();
    let mut request = vec![0; OTHER.len()];
    taken.read_exact(&mut request).unwrap();
    assert_eq!(request, OTHER.as_bytes());
    std::fs::remove_file(&path).unwrap();
}
