use std::sync::Arc;

use pylae_core::User;
use pylae_http::HeadLimits;
use serde_json::{Value, json};

use super::*;
use crate::Shared;
use crate::authentication::Authenticators;

fn log(config: &Value) -> AccessLog {
    let shared = Arc::new(Shared::new(1));
    let auth = Authenticators::default();
    let parts = Parts { route: "r", params: &[], shared: &shared, auth: &auth };
    AccessLog::build(serde_json::from_value(config.clone()).unwrap(), &parts).unwrap()
}

fn config(format: &str) -> Value {
    json!({"output": "stdout", "format": format, "request_headers": [], "response_headers": [], "mask": ["Pin"]})
}

fn exchange(head: &str) -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.buffer.extend_from_slice(head.as_bytes());
    let limits = HeadLimits { head: 65536, target: 8192, fields: 100 };
    assert!(exchange.head.parse(&exchange.buffer, &limits).unwrap());
    pylae_core::admit::admit(&mut exchange, |_| false, 1).unwrap();
    exchange.wall = Duration::from_millis(951_826_553_007);
    exchange.status = 200;
    exchange
}

fn line(log: &AccessLog, exchange: &Exchange) -> String {
    let ending = Ending {
        route: Some("users"),
        service: Some("user-service"),
        instance: Some("http://10.0.0.1:80"),
        bytes_in: 5,
        bytes_out: 180,
        complete: true,
        duration: Duration::from_micros(1_002_003),
    };
    let mut out = Vec::new();
    log.write(exchange, &ending, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    text
}

#[test]
fn a_json_line_has_every_field() {
    let mut exchange = exchange(
        "GET /users/7?a=1&token=xyz&%74oken=abc&PIN=99&flag HTTP/1.1\r\nHost: api.example.org:80\r\nX-Request-ID: r-1\r\nUser-Agent: a\"b\\c\r\nReferer: https://a.example/?password=1&b=2\r\n\r\n",
    );
    exchange.attempts = 3;
    exchange.upstream = Duration::from_micros(12);
    exchange.code = Some("rate_limited");
    exchange.user = Some(Arc::new(User { id: "u\u{e9}\n".into(), ..User::default() }));
    let parsed: Value = serde_json::from_str(&line(&log(&config("json")), &exchange)).unwrap();
    let expected = json!({
        "timestamp": "2000-02-29T12:15:53.007Z", "request_id": "r-1", "client": "0.0.0.0", "user": "ué\n",
        "method": "GET", "host": "api.example.org:80", "path": "/users/7",
        "query": "a=1&token=***&%74oken=***&PIN=***&flag", "route": "users", "service": "user-service",
        "instance": "http://10.0.0.1:80", "status": 200, "code": "rate_limited", "bytes_in": 5, "bytes_out": 180,
        "retries": 2, "complete": true, "duration": 1.002_003, "upstream_time": 0.000_012, "protocol": "HTTP/1.1",
        "user_agent": "a\"b\\c", "referer": "https://a.example/?password=***&b=2",
    });
    assert_eq!(parsed, expected);
}

#[test]
fn credentials_are_masked_wherever_they_are_asked_for() {
    let mut config = config("json");
    config["request_headers"] = json!(["authorization", "Cookie", "X-Api-Key", "pin", "accept", "x-none"]);
    config["response_headers"] = json!(["set-cookie", "x-served-by"]);
    let mut exchange = exchange(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\nCookie: s3cret\r\nX-API-Key: s3cret\r\nPin: s3cret\r\nAccept: */*\r\n\r\n",
    );
    exchange.response_edits.set(b"Set-Cookie", b"s3cret").unwrap();
    exchange.response_edits.set(b"X-Served-By", b"pylae").unwrap();
    let text = line(&log(&config), &exchange);
    assert!(!text.contains("s3cret"), "{text}");
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let masked = json!({"authorization": "***", "Cookie": "***", "X-Api-Key": "***", "pin": "***", "accept": "*/*", "x-none": null});
    assert_eq!(parsed["request_headers"], masked);
    assert_eq!(parsed["response_headers"], json!({"set-cookie": "***", "x-served-by": "pylae"}));
}

#[test]
fn the_common_formats_cannot_be_broken_out_of() {
    let exchange = exchange("GET /a?token=x&b=%22 HTTP/1.0\r\nHost: a\r\nUser-Agent: a\" 200 1 \"\\\tb\u{e9}\r\n\r\n");
    let common = "0.0.0.0 - - [29/Feb/2000:12:15:53 +0000] \"GET /a?token=***&b=%22 HTTP/1.0\" 200 180";
    assert_eq!(line(&log(&config("common")), &exchange), format!("{common}\n"));
    let combined = format!("{common} \"-\" \"a\\\" 200 1 \\\"\\\\\\x09b\\xc3\\xa9\"\n");
    assert_eq!(line(&log(&config("combined")), &exchange), combined);
}

#[test]
fn a_request_that_could_not_be_read_has_a_line_too() {
    let log = log(&config("json"));
    let parsed: Value = serde_json::from_str(&line(&log, &Exchange::new(0))).unwrap();
    assert_eq!(parsed["method"], Value::Null);
    assert_eq!(parsed["path"], Value::Null);
    assert_eq!(parsed["upstream_time"], Value::Null);
    assert_eq!(parsed["instance"], Value::Null);
}
