//! WebSocket: the handshake, relayed frames and the end of a tunnel.

use std::time::Duration;

use pylae_proxy::Drain;
use serde_json::json;

use crate::support::clock::wait_until;
use crate::support::frames::{CLOSE, GRANTED, HANDSHAKE, TEXT, closing, masked, read_frame, unmasked};
use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK};
use crate::support::peer::Peer;
use crate::support::plan::Plan;

fn plan(instance: &Instance) -> Plan {
    let websocket = json!({"idle_timeout": 60.0, "max_frame": null, "max_message": 10});
    Plan::to([instance]).with_route(json!({"websocket": websocket}))
}

/// Both ends of a tunnel after the handshake.
fn open(gateway: &Gateway, instance: &Instance) -> (Peer, Peer) {
    let mut client = gateway.connect();
    client.send(HANDSHAKE);
    let mut server = instance.accept();
    server.read_request();
    server.send(GRANTED);
    assert_eq!(client.read_answer().status(), 101);
    (client, server)
}

#[test]
fn a_granted_handshake_is_forwarded_and_bytes_are_relayed_both_ways_unchanged() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&plan(&instance));
    let mut client = gateway.connect();
    // Bytes right after the handshake belong to the tunnel.
    client.send([HANDSHAKE.as_bytes(), &masked(TEXT, b"first")].concat());
    let mut server = instance.accept();
    let request = server.read_raw_head();
    assert_eq!(
        request,
        "GET /chat HTTP/1.1\r\n\
         Host: a\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         X-Request-ID: one\r\n\
         X-Forwarded-For: 127.0.0.1\r\n\
         X-Forwarded-Proto: http\r\n\
         X-Forwarded-Host: a\r\n\
         Via: 1.1 pylae\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\r\n"
    );
    server.send([GRANTED.as_bytes(), &unmasked(TEXT, b"hello")].concat());
    assert_eq!(
        client.read_raw_head(),
        "HTTP/1.1 101 Switching Protocols\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         X-Request-ID: one\r\n\
         Via: 1.1 pylae\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\r\n"
    );
    assert_eq!(client.read(7), unmasked(TEXT, b"hello"));
    assert_eq!(server.read(11), masked(TEXT, b"first"));
    let totals = gateway.stats().totals;
    assert_eq!((totals.tunnels, totals.in_flight), (1, 0), "it is no request in flight any more");
    server.send(unmasked(CLOSE, &closing(1000, "bye")));
    assert_eq!(read_frame(&mut client), "server 8 1000 bye");
    client.send(masked(CLOSE, &closing(1000, "")));
    assert_eq!(read_frame(&mut server), "client 8 1000 ");
    server.close();
    assert!(client.is_closed());
    let expected = json!({"status": 101, "code": null, "complete": true, "bytes_in": 11 + 8});
    assert_eq!(gateway.logged_once(&["status", "code", "complete", "bytes_in"]), expected);
    assert_eq!(gateway.stats().totals.tunnels, 0);
}

#[test]
fn an_invalid_handshake_is_refused_before_it_reaches_an_instance() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&plan(&instance));
    for (wrong, right, refusal) in [
        ("Version: 13", "Version: 8", "426 websocket_version"),
        ("ZQ==", "ZQ=", "400 malformed_request"),
        ("X-Request-ID: one", "Content-Length: 1", "400 malformed_request"),
    ] {
        let mut client = gateway.connect();
        client.send(HANDSHAKE.replace(wrong, right));
        let answer = client.read_answer();
        assert!(answer.refusal().starts_with(refusal), "{}", answer.refusal());
        let version = refusal.starts_with("426").then_some("13");
        assert_eq!(answer.single("sec-websocket-version"), version);
    }
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_route_without_websocket_takes_the_request_for_an_ordinary_one() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    assert_eq!(gateway.fetch(HANDSHAKE).text(), "ok");
    let request = instance.request();
    assert_eq!((request.single("upgrade"), request.single("connection")), (None, None));
}

#[test]
fn an_instance_may_refuse_a_handshake_with_its_own_response_and_the_connection_is_kept() {
    let refusal = "HTTP/1.1 403 Not you\r\nContent-Length: 2\r\n\r\nno";
    let instance = Instance::answering([Answer::bytes(refusal), Answer::bytes(OK)]);
    let gateway = Gateway::start(&plan(&instance));
    let mut client = gateway.connect();
    client.send(HANDSHAKE);
    let answer = client.read_answer();
    assert_eq!((&*answer.start, &*answer.text()), ("HTTP/1.1 403 Not you", "no"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_answer().text(), "ok");
    assert_eq!(instance.connections(), 2, "what was asked to switch is not used again");
}

#[test]
fn a_101_without_a_valid_accept_key_is_an_invalid_response() {
    for wrong in [
        GRANTED.replace("s3pPLMBi", "xxxxxxxx"),
        GRANTED.replace("Upgrade: websocket\r\n", ""),
        GRANTED.replace("Sec-", "Sec-WebSocket-Protocol: chat\r\nSec-"),
        GRANTED.replace("Sec-", "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-"),
    ] {
        let instance = Instance::answering([Answer::bytes(&wrong)]);
        let gateway = Gateway::start(&plan(&instance));
        assert_eq!(gateway.fetch(HANDSHAKE).refusal(), "502 bad_gateway", "{wrong}");
        assert_eq!(instance.requests().len(), 1, "a handshake is sent once");
    }
}

#[test]
fn a_client_that_violates_the_protocol_and_its_instance_get_a_close_frame() {
    let too_large = masked(TEXT, b"twelve bytes");
    for (frame, close, code) in [
        (unmasked(TEXT, b"bare"), "8 1002 a client's frame is not masked", "websocket_protocol_error"),
        (masked(3, b""), "8 1002 a reserved opcode", "websocket_protocol_error"),
        (too_large, "8 1009 a message is larger than allowed", "websocket_too_large"),
    ] {
        let instance = Instance::manual();
        let gateway = Gateway::start(&plan(&instance));
        let (mut client, mut server) = open(&gateway, &instance);
        client.send([masked(TEXT, b"good"), frame, masked(TEXT, b"unread")].concat());
        assert_eq!(read_frame(&mut server), "client 1 good");
        assert_eq!(read_frame(&mut server), format!("client {close}"));
        server.close();
        assert_eq!(read_frame(&mut client), format!("server {close}"));
        drop(client);
        let expected = json!({"status": 101, "code": code});
        assert_eq!(gateway.logged_once(&["status", "code"]), expected);
    }
}

#[test]
fn an_instance_that_disconnects_ends_the_tunnel_after_its_data() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&plan(&instance));
    let (mut client, mut server) = open(&gateway, &instance);
    server.send(unmasked(TEXT, b"last"));
    server.close();
    assert_eq!(client.read_all(), unmasked(TEXT, b"last"));
    wait_until(|| gateway.stats().totals.tunnels == 0);
}

#[test]
fn a_drain_sends_both_sides_a_close_frame_and_ends_when_they_have_answered() {
    let instance = Instance::manual();
    let gateway = Gateway::start(&plan(&instance).with_limits(json!({"drain_timeout": 3600.0})));
    let (mut client, mut server) = open(&gateway, &instance);
    let engine = &*gateway;
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop(Drain::Within));
        assert_eq!(read_frame(&mut client), "server 8 1001 the gateway is going away");
        assert_eq!(read_frame(&mut server), "client 8 1001 the gateway is going away");
        assert!(!stop.is_finished());
        client.send(masked(CLOSE, &closing(1001, "")));
        server.send(unmasked(CLOSE, &closing(1001, "")));
        server.close();
        assert!(client.is_closed());
        drop(client);
        stop.join().unwrap();
    });
    assert_eq!(gateway.logged_once(&["status", "code"]), json!({"status": 101, "code": "draining"}));
}

#[test]
fn an_idle_tunnel_is_closed_after_its_timeout() {
    let instance = Instance::manual();
    let gateway = Gateway::alone(&plan(&instance));
    let (mut client, mut server) = open(&gateway, &instance);
    // Traffic of one side is enough.
    for _ in 0..3 {
        gateway.advance(Duration::from_secs(40));
        server.send(unmasked(TEXT, b"tick"));
        assert_eq!(read_frame(&mut client), "server 1 tick");
    }
    gateway.advance_until(Duration::from_secs(30), || client.is_ready());
    assert_eq!(read_frame(&mut client), "server 8 1001 idle for too long");
    assert_eq!(read_frame(&mut server), "client 8 1001 idle for too long");
    // No Close frame is answered: the tunnel is cut off.
    gateway.advance_until(Duration::from_secs(5), || client.is_ready());
    assert!(client.is_closed());
    assert!(server.is_closed());
    assert_eq!(gateway.logged_once(&["status", "code"]), json!({"status": 101, "code": "websocket_idle"}));
}
