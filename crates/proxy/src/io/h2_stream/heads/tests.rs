use super::*;

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn text(parts: &request::Parts, has_body: bool) -> Result<String, Malformed> {
    let mut out = Vec::new();
    write_request(parts, has_body, &mut out).map(|()| String::from_utf8(out).unwrap())
}

#[test]
fn a_request_becomes_text() {
    let head = parts("GET", "https://Example.org:8443/a?b=c", &[("accept", "*/*"), ("x-a", "1"), ("x-a", "2")]);
    let expected = "GET /a?b=c HTTP/1.1\r\nhost: Example.org:8443\r\naccept: */*\r\nx-a: 1\r\nx-a: 2\r\n\r\n";
    assert_eq!(text(&head, false).unwrap(), expected);
}

#[test]
fn a_body_without_length_is_chunked_and_one_with_length_is_not() {
    let head = parts("POST", "http://a/", &[]);
    assert_eq!(text(&head, true).unwrap(), "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let head = parts("POST", "http://a/", &[("content-length", "3")]);
    assert_eq!(text(&head, true).unwrap(), "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
}

#[test]
fn crumbs_of_cookies_are_put_together() {
    let head = parts("GET", "http://a/", &[("cookie", "a=1"), ("x-b", "2"), ("cookie", "c=3")]);
    assert_eq!(text(&head, false).unwrap(), "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1; c=3\r\nx-b: 2\r\n\r\n");
}

#[test]
fn authority_and_host_must_agree() {
    assert!(
        text(&parts("GET", "http://a/", &[("host", "A")]), false)
            .unwrap()
            .starts_with("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    );
    assert!(text(&parts("GET", "/", &[("host", "b")]), false).unwrap().contains("host: b\r\n"));
    for head in [
        parts("GET", "http://a/", &[("host", "b")]),
        parts("GET", "http://a/", &[("host", "a"), ("host", "a")]),
        parts("GET", "/", &[]),
        parts("GET", "ftp://a/", &[]),
    ] {
        assert_eq!(text(&head, false), Err(Malformed), "{head:?}");
    }
}

#[test]
fn values_may_not_begin_or_end_with_blanks() {
    for value in [" a", "a ", "\ta", "a\t"] {
        assert_eq!(text(&parts("GET", "http://a/", &[("x", value)]), false), Err(Malformed), "{value:?}");
    }
}

#[test]
fn an_answer_is_read_without_the_fields_of_a_connection() {
    let text = b"HTTP/1.1 404 Not Found\r\nX-A: 1\r\nConnection: close\r\nContent-Length: 5\r\nX-Empty: \r\n\r\nhello";
    let (head, len) = read_response(text).unwrap();
    assert_eq!((head.status().as_u16(), len), (404, text.len() - 5));
    let fields: Vec<_> = head.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(fields, [("x-a", &b"1"[..]), ("content-length", b"5"), ("x-empty", b"")]);
    assert!(read_response(b"HTTP/1.1 404 Not Found\r\nX-A").is_err());
}

#[test]
fn a_request_is_read_back() {
    let text = b"PUT /a?q={x}\"y HTTP/1.1\r\nHost: b:1\r\nTransfer-Encoding: chunked\r\nx: y\r\n\r\n";
    let (head, len) = read_request(text, Scheme::HTTP).unwrap();
    assert_eq!(len, text.len());
    assert_eq!((head.method().as_str(), head.uri().authority().unwrap().as_str()), ("PUT", "b:1"));
    assert_eq!(head.headers().len(), 2);
    assert_eq!(head.headers()["te"], "trailers");
    let asterisk = read_request(b"OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n", Scheme::HTTP).unwrap().0;
    assert_eq!(asterisk.uri().path_and_query().unwrap().as_str(), "*");
}

#[test]
fn trailers_go_both_ways() {
    let fields = read_trailers(b"grpc-status: 0\r\nx: y\r\n").unwrap();
    let mut out = Vec::new();
    write_trailers(&fields, &mut out).unwrap();
    assert_eq!(out, b"grpc-status: 0\r\nx: y\r\n\r\n");
}

#[test]
fn an_extended_connect_is_a_handshake() {
    let mut head =
        parts("CONNECT", "https://a/chat?x", &[("sec-websocket-version", "13"), ("sec-websocket-key", "old")]);
    head.extensions.insert(Protocol::from_static("websocket"));
    let written = text(&head, true).unwrap();
    let expected = "GET /chat?x HTTP/1.1\r\nhost: a\r\nsec-websocket-version: 13\r\nconnection: upgrade\r\n\
                    upgrade: websocket\r\nsec-websocket-key: ";
    let key = written.strip_prefix(expected).unwrap().strip_suffix("\r\n\r\n").unwrap();
    assert_eq!(STANDARD.decode(key).unwrap().len(), 16);
    head.extensions.insert(Protocol::from_static("connect-udp"));
    assert!(text(&head, true).unwrap().starts_with("CONNECT a HTTP/1.1\r\n"));
}
