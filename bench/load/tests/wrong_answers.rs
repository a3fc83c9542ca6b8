//! The load generator as a process: a figure for right answers, none and a failure for a wrong one.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pylae-bench-load");

/// A running `origin` or `relay`, ended with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening ").unwrap().parse().unwrap();
        Self { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Answers the first request right and the next one with `second`, then closes.
fn turning_server(second: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".as_bytes().to_vec();
        answer.extend(expected_body());
        for answer in [answer.as_slice(), second.as_bytes()] {
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(answer).unwrap();
        }
    });
    address
}

/// What the origin gives for `/body/7`.
fn expected_body() -> [u8; 7] {
    let origin = Server::start(&["origin"]);
    let mut stream = std::net::TcpStream::connect(origin.address).unwrap();
    stream.write_all(b"GET /body/7 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut chunk).unwrap();
        answer.extend_from_slice(&chunk[..count]);
    }
    answer[answer.len() - 7..].try_into().unwrap()
}

fn load(address: SocketAddr, args: &[&str]) -> Output {
    let address = address.to_string();
    let fixed = ["load", "--connect", &address, "--warmup", "0"];
    Command::new(PROGRAM).args(fixed).args(args).output().unwrap()
}

fn assert_figure(output: &Output, requests: u64) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with(&format!("{{\"requests\": {requests}, ")), "{text}");
}

#[test]
fn right_answers_give_a_figure_directly_and_through_the_relay() {
    let origin = Server::start(&["origin"]);
    let relay = Server::start(&["relay", "--upstream", &origin.address.to_string()]);
    for address in [origin.address, relay.address] {
        assert_figure(&load(address, &["--requests", "500", "--connections", "8"]), 500);
        assert_figure(&load(address, &["--requests", "50", "--connections", "8", "--path", "/body/3m"]), 50);
        assert_figure(&load(address, &["--duration", "0.05", "--rate", "1000", "--require", "Server: origin"]), 50);
    }
}

#[test]
fn awake_answers_are_the_same() {
    let origin = Server::start(&["origin", "--awake"]);
    assert_figure(&load(origin.address, &["--requests", "500", "--connections", "8", "--awake"]), 500);
    assert_figure(&load(origin.address, &["--duration", "0.05", "--rate", "1000", "--awake"]), 50);
}

#[test]
fn wrong_answers_give_no_figure() {
    let wrong = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n1234567", "body differs from byte 0"),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 7\r\n\r\n1234567", "status line"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12345678", "content-length"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "connection closed"),
    ];
    for (second, why) in wrong {
        let output = load(turning_server(second), &["--requests", "3", "--connections", "1", "--path", "/body/7"]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{second:?}");
        assert!(message.contains(why), "{second:?}: {message}");
    }
}

#[test]
fn what_is_sent_is_checked_by_the_origin() {
    let origin = Server::start(&["origin"]);
    let relay = Server::start(&["relay", "--upstream", &origin.address.to_string()]);
    let send = |path, size, more: &[&str]| {
        let fixed = ["--method", "POST", "--requests", "20", "--connections", "4", "--path", path, "--upload", size];
        load(relay.address, &[&fixed[..], more].concat())
    };
    assert_figure(&send("/upload/64k", "65536", &[]), 20);
    assert_figure(&send("/upload/64k", "65536", &["--chunked"]), 20);
    assert_figure(&send("/upload/json", "json", &["--header", "Content-Type: application/json"]), 20);
    // More than a socket takes at once.
    assert_figure(&send("/upload/9m", "9437184", &["--chunked"]), 20);
    assert!(!send("/upload/64k", "65535", &[]).status.success());
}

#[test]
fn numbers_begin_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = Vec::new();
        let mut chunk = [0; 4096];
        for _ in 0..4 {
            let count = stream.read(&mut chunk).unwrap();
            let head = String::from_utf8_lossy(&chunk[..count]).into_owned();
            sent.extend(head.split("X-Key: ").nth(1).and_then(|rest| rest.get(..8)).map(str::to_owned));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").unwrap();
            stream.write_all(&expected_body()).unwrap();
        }
        sent
    });
    let numbered = ["--header", "X-Key: ########", "--numbers", "3", "--path", "/body/7"];
    assert_figure(&load(address, &[&numbered[..], &["--requests", "4", "--connections", "1"]].concat()), 4);
    assert_eq!(served.join().unwrap(), ["00000001", "00000002", "00000000", "00000001"]);
}

#[test]
fn missing_header_gives_no_figure() {
    let origin = Server::start(&["origin"]);
    let output = load(origin.address, &["--requests", "1", "--require", "X-Served-By"]);
    assert!(!output.status.success() && output.stdout.is_empty());
}

#[test]
fn calls_of_grpc_are_counted_and_checked() {
    let origin = Server::start(&["origin", "--grpc"]);
    assert_figure(&load(origin.address, &["--grpc", "--streams", "3", "--connections", "2", "--requests", "20"]), 20);
    // What is no call is not answered in words of gRPC.
    let plain = Server::start(&["origin"]);
    assert!(!load(plain.address, &["--grpc", "--streams", "3"]).status.success());
}
