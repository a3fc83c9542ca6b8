use super::*;
use crate::{HeadLimits, RequestHead};

fn read(fields: &str) -> (Result<(), Nomination>, ConnectionOptions, Vec<String>) {
    let buf = format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let mut head = RequestHead::default();
    let limits = HeadLimits { head: 4096, target: 1024, fields: 16 };
    assert_eq!(head.parse(buf.as_bytes(), &limits), Ok(true), "{fields:?}");
    let mut options = ConnectionOptions { close: true, nominated: vec![Span::new(0, 3)], ..Default::default() };
    let outcome = options.read(&head.fields, buf.as_bytes());
    let nominated = options.nominated.iter().map(|span| String::from_utf8_lossy(span.of(buf.as_bytes())).into());
    let nominated = nominated.collect();
    (outcome, options, nominated)
}

#[test]
fn reads_options_over_several_lines() {
    let (outcome, options, nominated) =
        read("Connection: , X-One ,\tclose,,\r\nHost: a\r\nconnection:Keep-Alive, Upgrade,x_two\r\nConnection:\r\n");
    assert_eq!(outcome, Ok(()));
    assert!(options.close && options.keep_alive && options.upgrade);
    assert_eq!(nominated, ["X-One", "x_two"]);
}

#[test]
fn what_was_read_before_is_forgotten() {
    let (outcome, options, nominated) = read("");
    assert_eq!(outcome, Ok(()));
    assert!(!options.close && nominated.is_empty());
}

#[test]
fn te_and_http2_settings_are_let_pass() {
    assert_eq!(read("Connection: TE, HTTP2-Settings, Upgrade\r\n").0, Ok(()));
}

#[test]
fn protected_names_may_not_be_nominated() {
    for name in [
        "authorization",
        "Cookie",
        "Set-Cookie",
        "HOST",
        "content-length",
        "Content-Type",
        "Content-Encoding",
        "transfer-encoding",
        "forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Real-IP",
        "X-Request-ID",
        "X-User-ID",
        "x_user_id",
        "X-User-Role",
        "X-User-Email",
        "traceparent",
        "tracestate",
        "Origin",
        "X-API-Key",
    ] {
        let (outcome, options, nominated) = read(&format!("Connection: {name}, close\r\n"));
        assert!(outcome.is_err(), "{name}");
        assert!(options.close, "the options behind {name} are read all the same");
        assert!(nominated.is_empty());
    }
}

#[test]
fn options_are_tokens_and_few() {
    for value in ["a b", "a=b", "\"a\"", "a;b", "\u{e9}"] {
        assert!(read(&format!("Connection: {value}\r\n")).0.is_err(), "{value}");
    }
    let names: Vec<_> = (0..17).map(|n| format!("x-{n}")).collect();
    assert_eq!(read(&format!("Connection: {}\r\n", names[..16].join(","))).0, Ok(()));
    let (outcome, _, nominated) = read(&format!("Connection: {}\r\n", names.join(",")));
    assert!(outcome.is_err());
    assert_eq!(nominated.len(), 16);
}

#[test]
fn persistence_follows_version_and_options() {
    let options = |close, keep_alive| ConnectionOptions { close, keep_alive, ..Default::default() };
    for (version, close, keep_alive, persists) in [
        (Version::Http11, false, false, true),
        (Version::Http11, true, false, false),
        (Version::Http11, true, true, false),
        (Version::Http10, false, false, false),
        (Version::Http10, false, true, true),
        (Version::Http10, true, true, false),
    ] {
        assert_eq!(options(close, keep_alive).persists(version), persists);
    }
}

#[test]
fn nomination_ignores_case_and_underscores() {
    let buf = b"X-Some-Thing";
    let options = ConnectionOptions { nominated: vec![Span::new(0, buf.len())], ..Default::default() };
    assert!(options.nominates(buf, b"x-some-thing") && options.nominates(buf, b"X_SOME_THING"));
    assert!(!options.nominates(buf, b"x-some-thin"));
}

#[test]
fn cleared_options_need_no_buffer() {
    let (_, mut options, nominated) = read("Connection: close, upgrade, X-Foo\r\n");
    assert_eq!(nominated, ["X-Foo"]);
    options.clear();
    assert!(!options.close && !options.upgrade && !options.nominates(b"", b"X-Foo"));
}
