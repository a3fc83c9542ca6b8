//! What is waited for, and how long; by the clock, which the tests move.

use std::time::Duration;

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::instance::{Instance, OK};
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn an_instance_that_does_not_answer_in_time_loses_the_attempt_and_the_client_gets_504() {
    let instance = Instance::held();
    let gateway = Gateway::alone(&Plan::to([&instance]).with_route(json!({"timeout": 3.0, "retries": 0})));
    let mut client = gateway.connect();
    client.send(GET);
    let mut first = instance.accept();
    first.read_request();
    gateway.advance_until(Duration::from_secs(1), || client.is_ready());
    let answer = client.read_answer();
    assert_eq!((answer.status(), &*answer.error(), answer.one("connection")), (504, "gateway_timeout", None));
    assert!(first.at_end());
    // The client's connection goes on.
    client.send(GET);
    let mut second = instance.accept();
    second.read_request();
    second.send(OK);
    assert_eq!(client.read_answer().text(), "ok");
}
