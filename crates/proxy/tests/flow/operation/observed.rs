//! Access logs and counters: every exchange is logged and counted once.

use std::fs;
use std::path::PathBuf;

use pylae_proxy::Drain;
use serde_json::{Value, json};

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK};
use crate::support::plan::Plan;

const POST: &str = "POST /x?a=1&token=s3cret HTTP/1.1\r\nHost: shop.test\r\nX-Request-ID: one\r\nUser-Agent: test\r\n\
    Authorization: Bearer s3cret\r\nX-Tenant: t\r\nContent-Length: 5\r\n\r\nhello";

/// A file that is removed at the end of the test.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("pylae-flow-{}-{name}.log", std::process::id())))
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.0).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // The file does not exist if the gateway did not start.
        let _ = fs::remove_file(&self.0);
    }
}

fn access_log(file: &File, format: &str) -> Value {
    json!({"access_log": {
        "output": file.0.to_str().unwrap(), "format": format, "request_headers": ["X-Tenant", "Authorization"],
        "response_headers": ["X-Total"], "mask": [],
    }})
}

/// Replaces the fields that vary by whether they are present.
fn without_times(mut line: Value) -> Value {
    for key in ["timestamp", "duration", "upstream_time"] {
        assert!(!line[key].take().is_null(), "{key} in {line}");
        line.as_object_mut().unwrap().remove(key);
    }
    line
}

#[test]
fn an_exchange_has_one_line_in_the_access_log_with_all_fields() {
    let instance = Instance::answering([
        Answer::Reset,
        Answer::bytes("HTTP/1.1 201 Created\r\nX-Total: 3\r\nContent-Length: 4\r\n\r\ndone"),
    ]);
    let file = File::new("json");
    let settings = json!({"retry_on": ["reset"], "policies": access_log(&file, "json")});
    let gateway = Gateway::start(&Plan::to([&instance]).with_route(settings));
    let mut client = gateway.connect();
    client.send(POST);
    assert_eq!(client.read_answer().text(), "done");
    let sent = client.received().lock().len();
    wait_until(|| file.lines().len() == 1);
    let line: Value = serde_json::from_str(&file.lines()[0]).unwrap();
    let expected = json!({
        "request_id": "one", "client": "127.0.0.1", "user": null, "method": "POST", "host": "shop.test", "path": "/x",
        "query": "a=1&token=***", "route": "all", "service": "all", "instance": instance.url(), "status": 201,
        "code": null, "bytes_in": 5, "bytes_out": sent, "retries": 1, "complete": true, "protocol": "HTTP/1.1",
        "user_agent": "test", "referer": null, "request_headers": {"X-Tenant": "t", "Authorization": "***"},
        "response_headers": {"X-Total": "3"},
    });
    assert_eq!(without_times(line), expected);
    gateway.stop(Drain::Within);
    assert_eq!(file.lines().len(), 1);
    let log = &gateway.stats().access_logs[0];
    assert_eq!((log.written, log.dropped), (1, 0));
}

#[test]
fn unrouted_requests_are_logged_if_the_gateway_has_an_access_log() {
    let instance = Instance::ok();
    let file = File::new("common");
    let log = access_log(&file, "common");
    let exact = json!({"match": {"path": {"kind": "exact", "value": "/x"}}});
    let gateway = Gateway::start(&Plan::to([&instance]).with_route(exact).with(json!({"unrouted": log})));
    assert_eq!(gateway.fetch("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
    let lost = gateway.fetch("GET /lost HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(lost.refusal(), "404 no_route");
    let bad = gateway.fetch("GET /x HTTP/1.1\r\n\r\n");
    assert_eq!(bad.refusal(), "400 malformed_request, close");
    gateway.stop(Drain::Within);
    let lines: Vec<_> = file
        .lines()
        .into_iter()
        .map(|line| line.replace(|letter: char| letter.is_ascii_digit(), "0").split_once('"').unwrap().1.to_owned())
        .collect();
    assert_eq!(lines, ["GET /lost HTTP/0.0\" 000 000", "GET /x HTTP/0.0\" 000 000"]);
}

#[test]
fn repeated_reads_return_each_of_the_latest_exchanges_once() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let get = |path: &str| assert_eq!(gateway.fetch(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).text(), "ok");
    get("/one");
    get("/two");
    assert_eq!(gateway.logged(2).iter().map(|line| line["path"].clone()).collect::<Vec<_>>(), ["/one", "/two"]);
    let first = gateway.exchanges(&[], 1, false);
    assert_eq!((first.lines.len(), first.missed), (1, 1), "the latest one");
    get("/three");
    wait_until(|| gateway.exchanges(&first.cursors, 10, false).lines.len() == 1);
    let next = gateway.exchanges(&first.cursors, 10, false);
    assert!(next.lines[0].contains("\"/three\""));
    assert_eq!(next.missed, 0);
    assert!(gateway.exchanges(&next.cursors, 10, false).lines.is_empty());
}

#[test]
fn an_exchange_is_counted_once_whatever_its_outcome() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let fetch = || {
        let mut client = gateway.connect();
        client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        client
    };
    let mut answered = fetch();
    let mut server = instance.accept();
    server.read_request();
    server.send(OK);
    assert_eq!(answered.read_answer().text(), "ok");
    let sent = answered.received().lock().len() as u64;
    wait_until(|| gateway.stats().totals.by_class[1] == 1);
    // One client gives up while it waits, another gets half a response, and a third is refused.
    let gone = fetch();
    server.read_request();
    gone.reset();
    assert!(server.is_closed());
    let mut half = fetch();
    let mut server = instance.accept();
    server.read_request();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    server.close();
    assert_eq!(half.read_head().status(), 200);
    assert_eq!(half.read(4), b"half");
    assert!(half.is_closed());
    let refused = gateway.fetch("GET /x HTTP/1.1\r\n\r\n");
    assert_eq!(refused.status(), 400);
    gateway.logged(4);
    let totals = gateway.counted();
    assert_eq!((totals.by_class, totals.abandoned, totals.incomplete), ([0, 2, 0, 1, 0], 1, 1));
    assert_eq!((totals.connections_accepted, totals.retries), (4, 0));
    assert!(totals.bytes_sent > 2 * sent);
    let summary = serde_json::to_value(gateway.summary()).unwrap();
    assert_eq!(summary["requests"], json!(4));
    let page = gateway.metrics(&[]);
    let line = "pylae_requests_total{route=\"all\",service=\"all\",method=\"GET\",status=\"2xx\"} 2";
    assert!(page.lines().any(|found| found == line), "{page}");
}
