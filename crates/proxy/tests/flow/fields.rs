//! The fields that the gateway adds, changes and takes away.

use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance};
use crate::support::message::latin1;
use crate::support::plan::Plan;

#[test]
fn a_request_goes_on_with_its_fields_and_with_those_of_the_gateway_behind_them() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&Plan::to([&instance]));
    gateway.ask(
        "GET /a?b=c HTTP/1.1\r\nHost: shop.test:81\r\nX-Request-ID: one\r\naccept: */*\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
    );
    let expected = "GET /a?b=c HTTP/1.1\r\n\
        Host: shop.test:81\r\n\
        accept: */*\r\n\
        X-A: 1\r\n\
        x-a: 2\r\n\
        X-Request-ID: one\r\n\
        X-Forwarded-For: 127.0.0.1\r\n\
        X-Forwarded-Proto: http\r\n\
        X-Forwarded-Host: shop.test:81\r\n\r\n";
    assert_eq!(latin1(&instance.received().concat()), expected);
}

#[test]
fn an_answer_goes_back_as_it_came_with_the_id_of_its_request() {
    let answer =
        "HTTP/1.1 200 All right\r\nX-One: 1\r\nDate: now\r\nServer: s\r\nx-one: 2\r\nContent-Length: 2\r\n\r\nok";
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
        Content-Length: 2\r\n\r\n";
    assert_eq!(client.read_raw_head(), expected);
    assert_eq!(client.read(2), b"ok");
}
