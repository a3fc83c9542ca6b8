//! WebSocket: the handshake, the frames that pass, and how a tunnel ends.

use std::time::Duration;

use serde_json::json;

use crate::support::clock::wait_until;
use crate::support::frames::{CLOSE, GRANTED, HANDSHAKE, TEXT, bare, closing, masked, read_frame};
use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK};
use crate::support::peer::Peer;
use crate::support::plan::Plan;

fn plan(instance: &Instance) -> Plan {
    let websocket = json!({"idle_timeout": 60.0, "max_frame": null, "max_message": 10});
    Plan::to([instance]).with_route(json!({"websocket": websocket}))
}

/// Both ends of a tunnel, behind the handshake.
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
fn what_an_instance_grants_goes_back_and_then_bytes_pass_both_ways_as_they_are() {
    let instance = Instance::held();
    let gateway = Gateway::start(&plan(&instance));
    let mut client = gateway.connect();
    // What follows the handshake at once belongs to the tunnel.
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
    server.send([GRANTED.as_bytes(), &bare(TEXT, b"hello")].concat());
    assert_eq!(
        client.read_raw_head(),
        "HTTP/1.1 101 Switching Protocols\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         X-Request-ID: one\r\n\
         Via: 1.1 pylae\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\r\n"
    );
    assert_eq!(client.read(7), bare(TEXT, b"hello"));
    assert_eq!(server.read(11), masked(TEXT, b"first"));
    let totals = gateway.stats().totals;
    assert_eq!((totals.tunnels, totals.in_flight), (1, 0), "it is no request in flight any more");
    server.send(bare(CLOSE, &closing(1000, "bye")));
    assert_eq!(read_frame(&mut client), "server 8 1000 bye");
    client.send(masked(CLOSE, &closing(1000, "")));
    assert_eq!(read_frame(&mut server), "client 8 1000 ");
    server.close();
    assert!(client.at_end());
    let expected = json!({"status": 101, "code": null, "complete": true, "bytes_in": 11 + 8});
    assert_eq!(gateway.logged_once(&["status", "code", "complete", "bytes_in"]), expected);
    assert_eq!(gateway.stats().totals.tunnels, 0);
}

#[test]
fn a_handshake_that_is_no_good_is_refused_before_any_instance_sees_it() {
    let instance = Instance::held();
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
        assert_eq!(answer.one("sec-websocket-version"), version);
    }
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_route_without_websocket_takes_the_request_for_an_ordinary_one() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    assert_eq!(gateway.ask(HANDSHAKE).text(), "ok");
    let request = instance.request();
    assert_eq!((request.one("upgrade"), request.one("connection")), (None, None));
}

#[test]
fn an_instance_may_refuse_in_its_own_words_and_the_connection_goes_on() {
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
fn a_101_that_does_not_prove_that_the_handshake_was_read_is_a_broken_answer() {
    for wrong in [
        GRANTED.replace("s3pPLMBi", "xxxxxxxx"),
        GRANTED.replace("Upgrade: websocket\r\n", ""),
        GRANTED.replace("Sec-", "Sec-WebSocket-Protocol: chat\r\nSec-"),
        GRANTED.replace("Sec-", "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-"),
    ] {
        let instance = Instance::answering([Answer::bytes(&wrong)]);
        let gateway = Gateway::start(&plan(&instance));
        assert_eq!(gateway.ask(HANDSHAKE).refusal(), "502 bad_gateway", "{wrong}");
        assert_eq!(instance.requests().len(), 1, "a handshake is sent once");
    }
}

#[test]
fn a_client_that_breaks_a_rule_is_told_so_and_the_instance_too() {
    let too_large = masked(TEXT, b"twelve bytes");
    for (frame, close, code) in [
        (bare(TEXT, b"bare"), "8 1002 a client's frame is not masked", "websocket_protocol_error"),
        (masked(3, b""), "8 1002 a reserved opcode", "websocket_protocol_error"),
        (too_large, "8 1009 a message is larger than allowed", "websocket_too_large"),
    ] {
        let instance = Instance::held();
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
fn an_instance_that_breaks_off_ends_the_tunnel_behind_what_it_sent() {
    let instance = Instance::held();
    let gateway = Gateway::start(&plan(&instance));
    let (mut client, mut server) = open(&gateway, &instance);
    server.send(bare(TEXT, b"last"));
    server.close();
    assert_eq!(client.read_all(), bare(TEXT, b"last"));
    wait_until(|| gateway.stats().totals.tunnels == 0);
}

#[test]
fn a_drain_says_goodbye_to_both_sides_and_ends_when_they_have_answered() {
    let instance = Instance::held();
    let gateway = Gateway::start(&plan(&instance).with_limits(json!({"drain_timeout": 3600.0})));
    let (mut client, mut server) = open(&gateway, &instance);
    let engine = &*gateway;
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop(true));
        assert_eq!(read_frame(&mut client), "server 8 1001 the gateway is going away");
        assert_eq!(read_frame(&mut server), "client 8 1001 the gateway is going away");
        assert!(!stop.is_finished());
        client.send(masked(CLOSE, &closing(1001, "")));
        server.send(bare(CLOSE, &closing(1001, "")));
        server.close();
        assert!(client.at_end());
        drop(client);
        stop.join().unwrap();
    });
    assert_eq!(gateway.logged_once(&["status", "code"]), json!({"status": 101, "code": "draining"}));
}

#[test]
fn a_tunnel_without_a_word_from_either_side_is_closed_in_time() {
    let instance = Instance::held();
    let gateway = Gateway::alone(&plan(&instance));
    let (mut client, mut server) = open(&gateway, &instance);
    // One side that speaks is enough.
    for _ in 0..3 {
        gateway.advance(Duration::from_secs(40));
        server.send(bare(TEXT, b"tick"));
        assert_eq!(read_frame(&mut client), "server 1 tick");
    }
    gateway.advance_until(Duration::from_secs(30), || client.is_ready());
    assert_eq!(read_frame(&mut client), "server 8 1001 idle for too long");
    assert_eq!(read_frame(&mut server), "client 8 1001 idle for too long");
    // Nobody answers: it is cut off.
    gateway.advance_until(Duration::from_secs(5), || client.is_ready());
    assert!(client.at_end());
    assert!(server.at_end());
    assert_eq!(gateway.logged_once(&["status", "code"]), json!({"status": 101, "code": "websocket_idle"}));
}
