//! Header fields that the gateway adds, changes and removes.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance, OK};
use crate::support::message::{Message, latin1};
use crate::support::plan::Plan;

/// A GET with these lines after its Host.
fn get(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n")
}

/// The names of all fields in order.
fn names(message: &Message) -> Vec<&str> {
    message.fields.iter().map(|(name, _)| &**name).collect()
}

#[test]
fn a_request_is_forwarded_with_its_fields_followed_by_those_of_the_gateway() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    gateway.fetch(
        "GET /a?b=c HTTP/1.1\r\nHost: shop.test:81\r\nX-Request-ID: one\r\naccept: */*\r\n\
         X-A: 1\r\nVia: 1.0 b\r\nx-a: 2\r\n\r\n",
    );
    let expected = "GET /a?b=c HTTP/1.1\r\n\
        Host: shop.test:81\r\n\
        accept: */*\r\n\
        X-A: 1\r\n\
        Via: 1.0 b\r\n\
        x-a: 2\r\n\
        X-Request-ID: one\r\n\
        X-Forwarded-For: 127.0.0.1\r\n\
        X-Forwarded-Proto: http\r\n\
        X-Forwarded-Host: shop.test:81\r\n\
        Via: 1.1 pylae\r\n\r\n";
    assert_eq!(latin1(&instance.received().concat()), expected);
}

#[test]
fn a_response_is_forwarded_with_the_id_of_its_request() {
    let answer = "HTTP/1.1 200 All right\r\nX-One: 1\r\nDate: now\r\nServer: s\r\nx-one: 2\r\n\
        X-Request-ID: forged\r\nContent-Length: 2\r\n\r\nok";
    let instance = Instance::answering([Answer::bytes(answer)]);
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: one\r\n\r\n");
    let expected = "HTTP/1.1 200 All right\r\n\
        X-One: 1\r\n\
        Date: now\r\n\
        Server: s\r\n\
        x-one: 2\r\n\
        X-Request-ID: one\r\n\
        Via: 1.1 pylae\r\n\
        Content-Length: 2\r\n\r\n";
    assert_eq!(client.read_raw_head(), expected);
    assert_eq!(client.read(2), b"ok");
}

#[test]
fn a_request_without_a_valid_id_gets_one_for_both_sides() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut made = Vec::new();
    for sent in ["", "X-Request-ID: \r\n", "X-Request-ID: a b\r\n", "X-Request-ID: <a>\r\n"] {
        let answer = gateway.fetch(get(sent));
        let id = answer.single("x-request-id").unwrap().to_owned();
        assert_eq!(instance.requests().pop().unwrap().single("x-request-id"), Some(&*id));
        assert_eq!((id.len(), id.matches('-').count(), id.as_bytes()[14]), (36, 4, b'4'), "{sent:?}: {id}");
        made.push(id);
    }
    made.dedup();
    assert_eq!(made.len(), 4);
}

#[test]
fn hop_by_hop_fields_of_a_request_end_here() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    gateway.fetch(get(
        "Connection: X-One, keep-alive\r\nConnection: x-two\r\nX-One: 1\r\nX-TWO: 2\r\nKeep-Alive: timeout=5\r\n\
         TE: trailers\r\nTrailer: X-Three\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\
         Proxy: a\r\nProxy-Connection: close\r\nProxy-Authorization: a\r\nX-User-ID: forged\r\n\
         X_User_Role: forged\r\nX-Four: 4\r\n",
    ));
    let kept = ["host", "x-four", "x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via"];
    assert_eq!(names(&instance.request()), kept);
}

#[test]
fn hop_by_hop_fields_of_an_answer_end_here() {
    let instance = Instance::answering([Answer::bytes(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\n\
         Proxy-Authenticate: Basic\r\nTrailer: X\r\nUpgrade: h2c\r\nProxy-Connection: close\r\nTE: trailers\r\n\
         X-Public: 1\r\nContent-Length: 2\r\n\r\nok",
    )]);
    let gateway = Gateway::start(&Plan::to([&instance]));
    let answer = gateway.fetch(get(""));
    assert_eq!(names(&answer), ["x-public", "x-request-id", "via", "content-length"]);
}

#[test]
fn a_field_that_others_rely_on_cannot_be_removed_by_connection() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    for name in ["Authorization", "Cookie", "Host", "X-Forwarded-For", "X-Request-ID", "X-User-ID", "traceparent"] {
        let mut client = gateway.connect();
        client.send(get(&format!("Connection: close, {name}\r\n")));
        assert_eq!(client.read_answer().refusal(), "400 malformed_request, close", "{name}");
    }
    assert_eq!(instance.connections(), 0);
}

#[test]
fn forwarding_fields_are_trusted_from_trusted_proxies_only() {
    let instance = Instance::ok();
    let said = get("X-Forwarded-For: 10.9.8.7\r\nx-forwarded-for: 10.9.8.6, 10.9.8.5\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: outside.test\r\nX-Forwarded-Prefix: /shop\r\nForwarded: for=10.9.8.7\r\n\
         X-Real-IP: 10.9.8.7\r\n");
    let gateway = Gateway::start(&Plan::to([&instance]));
    gateway.fetch(&said);
    let request = instance.requests().pop().unwrap();
    let found = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map(|name| request.single(name));
    assert_eq!(found, [Some("127.0.0.1"), Some("http"), Some("shop.test")]);
    assert!(!request.fields.iter().any(|(_, value)| value.contains("10.9.8") || value == "/shop"), "{request:?}");

    let gateway = Gateway::start(&Plan::to([&instance]).with(json!({"trusted_proxies": ["127.0.0.1/32"]})));
    gateway.fetch(&said);
    let request = instance.requests().pop().unwrap();
    assert_eq!(request.single("x-forwarded-for"), Some("10.9.8.7, 10.9.8.6, 10.9.8.5, 127.0.0.1"));
    let found =
        ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix", "forwarded"].map(|name| request.single(name));
    assert_eq!(found, [Some("https"), Some("outside.test"), Some("/shop"), Some("for=10.9.8.7")]);
    // The gateway determined the client's address. Host is not a forwarding field.
    assert_eq!(request.single("host"), Some("shop.test"));
}

#[test]
fn an_instance_is_sent_the_host_of_the_client_or_its_own() {
    let instance = Instance::ok();
    let authority = instance.authority();
    for (service, route, host) in [
        (json!(null), json!(null), "shop.test"),
        (json!(false), json!(null), &*authority),
        (json!(false), json!(true), "shop.test"),
        (json!(true), json!(false), &*authority),
    ] {
        let plan = Plan::to([&instance]).with_service(json!({"preserve_host": service}));
        let gateway = Gateway::start(&plan.with_route(json!({"preserve_host": route})));
        gateway.fetch(get("").replace("shop.test", "Shop.TEST:80"));
        let request = instance.requests().pop().unwrap();
        let expected = if host == authority { host.to_owned() } else { "shop.test:80".to_owned() };
        assert_eq!(request.single("host"), Some(&*expected));
        assert_eq!(request.single("x-forwarded-host"), Some("shop.test:80"));
    }
}

#[test]
fn interim_responses_are_forwarded_where_the_client_accepts_them() {
    let hints =
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let instance = Instance::answering([Answer::bytes([hints.as_bytes(), OK].concat())]);
    let gateway = Gateway::start(&Plan::to([&instance]));
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(get(""));
        let hints = client.read_answer();
        assert_eq!((hints.status(), names(&hints)), (103, vec!["link", "via"]));
        // The gateway sends 100 itself, if its client expects it.
        assert_eq!(client.read_answer().status(), 102);
        let answer = client.read_answer();
        assert_eq!((answer.status(), answer.single("link"), &*answer.text()), (200, None, "ok"));
    }
    assert_eq!(instance.connections(), 1);
}

#[test]
fn addresses_of_an_instance_are_rewritten_to_those_that_the_client_knows() {
    let instance = Instance::manual();
    let route = json!({"match": {"path": {"kind": "prefix", "value": "/api"}}, "strip_prefix": "/api"});
    let gateway =
        Gateway::start(&Plan::to([&instance]).with_route(route).with_service(json!({"preserve_host": false})));
    let own = instance.url();
    let mut client = gateway.connect();
    client.send("GET /api/a HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let mut peer = instance.accept();
    for (said, known) in [
        (format!("{own}/b?c"), "http://shop.test/api/b?c"),
        ("/b".to_owned(), "/api/b"),
        ("b".to_owned(), "b"),
        ("https://elsewhere.test/b".to_owned(), "https://elsewhere.test/b"),
    ] {
        peer.read_request();
        peer.send(format!("HTTP/1.1 302 Found\r\nLocation: {said}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.read_answer().single("location"), Some(known));
        client.send("GET /api/a HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    }
}
