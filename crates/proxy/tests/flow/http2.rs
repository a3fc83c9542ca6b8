//! HTTP/2 from clients and to instances, with prior knowledge.

use std::io::{Read, Write};
use std::net::TcpStream;

use http::Request;
use pylae_proxy::Drain;
use serde_json::json;

use crate::support::clock::wait_until;
use crate::support::gateway::Gateway;
use crate::support::http2;
use crate::support::instance::{Instance, OK};
use crate::support::peer::PATIENCE;
use crate::support::plan::Plan;

fn with_http2(plan: Plan) -> Plan {
    let listener = json!({"address": "127.0.0.1:0", "tls": null, "http2": true, "proxy_protocol": null});
    plan.with(json!({"listeners": [listener]}))
}

fn get(path: &str) -> Request<()> {
    Request::builder().uri(format!("http://shop.test{path}")).body(()).unwrap()
}

#[test]
fn streams_of_one_connection_are_exchanges_of_their_own() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&with_http2(Plan::to([&instance])));
    let mut client = http2::Client::connect(gateway.address);
    let first = client.send(get("/first?a=b"), "");
    let mut one = instance.accept();
    let request = one.read_request();
    assert_eq!(request.start, "GET /first?a=b HTTP/1.1");
    assert_eq!((request.single("host"), request.single("via")), (Some("shop.test"), Some("2.0 pylae")));
    let second = client.send(get("/second"), "");
    let mut two = instance.accept();
    assert_eq!(two.read_request().target(), "/second");
    // The second request is answered first.
    two.send("HTTP/1.1 404 Not here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n");
    let answer = client.read(second);
    assert_eq!((answer.status().as_u16(), &**answer.body()), (404, "two"));
    assert!(!answer.headers().contains_key("transfer-encoding"));
    one.send(OK);
    let answer = client.read(first);
    assert_eq!((answer.status().as_u16(), &**answer.body()), (200, "ok"));
    assert_eq!(answer.headers()["content-length"], "2");
    let totals = gateway.counted();
    assert_eq!((totals.by_class, totals.connections_accepted), ([0, 1, 0, 1, 0], 1));
}

#[test]
fn a_body_without_a_length_is_forwarded_in_chunks() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&with_http2(Plan::to([&instance])));
    let mut client = http2::Client::connect(gateway.address);
    let post = Request::builder().method("POST").uri("http://shop.test/x").body(()).unwrap();
    let awaited = client.send(post, "hello");
    assert_eq!(client.read(awaited).body(), "ok");
    let request = instance.request();
    assert_eq!((request.single("transfer-encoding"), &*request.text()), (Some("chunked"), "hello"));
}

#[test]
fn a_drain_finishes_the_streams_and_then_the_connection() {
    let instance = Instance::manual();
    let plan = with_http2(Plan::to([&instance])).with_limits(json!({"drain_timeout": 3600.0}));
    let gateway = Gateway::start(&plan);
    let mut client = http2::Client::connect(gateway.address);
    let awaited = client.send(get("/x"), "");
    let mut server = instance.accept();
    server.read_request();
    let (engine, address) = (&*gateway, gateway.address);
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop(Drain::Within));
        wait_until(|| TcpStream::connect(address).is_err());
        server.send(OK);
        assert_eq!(client.read(awaited).body(), "ok");
        client.wait_for_close();
        stop.join().unwrap();
    });
    assert_eq!(gateway.stats().totals.incomplete, 0);
}

#[test]
fn exchanges_share_a_connection_to_an_instance_that_speaks_http_2() {
    let instance = http2::Instance::start();
    let plan = Plan::to_urls([instance.url()]).with_service(json!({"protocol": "http2"}));
    let gateway = Gateway::start(&plan);
    let mut client = gateway.connect();
    for body in ["one", "two", "three"] {
        client.send(format!("POST /x?y HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        let answer = client.read_answer();
        assert_eq!((&*answer.start, &*answer.text()), ("HTTP/1.1 200 OK", &*format!("/x {body}")));
        assert_eq!(answer.single("transfer-encoding"), Some("chunked"));
    }
    assert_eq!(instance.connections(), 1);
    assert_eq!(instance.requests(), ["one", "two", "three"].map(|body| format!("POST http://shop.test/x?y {body}")));
}

#[test]
fn a_connection_with_an_error_is_closed_only_after_what_is_on_its_way() {
    const FRAME_SIZE_ERROR: [u8; 4] = [0, 0, 0, 6];
    let instance = Instance::ok();
    let gateway = Gateway::start(&with_http2(Plan::to([&instance])));
    let mut client = TcpStream::connect(gateway.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    // The header of a PING that is too short; its payload is still to come.
    client.write_all(b"\0\0\x06\x06\0\0\0\0\0").unwrap();
    let mut said = Vec::new();
    client.read_to_end(&mut said).unwrap();
    // RFC 9113 section 6.8: the last of it is a GOAWAY, with the last stream and the code.
    assert_eq!(said[said.len() - 17..][..9], [0, 0, 8, 7, 0, 0, 0, 0, 0]);
    assert_eq!(said[said.len() - 4..], FRAME_SIZE_ERROR);
    // A connection that is closed already answers the first of them with a reset, so that there is no second.
    for piece in [b"123", b"456"] {
        client.write_all(piece).unwrap();
    }
}
