//! CORS: preflights are answered by the gateway, and responses get the CORS fields.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::instance::{Answer, Instance};
use crate::support::plan::Plan;

/// A plan with a route for PUT only, which one origin may call.
fn plan(instance: &Instance) -> Plan {
    let cors = json!({
        "origins": ["https://app.test"], "methods": ["PUT"], "headers": ["X-Token"], "expose": ["X-Total"],
        "credentials": true, "max_age": 600.0,
    });
    Plan::to([instance]).with_route(json!({"match": {"methods": ["PUT"]}, "policies": {"cors": cors}}))
}

fn preflight(origin: &str, method: &str, fields: &str) -> String {
    format!(
        "OPTIONS /x HTTP/1.1\r\nHost: a\r\nX-Request-ID: one\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: {method}\r\nAccess-Control-Request-Headers: {fields}\r\n\r\n"
    )
}

#[test]
fn a_preflight_is_answered_by_the_route_of_the_request_that_it_announces() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&plan(&instance));
    let answer = gateway.fetch(preflight("https://app.test", "PUT", "x-token"));
    assert_eq!(answer.start, "HTTP/1.1 204 No Content");
    let mut fields: Vec<_> = answer.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fields.retain(|field| !field.starts_with("date: "));
    assert_eq!(
        fields,
        [
            "access-control-allow-methods: PUT",
            "access-control-allow-headers: X-Token",
            "access-control-max-age: 600",
            "vary: Access-Control-Request-Method, Access-Control-Request-Headers",
            "access-control-allow-origin: https://app.test",
            "access-control-allow-credentials: true",
            "access-control-expose-headers: X-Total",
            "vary: Origin",
            "x-request-id: one",
        ]
    );
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_refused_preflight_gets_no_cors_fields() {
    let instance = Instance::ok();
    let gateway = Gateway::start(&plan(&instance));
    for (origin, method, fields, refusal) in [
        ("https://evil.test", "PUT", "x-token", "403 cors_refused"),
        ("https://app.test.evil.test", "PUT", "x-token", "403 cors_refused"),
        ("https://app.test", "PUT", "x-other", "403 cors_refused"),
        // No route takes it, so there is no policy to answer it.
        ("https://app.test", "DELETE", "x-token", "405 method_not_allowed"),
    ] {
        let answer = gateway.fetch(preflight(origin, method, fields));
        assert_eq!(answer.refusal(), refusal, "{origin} {method} {fields}");
        assert!(!answer.has("access-control-allow-methods") && !answer.has("access-control-allow-headers"));
        let read = (origin == "https://app.test" && refusal.starts_with("403")).then_some(origin);
        assert_eq!(answer.single("access-control-allow-origin"), read, "whether the page may read the refusal");
    }
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_response_gets_the_gateways_cors_fields_instead_of_the_instances() {
    let told = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Private-Network: true\r\nVary: Accept\r\n";
    let instance =
        Instance::answering([Answer::bytes(format!("HTTP/1.1 200 OK\r\n{told}Content-Length: 2\r\n\r\nok"))]);
    let gateway = Gateway::start(&plan(&instance));
    for (origin, allowed) in [("https://app.test", Some("https://app.test")), ("https://evil.test", None)] {
        let answer =
            gateway.fetch(format!("PUT /x HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!((answer.status(), answer.single("access-control-allow-origin")), (200, allowed));
        assert_eq!(answer.single("access-control-allow-private-network"), None);
        assert_eq!(answer.all("vary").join(", "), "Accept, Origin");
        let expected = allowed.map(|_| "X-Total");
        assert_eq!(answer.single("access-control-expose-headers"), expected);
    }
}
