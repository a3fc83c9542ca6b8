use super::*;
use crate::{Field, Name};

const LIMITS: HeadLimits = HeadLimits { head: 4096, target: 1024, fields: 16 };

fn request(bytes: &[u8]) -> Result<bool, HeadError> {
    RequestHead::default().parse(bytes, &LIMITS)
}

fn response(bytes: &[u8]) -> Result<bool, HeadError> {
    ResponseHead::default().parse(bytes, &LIMITS)
}

fn request_error(bytes: &[u8]) -> HeadError {
    request(bytes).expect_err(&String::from_utf8_lossy(bytes))
}

#[test]
fn reads_a_request() {
    let buf = b"POST /a?b=c HTTP/1.1\r\nHost: example.org\r\nX-Custom:\t one two \r\ncookie: a=b\r\nCookie:c\r\nEmpty:\r\n\r\nbody";
    let mut head = RequestHead::default();
    assert_eq!(head.parse(buf, &LIMITS), Ok(true));
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.method_span.of(buf), b"POST");
    assert_eq!(head.target.of(buf), b"/a?b=c");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.len, buf.len() - 4);
    assert_eq!(head.fields.len(), 5);
    assert_eq!(head.fields.get(buf, Name::Host), Some(&b"example.org"[..]));
    assert_eq!(head.fields.get(buf, Name::Cookie), Some(&b"a=b"[..]));
    assert_eq!(head.fields.get(buf, Name::Expect), None);
    assert_eq!(head.fields.count(Name::Cookie), 2);
    assert_eq!(head.fields.values(buf, "COOKIE").collect::<Vec<_>>(), [&b"a=b"[..], b"c"]);
    assert_eq!(head.fields.values(buf, "x-custom").collect::<Vec<_>>(), [b"one two"]);
    assert_eq!(head.fields.values(buf, "empty").collect::<Vec<_>>(), [b""]);
    assert!(head.fields.has(Name::Cookie) && !head.fields.has(Name::Expect));
}

#[test]
fn reads_a_response() {
    let buf = b"HTTP/1.0 404 Not  Found\r\nServer: x\r\n\r\n";
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(buf, &LIMITS), Ok(true));
    assert_eq!((head.status, head.version, head.len), (404, Version::Http10, buf.len()));
    assert_eq!(head.reason.of(buf), b"Not  Found");
    assert_eq!(head.fields.get(buf, Name::Server), Some(&b"x"[..]));
}

#[test]
fn a_head_is_reused_without_traces() {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(b"POST /a HTTP/1.0\r\nHost: x\r\n\r\n", &LIMITS), Ok(true));
    head.clear();
    assert_eq!(head.parse(b"GET / HTTP/1.1\r\n\r\n", &LIMITS), Ok(true));
    assert_eq!((head.method, head.version), (Method::Get, Version::Http11));
    assert!(head.fields.is_empty() && !head.fields.has(Name::Host));
}

#[test]
fn one_empty_line_before_a_request_is_passed_over() {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(b"\r\nGET / HTTP/1.1\r\n\r\n", &LIMITS), Ok(true));
    assert_eq!(head.len, 20);
    assert!(matches!(request_error(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"), HeadError::Syntax(_)));
    assert!(matches!(response(b"\r\nHTTP/1.1 200 OK\r\n\r\n"), Err(HeadError::Syntax(_))));
}

#[test]
fn refuses_bad_request_lines_at_once() {
    for bytes in [
        &b"\nGET"[..],
        b"\rG",
        b" GET / HTTP/1.1\r\n",
        b"G(T / ",
        b"GET\t/ ",
        b"GET  / ",
        b"GET /\r",
        b"GET /\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\r",
        b"GET / HTTP/1.1 ",
        b"GET /  HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1,",
        b"GET / HTTP/1.11",
        b"GET / HTTP/01.1",
        b"GET / HTTP/ 1.1",
        b"GET / X",
        b"GET /\x00",
        b"GET /\x7f",
        b"GET /\xc3\xa9 ",
        b"GET\x00",
        b"GET / \r",
    ] {
        assert!(matches!(request_error(bytes), HeadError::Syntax(_)), "{}", bytes.escape_ascii());
    }
    let long = [b'M'; 33];
    assert_eq!(request(&long[..32]), Ok(false));
    assert!(matches!(request_error(&long), HeadError::Syntax(_)));
}

#[test]
fn other_versions_are_told_from_bad_ones() {
    for bytes in [&b"GET / HTTP/2.0"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/0.9", b"GET / HTTP/3.1"] {
        assert_eq!(request_error(bytes), HeadError::Version);
    }
    for (line, version) in [("1.0", Version::Http10), ("1.1", Version::Http11), ("1.7", Version::Http11)] {
        let mut head = RequestHead::default();
        assert_eq!(head.parse(format!("GET / HTTP/{line}\r\n\r\n").as_bytes(), &LIMITS), Ok(true));
        assert_eq!(head.version, version);
    }
}

#[test]
fn refuses_bad_fields_at_once() {
    for field in [
        &b" folded: x"[..],
        b"\tfolded",
        b"Na me",
        b"Name :",
        b"Name\t:",
        b":",
        b"Name\r",
        b"Name\n",
        b"N\xc3\xa4me",
        b"Name\x00",
        b"(Name)",
        b"Name: a\nb",
        b"Name: a\rb",
        b"Name: a\r\r\n",
        b"Name: \x00",
        b"Name: a\x01",
        b"Name: \x1f",
        b"Name: \x7f",
        b"Name: a\r\n folded",
        b"Name: a\r\n\tfolded",
        b"Name: a\n",
        b"\n",
        b"\rX",
    ] {
        for start in [&b"GET / HTTP/1.1\r\n"[..], b"GET / HTTP/1.1\r\nHost: a\r\n"] {
            let bytes = [start, field].concat();
            assert!(matches!(request_error(&bytes), HeadError::Syntax(_)), "{}", bytes.escape_ascii());
        }
        let bytes = [b"HTTP/1.1 200 OK\r\n", field].concat();
        assert!(matches!(response(&bytes), Err(HeadError::Syntax(_))), "{}", bytes.escape_ascii());
    }
}

#[test]
fn values_may_hold_tabs_and_obs_text() {
    let buf = b"GET / HTTP/1.1\r\nA: \t x\ty \xc3\xa9\xff \t\r\n\r\n";
    let mut head = RequestHead::default();
    assert_eq!(head.parse(buf, &LIMITS), Ok(true));
    assert_eq!(head.fields.values(buf, "a").collect::<Vec<_>>(), [b"x\ty \xc3\xa9\xff"]);
}

#[test]
fn names_with_underscores_never_count() {
    let buf = b"GET / HTTP/1.1\r\ncontent_length: 5\r\nX_User-ID: root\r\nx_other: 1\r\n\r\n";
    let mut head = RequestHead::default();
    assert_eq!(head.parse(buf, &LIMITS), Ok(true));
    let seen: Vec<_> = head.fields.iter().map(|field| (field.id, field.underscore)).collect();
    assert_eq!(seen, [(Name::ContentLength, true), (Name::XUserId, true), (Name::Other, false)]);
    assert!(!head.fields.has(Name::ContentLength) && !head.fields.has(Name::XUserId));
    assert_eq!(head.fields.get(buf, Name::XUserId), None);
    assert_eq!(head.fields.count(Name::XUserId), 0);
    assert_eq!(head.fields.values(buf, "x-user-id").count(), 0);
    // Also when the name came in two pieces, the `_` in the first.
    let mut head = RequestHead::default();
    assert_eq!(head.parse(&buf[..25], &LIMITS), Ok(false));
    assert_eq!(head.parse(buf, &LIMITS), Ok(true));
    assert!(!head.fields.has(Name::ContentLength));
}

#[test]
fn limits_are_enforced_as_soon_as_they_are_passed() {
    let limits = HeadLimits { head: 64, target: 10, fields: 2 };
    let parse = |bytes: &[u8]| RequestHead::default().parse(bytes, &limits);
    assert_eq!(parse(b"GET /123456789"), Ok(false));
    assert_eq!(parse(b"GET /123456789 HTTP/1.1\r\n\r\n"), Ok(true));
    assert_eq!(parse(b"GET /1234567890"), Err(HeadError::TargetTooLong));
    assert_eq!(parse(b"GET / HTTP/1.1\r\na: 1\r\nb: 2\r\n\r\n"), Ok(true));
    assert_eq!(parse(b"GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc"), Err(HeadError::TooLarge));
    let whole = [b"GET / HTTP/1.1\r\na: ".as_slice(), &[b'x'; 41], b"\r\n\r\n"].concat();
    assert_eq!(whole.len(), 64);
    assert_eq!(parse(&whole), Ok(true));
    assert_eq!(parse(&[whole.clone(), vec![b'x'; 1000]].concat()), Ok(true));
    assert_eq!(parse(&whole[..63]), Ok(false));
    let longer = [b"GET / HTTP/1.1\r\na: ".as_slice(), &[b'x'; 42], b"\r\n\r\n"].concat();
    assert_eq!(parse(&longer), Err(HeadError::TooLarge));
    assert_eq!(parse(&longer[..64]), Err(HeadError::TooLarge));
    let limits = HeadLimits { head: 64, target: 1000, fields: 2 };
    let long = [b"GET /".as_slice(), &[b'x'; 59]].concat();
    assert_eq!(RequestHead::default().parse(&long, &limits), Err(HeadError::TargetTooLong));
    let long = [b"HTTP/1.1 200 ".as_slice(), &[b'x'; 51]].concat();
    assert_eq!(ResponseHead::default().parse(&long, &limits), Err(HeadError::TooLarge));
}

#[test]
fn status_lines_are_three_digits_in_range() {
    for (line, status, reason) in
        [("HTTP/1.1 200\r\n", 200, ""), ("HTTP/1.1 599 \r\n", 599, ""), ("HTTP/1.1 100 a\tb\r\n", 100, "a\tb")]
    {
        let buf = format!("{line}\r\n");
        let mut head = ResponseHead::default();
        assert_eq!(head.parse(buf.as_bytes(), &LIMITS), Ok(true), "{line}");
        assert_eq!((head.status, head.reason.of(buf.as_bytes())), (status, reason.as_bytes()));
    }
    for bytes in [
        "HTTP/1.1 099",
        "HTTP/1.1 600",
        "HTTP/1.1 999",
        "HTTP/1.1 20 ",
        "HTTP/1.1 2000",
        "HTTP/1.1  200",
        "HTTP/1.1 +20",
        "HTTP/1.1\r\n",
        "HTTP/1.1 200 a\n",
        "HTTP/1.1 200 a\rb",
        "HTTP/1.1 200\n",
        "HTTP/1.1 200 a\0",
        "http/1.1",
        "ICY 200 OK",
    ] {
        assert!(matches!(response(bytes.as_bytes()), Err(HeadError::Syntax(_))), "{bytes:?}");
    }
    assert_eq!(response(b"HTTP/2.0 200"), Err(HeadError::Version));
}

#[test]
fn errors_have_their_status() {
    assert_eq!(HeadError::Syntax("").status(), 400);
    assert_eq!(HeadError::Version.status(), 505);
    assert_eq!(HeadError::TargetTooLong.status(), 414);
    assert_eq!(HeadError::TooLarge.status(), 431);
}

#[test]
fn pushed_lines_count_as_parsed_ones() {
    let buf = b"hostexample";
    let mut fields = Fields::default();
    fields.push(Field { name: Span::new(0, 4), value: Span::new(4, 11), id: Name::Host, underscore: false });
    assert_eq!(fields.get(buf, Name::Host), Some(&b"example"[..]));
    fields.clear();
    assert_eq!((fields.len(), fields.get(buf, Name::Host)), (0, None));
}

#[test]
fn lines_are_removed_by_name() {
    let buf = b"GET / HTTP/1.1\r\nHost: h\r\nX_Team: a\r\nX-Teams: b\r\nx-user-ID: c\r\nX-TEAM: d\r\nA: e\r\n\r\n";
    let mut head = RequestHead::default();
    assert_eq!(head.parse(buf, &LIMITS), Ok(true));
    head.fields.remove(buf, &["x-none".into()]);
    assert_eq!((head.fields.len(), head.fields.raw_end(0)), (6, 25));
    head.fields.remove(buf, &["x-team".into(), "x-user-id".into()]);
    let names: Vec<_> = head.fields.iter().map(|field| field.name.of(buf)).collect();
    assert_eq!(names, [&b"Host"[..], b"X-Teams", b"A"]);
    assert!(head.fields.has(Name::Host) && !head.fields.has(Name::XUserId));
    // What is copied as it was sent would have them.
    assert_eq!(head.fields.raw_end(0), 0);
}
