use std::time::Duration;

use pylae_core::Instant;
use pylae_core::cache::CacheOutcome;
use pylae_core::request::admit;
use pylae_core::service::AttemptOutcome;
use pylae_core::trace::context::{TraceContext, TraceFlags};
use pylae_core::trace::{AttemptStep, ConnectionKind, HookHalf, HookPlace, HookStep, WaitedFor};
use pylae_http::HeadLimits;
use pylae_policies::access_log::Completion;

use super::*;
use crate::telemetry::otlp::reader::{WireField, bytes_of, fields, number_of};

const LIMITS: HeadLimits = HeadLimits { head: 65536, target: 8192, fields: 100 };

/// A sampled request at one second of the engine's time, in the trace 7 below the span 8 of its client.
fn recorded(head: &str) -> Exchange {
    let mut exchange = Exchange::new(0);
    exchange.request.buffer.extend_from_slice(head.as_bytes());
    assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &LIMITS), Ok(true));
    admit::admit(&mut exchange, |_| false, 1).unwrap();
    exchange.times.started = Instant::from_nanos(1_000_000_000);
    exchange.recorded = true;
    exchange.response.status = 200;
    let flags = TraceFlags::of(TraceFlags::SAMPLED);
    exchange.trace_context =
        TraceContext { trace_id: 7, parent_id: 8, span_id: 9, sampled: true, flags, ..TraceContext::default() };
    exchange
}

fn completion(complete: bool) -> Completion<'static> {
    Completion {
        route: Some("all"),
        complete,
        duration: Duration::from_millis(3),
        bytes_out: 5,
        ..Completion::default()
    }
}

/// A span as a collector reads it.
struct Read {
    name: String,
    kind: u64,
    ids: [Vec<u8>; 3],
    state: Option<String>,
    times: [u64; 2],
    flags: u64,
    failed: bool,
    attributes: Vec<(String, String)>,
}

impl Read {
    fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn attribute(message: &[u8]) -> (String, String) {
    let pair = fields(message);
    let value = fields(bytes_of(&pair, 2).unwrap());
    let shown = match value[0] {
        (1, WireField::Bytes(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
        (_, WireField::Number(number)) => number.to_string(),
        (_, WireField::Bytes(_)) => unreachable!("no attribute has another type"),
    };
    (text(bytes_of(&pair, 1)).unwrap(), shown)
}

fn read(message: &[u8]) -> Read {
    let span = fields(message);
    let id = |number| bytes_of(&span, number).unwrap_or_default().to_vec();
    let attributes = span.iter().filter_map(|(number, value)| match value {
        WireField::Bytes(bytes) if *number == 9 => Some(attribute(bytes)),
        _ => None,
    });
    Read {
        name: text(bytes_of(&span, 5)).unwrap(),
        kind: number_of(&span, 6).unwrap(),
        ids: [id(1), id(2), id(4)],
        state: text(bytes_of(&span, 3)),
        times: [number_of(&span, 7).unwrap(), number_of(&span, 8).unwrap()],
        flags: number_of(&span, 16).unwrap(),
        failed: bytes_of(&span, 15).is_some_and(|status| number_of(&fields(status), 3) == Some(2)),
        attributes: attributes.collect(),
    }
}

fn written(exchange: &Exchange, completion: &Completion<'_>) -> Vec<Read> {
    let scope = SpanScope {
        root: SpanRoot::Request,
        exchange,
        completion,
        peer: &exchange.request.origin.peer.ip().to_string(),
        route: None,
        service: None,
        hooks: None,
        early_hooks: None,
    };
    let mut out = Vec::new();
    let mut next = 100;
    scope.write(&mut out, || {
        next += 1;
        next
    });
    let spans = fields(&out).into_iter().map(|(number, value)| match value {
        WireField::Bytes(bytes) if number == 2 => read(bytes),
        _ => unreachable!("only spans are written"),
    });
    spans.collect()
}

#[test]
fn the_span_of_an_exchange_follows_the_conventions() {
    let exchange = recorded(
        "GET /a/b?token=secret HTTP/1.1\r\nHost: Api.example:8443\r\nUser-Agent: curl\r\nCookie: c=1\r\n\
         Authorization: Bearer hidden\r\ntracestate: a=1\r\ntracestate: b=2\r\n\r\n",
    );
    let spans = written(&exchange, &completion(true));
    let [span] = &spans[..] else { panic!("one span, not {}", spans.len()) };
    assert_eq!((&*span.name, span.kind, span.failed, span.flags), ("GET", 2, false, 0x301));
    assert_eq!(span.ids, [7_u128.to_be_bytes().to_vec(), 9_u64.to_be_bytes().into(), 8_u64.to_be_bytes().into()]);
    assert_eq!(span.state.as_deref(), Some("a=1,b=2"));
    assert_eq!(span.times[1] - span.times[0], 3_000_000);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/a/b"),
        ("url.scheme", "http"),
        ("server.address", "api.example"),
        ("server.port", "8443"),
        ("client.address", "0.0.0.0"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "curl"),
        ("http.response.status_code", "200"),
        ("pylae.route", "all"),
        ("pylae.bytes_out", "5"),
    ] {
        assert_eq!(span.attribute(key), Some(value), "{key}");
    }
    assert_eq!(span.attribute("error.type"), None);
    let all = format!("{:?}", span.attributes);
    assert!(!all.contains("secret") && !all.contains("hidden") && !all.contains("c=1"), "{all}");
}

#[test]
fn steps_are_spans_below_that_of_the_exchange() {
    let mut exchange = recorded("POST /x HTTP/1.1\r\nHost: a\r\n\r\n");
    let at = |millis: u64| Instant::from_nanos(1_000_000_000 + millis * 1_000_000);
    exchange.record_step(StepKind::Wait(WaitedFor::Policy("rate_limit")), at(0), at(1));
    exchange.record_step(StepKind::Cache(CacheOutcome::Stale), at(1), at(1));
    let hook = HookStep { place: HookPlace::Route, index: 0, half: HookHalf::Request, failed: true };
    exchange.record_step(StepKind::Hook(hook), at(1), at(2));
    let attempt = AttemptStep {
        number: 2,
        instance: 0,
        connection: Some(ConnectionKind::New),
        outcome: Some(AttemptOutcome::Timeout),
    };
    exchange.record_span(77, StepKind::Attempt(attempt), at(2), at(3));
    exchange.record_step(StepKind::Tunnel, at(3), at(4));
    let spans = written(&exchange, &completion(true));
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["POST", "wait rate_limit", "cache", "hook ", "POST", "tunnel"]);
    assert_eq!(spans.iter().map(|span| span.kind).collect::<Vec<_>>(), [2, 1, 1, 1, 3, 1]);
    for (span, begins) in spans.iter().zip([0, 0, 1, 1, 2, 3]) {
        assert_eq!(span.ids[0], spans[0].ids[0]);
        assert_eq!(span.times[0] - spans[0].times[0], begins * 1_000_000, "{}", span.name);
    }
    assert!(spans[1..].iter().all(|span| span.ids[2] == 9_u64.to_be_bytes() && span.flags == 0x101));
    assert_eq!(spans[4].ids[1], 77_u64.to_be_bytes(), "instances know it by this id");
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.ids[1]).collect();
    assert_eq!(ids.len(), spans.len(), "each has an id of its own");
    assert!(spans[3].failed && spans[4].failed && !spans[5].failed);
    assert_eq!(spans[4].attribute("error.type"), Some("timeout"));
    assert_eq!(spans[4].attribute("http.request.resend_count"), Some("1"));
    assert_eq!(spans[4].attribute("pylae.connection"), Some("new"));
    assert_eq!(spans[2].attribute("pylae.cache"), Some("stale"));
}

#[test]
fn failures_are_those_of_the_server() {
    for (status, code, complete, failure) in [
        (200, None, true, None),
        (404, Some("no_route"), true, None),
        (429, Some("rate_limited"), true, None),
        (503, Some("breaker_open"), true, Some("breaker_open")),
        (500, None, true, Some("500")),
        (499, Some("client_gone"), false, Some("client_gone")),
        (200, None, false, Some("incomplete")),
    ] {
        let mut exchange = recorded("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        (exchange.response.status, exchange.response.code) = (status, code);
        let spans = written(&exchange, &completion(complete));
        assert_eq!((spans[0].attribute("error.type"), spans[0].failed), (failure, failure.is_some()), "{status}");
    }
}

#[test]
fn what_a_client_sends_is_text_that_is_short() {
    let agent = "a".repeat(5000);
    let exchange = recorded(&format!("BREW /x HTTP/1.0\r\nUser-Agent: \u{fc}{agent}\r\n\r\n"));
    let spans = written(&exchange, &completion(true));
    assert_eq!(spans[0].name, "HTTP");
    assert_eq!(spans[0].attribute("http.request.method"), Some("_OTHER"));
    assert_eq!(spans[0].attribute("http.request.method_original"), Some("BREW"));
    assert_eq!(spans[0].attribute("user_agent.original").map(str::len), Some(1024));
    assert_eq!(spans[0].attribute("server.address"), None);
}

#[test]
fn a_trace_that_begins_here_has_no_parent() {
    let mut exchange = recorded("GET / HTTP/1.1\r\nHost: a\r\ntracestate: a=1\r\n\r\n");
    exchange.trace_context.parent_id = 0;
    exchange.trace_context.drops_state = true;
    let spans = written(&exchange, &completion(true));
    assert_eq!((spans[0].ids[2].len(), spans[0].state.as_deref(), spans[0].flags), (0, None, 0x101));
}

#[test]
fn spans_of_hooks_have_bounds() {
    let many = |count: usize| (0..count).map(|number| (format!("k{number}"), SpanValue::Int(-1))).collect::<Vec<_>>();
    let nested = SpanValue::List(vec![SpanValue::List(vec![SpanValue::List(vec![SpanValue::Bool(true); 9])])]);
    let event = SpanEvent { name: "e".into(), time: 5, attributes: vec![("a".into(), SpanValue::Double(0.5))] };
    let mut span = HookSpan {
        name: "n".repeat(5000),
        trace_id: 7,
        span_id: 1,
        parent_id: 2,
        flags: 1,
        is_client: true,
        start: 9,
        end: 3,
        failed: true,
        attributes: many(500),
        events: vec![event; 500],
    };
    span.attributes[0].1 = nested;
    span.attributes[1].1 = SpanValue::Text("t".repeat(5000));
    let mut out = Vec::new();
    span.write(&mut out);
    let [(2, WireField::Bytes(message))] = fields(&out)[..] else { panic!("one span") };
    let found = fields(message);
    let count = |number: u32| found.iter().filter(|(field, _)| *field == number).count();
    assert_eq!((count(9), count(11)), (128, 128));
    assert_eq!(bytes_of(&found, 5).map(<[u8]>::len), Some(1024));
    assert_eq!((number_of(&found, 6), number_of(&found, 7), number_of(&found, 8)), (Some(3), Some(9), Some(9)));
    assert_eq!(number_of(&fields(bytes_of(&found, 15).unwrap()), 3), Some(2));
    assert!(message.len() < 20_000, "{}", message.len());
}
