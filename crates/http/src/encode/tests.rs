use super::*;
use crate::{HeadLimits, RequestHead, ResponseHead, Span};

const LIMITS: HeadLimits = HeadLimits { head: 4096, target: 1024, fields: 64 };

/// Returns the encoded request fields, without Host line and blank line.
fn forwarded(fields: &str, edits: &Edits, drop: NameSet, framing: Framing) -> String {
    let buf = format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let mut head = RequestHead::default();
    assert_eq!(head.parse(buf.as_bytes(), &LIMITS), Ok(true), "{fields:?}");
    let mut options = ConnectionOptions::default();
    options.read(&head.fields, buf.as_bytes()).unwrap();
    let source = FieldSource { fields: &head.fields, buf: buf.as_bytes(), options: &options, drop, edits };
    let line = RequestLine {
        method: b"GET",
        path: b"/p",
        query: None,
        host: b"h",
        upgrade: false,
        via: None,
        authorization: None,
        trace: None,
    };
    let mut out = Vec::new();
    request(&mut out, line, source, framing);
    let out = String::from_utf8(out).unwrap();
    let rest = out.strip_prefix("GET /p HTTP/1.1\r\nHost: h\r\n").unwrap();
    rest.strip_suffix("\r\n").unwrap().to_owned()
}

fn unchanged(fields: &str) -> String {
    forwarded(fields, &Edits::default(), NameSet::EMPTY, Framing::None)
}

fn answered(line: StatusLine<'_>, fields: &str, edits: &Edits, framing: Framing) -> String {
    let buf = format!("HTTP/1.1 200\r\n{fields}\r\n");
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(buf.as_bytes(), &LIMITS), Ok(true), "{fields:?}");
    let mut options = ConnectionOptions::default();
    options.read(&head.fields, buf.as_bytes()).unwrap();
    let source =
        FieldSource { fields: &head.fields, buf: buf.as_bytes(), options: &options, drop: NameSet::EMPTY, edits };
    let mut out = Vec::new();
    response(&mut out, line, source, framing);
    String::from_utf8(out).unwrap()
}

const OK: StatusLine<'_> = StatusLine {
    status: 200,
    reason: b"",
    stated_length: None,
    close: false,
    keep_alive: false,
    upgrade: false,
    via: None,
};

#[test]
fn writes_a_request() {
    let buf = b"GET / HTTP/1.1\r\nAccept: */*\r\nHost: old\r\nX-A: 1\r\n\r\n";
    let mut head = RequestHead::default();
    assert_eq!(head.parse(buf, &LIMITS), Ok(true));
    let mut edits = Edits::default();
    edits.set(b"x-request-id", b"i").unwrap();
    let options = ConnectionOptions::default();
    let source = FieldSource { fields: &head.fields, buf, options: &options, drop: NameSet::EMPTY, edits: &edits };
    let line = RequestLine {
        method: b"BREW",
        path: b"/a",
        query: Some(b""),
        host: b"h:1",
        upgrade: false,
        via: None,
        authorization: None,
        trace: None,
    };
    let mut out = b"before".to_vec();
    request(&mut out, line, source, Framing::Length(0));
    let expected =
        "beforeBREW /a? HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\nX-A: 1\r\nX-Request-ID: i\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn hop_by_hop_and_framing_fields_never_pass_in_either_spelling() {
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Transfer-Encoding",
        "Content-Length",
        "TE",
        "Trailer",
        "Upgrade",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy",
        "HTTP2-Settings",
        "Expect",
        "Host",
    ] {
        for name in [name.to_owned(), name.to_lowercase(), name.replace('-', "_")] {
            assert_eq!(unchanged(&format!("A: 1\r\n{name}: x\r\nB: 2\r\n")), "A: 1\r\nB: 2\r\n", "{name}");
            assert_eq!(unchanged(&format!("{name}: x\r\n")), "", "{name}");
            if !matches!(&*name.to_lowercase(), "host" | "expect") {
                let out = answered(OK, &format!("A: 1\r\n{name}: x\r\nB: 2\r\n"), &Edits::default(), Framing::Close);
                assert_eq!(out, "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n", "{name}");
            }
        }
    }
}

#[test]
fn nominated_fields_do_not_pass() {
    let fields = "X-A: 1\r\nConnection: x-b, Via\r\nX-B: 2\r\nx_b: 3\r\nVia: 4\r\nX-C: 5\r\n";
    assert_eq!(unchanged(fields), "X-A: 1\r\nX-C: 5\r\n");
}

#[test]
fn dropped_names_do_not_pass_in_either_spelling() {
    let drop = NameSet::of(&[Name::XForwardedFor, Name::UserAgent]);
    let fields = "X-Forwarded-For: 1\r\nx_forwarded_for: 1\r\nX-A: 1\r\nuser_agent: 1\r\n";
    assert_eq!(forwarded(fields, &Edits::default(), drop, Framing::None), "X-A: 1\r\n");
}

#[test]
fn owned_names_spelt_with_underscores_never_pass() {
    for name in [
        "x_user_id",
        "X_User-Role",
        "x-user_email",
        "X_Forwarded_For",
        "x_forwarded_host",
        "x_forwarded_proto",
        "x_forwarded_port",
        "x_real_ip",
        "x_request_id",
        "x_api_key",
        "content_type",
        "content_length",
    ] {
        assert_eq!(unchanged(&format!("A: 1\r\n{name}: x\r\n")), "A: 1\r\n", "{name}");
    }
    assert_eq!(unchanged("X-User-ID: 1\r\nx_mine: 2\r\n"), "X-User-ID: 1\r\nx_mine: 2\r\n");
}

#[test]
fn odd_white_space_is_written_plainly() {
    let fields = "A:1\r\nB: 2\r\nC:\t3\r\nD:  4\r\nE: 5 \r\nF:\r\nG: \r\nH: 8\r\n";
    assert_eq!(unchanged(fields), "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: \r\nG: \r\nH: 8\r\n");
}

#[test]
fn lines_that_were_pushed_are_written() {
    let buf = b"aacustom1gzip";
    let mut fields = Fields::default();
    fields.push(Field { name: Span::new(2, 8), value: Span::new(8, 9), id: Name::Other, underscore: false });
    fields.push(Field { name: Span::new(0, 2), value: Span::new(9, 13), id: Name::Other, underscore: false });
    let options = ConnectionOptions::default();
    let edits = Edits::default();
    let source = FieldSource { fields: &fields, buf, options: &options, drop: NameSet::EMPTY, edits: &edits };
    let mut out = Vec::new();
    response(&mut out, OK, source, Framing::None);
    assert_eq!(String::from_utf8(out).unwrap(), "HTTP/1.1 200 OK\r\ncustom: 1\r\naa: gzip\r\n\r\n");
}

#[test]
fn edits_replace_append_and_remove() {
    let mut edits = Edits::default();
    edits.set(b"X-A", b"new").unwrap();
    edits.append(b"vary", b"Origin").unwrap();
    edits.remove(b"x-gone");
    edits.remove(b"Server");
    let fields = "x-a: 1\r\nVary: Accept\r\nX_GONE: 2\r\nServer: 3\r\nX-B: 4\r\n";
    let expected = "Vary: Accept\r\nX-B: 4\r\nX-A: new\r\nVary: Origin\r\nContent-Length: 7\r\n";
    assert_eq!(forwarded(fields, &edits, NameSet::EMPTY, Framing::Length(7)), expected);
}

#[test]
fn framing_is_the_encoders_own() {
    let framed = |framing| forwarded("Content-Length: 99\r\n", &Edits::default(), NameSet::EMPTY, framing);
    assert_eq!(framed(Framing::None), "");
    assert_eq!(framed(Framing::Length(0)), "Content-Length: 0\r\n");
    assert_eq!(framed(Framing::Length(u64::MAX)), "Content-Length: 18446744073709551615\r\n");
    assert_eq!(framed(Framing::Chunked), "Transfer-Encoding: chunked\r\n");
}

#[test]
fn writes_status_lines() {
    let none = Edits::default();
    for (line, framing, expected) in [
        (OK, Framing::Length(3), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
        (StatusLine { reason: b"Fine by me", ..OK }, Framing::None, "HTTP/1.1 200 Fine by me\r\n\r\n"),
        (
            StatusLine { status: 101, upgrade: true, ..OK },
            Framing::None,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        (StatusLine { status: 599, ..OK }, Framing::None, "HTTP/1.1 599 \r\n\r\n"),
        (
            StatusLine { status: 304, stated_length: Some(12), ..OK },
            Framing::None,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n",
        ),
        (
            StatusLine { stated_length: Some(12), ..OK },
            Framing::Length(3),
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        ),
        (StatusLine { close: true, ..OK }, Framing::Close, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
        (StatusLine { keep_alive: true, ..OK }, Framing::None, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n"),
        (
            StatusLine { close: true, keep_alive: true, ..OK },
            Framing::Chunked,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        ),
    ] {
        assert_eq!(answered(line, "", &none, framing), expected);
    }
}

#[test]
fn via_continues_the_list_behind_all_edits() {
    let mut edits = Edits::default();
    edits.set(b"Via", b"1.1 edge").unwrap();
    for (version, on_stream, via) in
        [(Version::Http10, false, "1.0"), (Version::Http11, false, "1.1"), (Version::Http11, true, "2.0")]
    {
        let line = StatusLine { via: Some(Via::of(version, on_stream)), ..OK };
        let expected = format!(
            "HTTP/1.1 200 OK\r\nVia: 1.1 edge\r\nVia: {via} pylae\r\nContent-Length: 1\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            answered(StatusLine { close: true, ..line }, "Via: 1.0 inner\r\n", &edits, Framing::Length(1)),
            expected
        );
    }
    let mut out = Vec::new();
    let (fields, options) = (Fields::default(), ConnectionOptions::default());
    edits.clear();
    edits.remove(b"via");
    let source = FieldSource { fields: &fields, buf: b"", options: &options, drop: NameSet::EMPTY, edits: &edits };
    let line = RequestLine {
        method: b"GET",
        path: b"/",
        query: None,
        host: b"h",
        upgrade: true,
        via: Some(Via::Http2),
        authorization: None,
        trace: None,
    };
    request(&mut out, line, source, Framing::Chunked);
    let expected = "GET / HTTP/1.1\r\nHost: h\r\nVia: 2.0 pylae\r\nTransfer-Encoding: chunked\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_trace_context_replaces_every_other() {
    let buf = b"GET / HTTP/1.1\r\nTraceParent: a\r\nX-A: 1\r\ntraceparent: b\r\ntracestate: c\r\nTraceState: d\r\n\r\n";
    let mut head = RequestHead::default();
    assert_eq!(head.parse(buf, &LIMITS), Ok(true));
    let mut edits = Edits::default();
    edits.set(b"Traceparent", b"e").unwrap();
    edits.append(b"X-B", b"2").unwrap();
    let options = ConnectionOptions::default();
    let source = FieldSource { fields: &head.fields, buf, options: &options, drop: NameSet::EMPTY, edits: &edits };
    for (keeps_state, state) in [(true, "tracestate: c\r\nTraceState: d\r\n"), (false, "")] {
        let line = RequestLine {
            method: b"GET",
            path: b"/",
            query: None,
            host: b"h",
            upgrade: false,
            via: None,
            authorization: Some(b""),
            trace: Some(TraceFields { parent: b"00-1", keeps_state }),
        };
        let mut out = Vec::new();
        request(&mut out, line, source, Framing::None);
        let expected = format!("GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n{state}X-B: 2\r\ntraceparent: 00-1\r\n\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn reasons_are_the_registered_ones() {
    assert_eq!((reason(404), reason(429), reason(299)), ("Not Found", "Too Many Requests", ""));
}
