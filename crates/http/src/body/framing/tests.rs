use super::*;
use crate::HeadLimits;

const LIMITS: HeadLimits = HeadLimits { head: 4096, target: 1024, fields: 16 };

fn request_framing(version: &str, fields: &str) -> Result<Framing, FramingError> {
    let buf = format!("POST / HTTP/{version}\r\n{fields}\r\n");
    let mut head = RequestHead::default();
    assert_eq!(head.parse(buf.as_bytes(), &LIMITS), Ok(true), "{fields:?}");
    request(&head, buf.as_bytes())
}

fn response_framing(line: &str, method: Method, fields: &str) -> Result<Framing, FramingError> {
    let buf = format!("{line}\r\n{fields}\r\n");
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(buf.as_bytes(), &LIMITS), Ok(true), "{fields:?}");
    response(&head, buf.as_bytes(), method)
}

#[test]
fn reads_the_two_framings() {
    for (fields, framing) in [
        ("", Framing::None),
        ("Content-Length: 0\r\n", Framing::Length(0)),
        ("Content-Length: 5\r\n", Framing::Length(5)),
        ("content-length:\t005 \r\n", Framing::Length(5)),
        ("Content-Length: 9999999999999999999\r\n", Framing::Length(9_999_999_999_999_999_999)),
        ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ("transfer-encoding:Chunked\r\n", Framing::Chunked),
        ("Content_Length: 5\r\n", Framing::None),
        ("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", Framing::Length(5)),
    ] {
        assert_eq!(request_framing("1.1", fields), Ok(framing), "{fields:?}");
        let of_response = if framing == Framing::None { Framing::Close } else { framing };
        assert_eq!(response_framing("HTTP/1.1 200 OK", Method::Get, fields), Ok(of_response), "{fields:?}");
    }
}

#[test]
fn refuses_every_ambiguous_framing() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5 ,\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 5;\r\n",
        "Content-Length: \"5\"\r\n",
        "Content-Length:\r\n",
        "Content-Length: \t \r\n",
        "Content-Length: a\r\n",
        "Content-Length: 10000000000000000000\r\n",
        "Content-Length: 00000000000000000005\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: \u{665}\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: , chunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
    ] {
        // The last one does not even pass the parser.
        if fields.contains('\u{b}') {
            let buf = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            assert!(RequestHead::default().parse(buf.as_bytes(), &LIMITS).is_err());
            continue;
        }
        assert!(request_framing("1.1", fields).is_err(), "{fields:?}");
        for method in [Method::Get, Method::Head] {
            for status in ["HTTP/1.1 200", "HTTP/1.1 204", "HTTP/1.1 304", "HTTP/1.1 101", "HTTP/1.1 100"] {
                assert!(response_framing(status, method, fields).is_err(), "{status} {fields:?}");
            }
        }
    }
}

#[test]
fn chunked_does_not_exist_in_http_1_0() {
    assert!(request_framing("1.0", "Transfer-Encoding: chunked\r\n").is_err());
    assert!(response_framing("HTTP/1.0 200", Method::Get, "Transfer-Encoding: chunked\r\n").is_err());
    assert_eq!(request_framing("1.0", "Content-Length: 5\r\n"), Ok(Framing::Length(5)));
    assert_eq!(response_framing("HTTP/1.0 200", Method::Get, ""), Ok(Framing::Close));
}

#[test]
fn some_responses_have_no_body_whatever_they_say() {
    for fields in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        for status in ["100", "101", "103", "199", "204", "304"] {
            let line = format!("HTTP/1.1 {status} x");
            assert_eq!(response_framing(&line, Method::Get, fields), Ok(Framing::None), "{status} {fields:?}");
        }
        assert_eq!(response_framing("HTTP/1.1 200 OK", Method::Head, fields), Ok(Framing::None));
    }
}
