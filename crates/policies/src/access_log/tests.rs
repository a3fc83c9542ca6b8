use std::sync::Arc;

use pylae_core::User;
use pylae_http::HeadLimits;
use serde_json::{Value, json};

use super::*;
use crate::PolicyShared;
use crate::authentication::Authenticators;

fn log(config: &Value) -> AccessLog {
    let shared = Arc::new(PolicyShared::new(1));
    let auth = Authenticators::default();
    let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
    AccessLog::build(serde_json::from_value(config.clone()).unwrap(), &parts).unwrap()
}

fn config(format: &str) -> Value {
    json!({"output": "stdout", "format": format, "request_headers": [], "response_headers": [], "mask": ["Pin"]})
}

fn exchange(head: &str) -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.request.buffer.extend_from_slice(head.as_bytes());
    let limits = HeadLimits { head: 65536, target: 8192, fields: 100 };
    assert!(exchange.request.head.parse(&exchange.request.buffer, &limits).unwrap());
    pylae_core::request::admit::admit(&mut exchange, |_| false, 1).unwrap();
    exchange.times.wall = Duration::from_millis(951_826_553_007);
    exchange.response.status = 200;
    exchange
}

fn line(log: &AccessLog, exchange: &Exchange) -> String {
    let ending = Completion {
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
    exchange.times.upstream = Duration::from_micros(12);
    exchange.response.code = Some("rate_limited");
    exchange.request.user = Some(Arc::new(User { id: "u\u{e9}\n".into(), ..User::default() }));
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
    exchange.response.edits.set(b"Set-Cookie", b"s3cret").unwrap();
    exchange.response.edits.set(b"X-Served-By", b"pylae").unwrap();
    let text = line(&log(&config), &exchange);
    assert!(!text.contains("s3cret"), "{text}");
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let masked = json!({"authorization": "***", "Cookie": "***", "X-Api-Key": "***", "pin": "***", "accept": "*/*", "x-none": null});
    assert_eq!(parsed["request_headers"], masked);
    assert_eq!(parsed["response_headers"], json!({"set-cookie": "***", "x-served-by": "pylae"}));
}

#[test]
fn values_of_any_field_are_masked_where_they_hold_a_parameter() {
    let mut config = config("json");
    config["request_headers"] = json!(["X-Original-Url", "x-note"]);
    config["response_headers"] = json!(["location", "link"]);
    config["mask"] = json!(["user-agent", "pin"]);
    let mut exchange = exchange(
        "GET /?to=/a?token=s3cret&pin=s3cret;s3cret&a=1;token=s3cret HTTP/1.1\r\nHost: a\r\nUser-Agent: s3cret\r\n\
         X-Original-URL: /x?a=1&token=s3cret\r\nX-Note: token=1\r\nReferer: https://a/#access_token=s3cret&b\r\n\r\n",
    );
    exchange.response.edits.set(b"Location", b"https://a.example/cb#id_token=s3cret&state=1").unwrap();
    exchange.response.edits.set(b"Link", b"</next?token=s3cret>; rel=next").unwrap();
    let log = log(&config);
    let text = line(&log, &exchange);
    assert!(!text.contains("s3cret"), "{text}");
    let parsed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed["query"], "to=/a?token=***&pin=***&a=1;token=***");
    assert_eq!((&parsed["user_agent"], &parsed["referer"]), (&json!("***"), &json!("https://a/#access_token=***&b")));
    assert_eq!(parsed["request_headers"], json!({"X-Original-Url": "/x?a=1&token=***", "x-note": "token=1"}));
    let shown = json!({"location": "https://a.example/cb#id_token=***&state=1", "link": "</next?token=***"});
    assert_eq!(parsed["response_headers"], shown);
    let combined = AccessLog { config: Config { format: Format::Combined, ..log.config.clone() }, ..log };
    assert!(!line(&combined, &exchange).contains("s3cret"));
}

#[test]
fn who_looks_without_a_log_sees_no_more_than_the_logs_show() {
    let shared = Arc::new(PolicyShared::new(1));
    let auth = Authenticators::default();
    let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
    let logs = [
        log(&config("json")),
        log(&json!({
            "output": "stdout", "format": "common", "request_headers": [], "response_headers": [], "mask": ["Session", "Referer"]
        })),
    ];
    let exchange = exchange("GET /?pin=1&session=2&token=3 HTTP/1.1\r\nHost: a\r\nReferer: b\r\n\r\n");
    let parsed: Value = serde_json::from_str(&line(&AccessLog::plain(&parts, logs.iter()), &exchange)).unwrap();
    assert_eq!((&parsed["query"], &parsed["referer"]), (&json!("pin=***&session=***&token=***"), &json!("***")));
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

#[test]
fn a_json_line_has_the_trace_if_there_is_one() {
    let mut exchange = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let log = log(&config("json"));
    assert!(!line(&log, &exchange).contains("trace_id"));
    (exchange.trace_context.trace_id, exchange.trace_context.span_id) = (0xAB, 0xC);
    let parsed: Value = serde_json::from_str(&line(&log, &exchange)).unwrap();
    assert_eq!(parsed["trace_id"], json!(format!("{:032x}", 0xAB)));
    assert_eq!(parsed["span_id"], json!("000000000000000c"));
}
