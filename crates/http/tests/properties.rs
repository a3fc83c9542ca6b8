//! Properties over generated messages and over arbitrary bytes.

#[path = "../../../fuzz/src/http.rs"]
mod http;

use proptest::collection::vec;
use proptest::prelude::*;
use pylae_http::body::chunked;
use pylae_http::encode::{self, FieldSource, RequestLine};
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{ChunkedDecoder, Decoded, Edits, Framing, HeadLimits, NameSet, RequestHead, Target};

const LIMITS: HeadLimits = HeadLimits { head: 65536, target: 8192, fields: 100 };

fn text(pattern: &'static str, len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(pattern.as_bytes()), len)
}

/// Bytes that parsers trip over.
fn nasty(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let parts: Vec<&'static [u8]> = vec![
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b":",
        b": ",
        b",",
        b";",
        b"GET ",
        b"/",
        b" HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 204\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"content_length: 5\r\n",
        b"Connection: x-a, close\r\n",
        b"Host: a\r\n",
        b"X-A: 1\r\n",
        b"X-B:2 \r\n",
        b"Transfer-Encoding:",
        b"\r\n\r\n",
        b"\0",
        b"\xff",
        b"0",
        b"5",
        b"f",
        b"00",
        b"a",
        b"%",
        b"%2e",
        b"%2F",
        b"%C3%A9",
        b".",
        b"..",
        b"..;",
        b"//",
        b"?",
        b"#",
        b"*",
        b"http://",
        b"@",
        b"[::1]",
        b"\\",
    ];
    let part = prop_oneof![9 => prop::sample::select(parts).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 1..4)];
    vec(part, 0..len).prop_map(|parts| parts.concat())
}

fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    // Two letters in front that no known name starts with: all of these pass.
    let name = text("abcXYZ09-_!#$%&'*+.^`|~", 1..20).prop_map(|name| [b"QQ", &name[..]].concat());
    let value = text("abc XYZ\t09:;,\"=()\u{e9}", 0..40).prop_map(|value| value.trim_ascii().to_vec());
    (name, value)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn heads_of_arbitrary_bytes_hold(bytes in vec(any::<u8>(), 0..300), start in nasty(30)) {
        http::head(&bytes);
        http::head(&start);
        http::head(&[b"GET / HTTP/1.1\r\n", &start[..]].concat());
        http::head(&[b"HTTP/1.1 200 OK\r\n", &start[..], b"\r\n"].concat());
    }

    #[test]
    fn chunked_bodies_of_arbitrary_bytes_hold(bytes in vec(any::<u8>(), 0..300), parts in nasty(30)) {
        http::chunked(&bytes);
        http::chunked(&parts);
        http::chunked(&[b"3\r\nabc\r\n0\r\n", &parts[..]].concat());
    }

    #[test]
    fn targets_of_arbitrary_bytes_hold(bytes in vec(any::<u8>(), 0..100), parts in nasty(12), path in text("/.%2eEfFc3A9;:a~+{|", 0..30)) {
        http::target(&bytes);
        http::target(&parts);
        http::target(&[b"/", &parts[..]].concat());
        http::target(&[b"/", &path[..]].concat());
    }

    #[test]
    fn what_is_forwarded_is_what_came(fields in vec(field(), 0..30), cuts in vec(0..2000_usize, 0..10), blanks in text(" \t", 0..3)) {
        let mut buf = b"DELETE /a?b HTTP/1.1\r\n".to_vec();
        for (name, value) in &fields {
            for part in [&name[..], b":", &blanks, value, &blanks, b"\r\n"] {
                buf.extend_from_slice(part);
            }
        }
        buf.extend_from_slice(b"\r\n");
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % buf.len()).collect();
        cuts.sort_unstable();
        let mut head = RequestHead::default();
        for cut in cuts {
            prop_assert_eq!(head.parse(&buf[..cut], &LIMITS), Ok(false));
        }
        prop_assert_eq!(head.parse(&buf, &LIMITS), Ok(true));
        let parsed: Vec<_> = head.fields.iter().map(|f| (f.name.of(&buf).to_vec(), f.value.of(&buf).to_vec())).collect();
        prop_assert_eq!(&parsed, &fields);

        let (options, edits) = (ConnectionOptions::default(), Edits::default());
        let source = FieldSource { fields: &head.fields, buf: &buf, options: &options, drop: NameSet::EMPTY, edits: &edits };
        let mut out = Vec::new();
        encode::request(&mut out, RequestLine { method: b"GET", path: b"/", query: None, host: b"h", upgrade: false, via: None, authorization: None, trace: None }, source, Framing::None);
        let mut again = RequestHead::default();
        prop_assert_eq!(again.parse(&out, &LIMITS), Ok(true));
        let passed: Vec<_> = again.fields.iter().skip(1).map(|f| (f.name.of(&out).to_vec(), f.value.of(&out).to_vec())).collect();
        prop_assert_eq!(passed, fields);
    }

    #[test]
    fn chunked_bodies_come_back(pieces in vec(vec(any::<u8>(), 1..70), 0..10), cuts in vec(0..1000_usize, 0..10)) {
        let mut wire = Vec::new();
        for piece in &pieces {
            chunked::start_chunk(&mut wire, piece.len());
            wire.extend_from_slice(piece);
            wire.extend_from_slice(b"\r\n");
        }
        chunked::finish(&mut wire, b"");
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % wire.len()).chain([0, wire.len()]).collect();
        cuts.sort_unstable();
        let mut decoder = ChunkedDecoder::default();
        let mut body = Vec::new();
        let mut ended = false;
        for pair in cuts.windows(2) {
            let mut rest = &wire[pair[0]..pair[1]];
            while !rest.is_empty() {
                let (used, decoded) = decoder.decode(rest).map_err(|error| TestCaseError::fail(error.0))?;
                match decoded {
                    Decoded::Data(range) => body.extend_from_slice(&rest[range]),
                    Decoded::More => {}
                    Decoded::End => ended = true,
                }
                rest = &rest[used..];
            }
        }
        prop_assert!(ended);
        prop_assert_eq!(body, pieces.concat());
    }

    #[test]
    fn plain_paths_are_left_alone(path in "(/[A-Za-z0-9_~+:@,=-][A-Za-z0-9_.~+:@,;=-]{0,9}){1,6}/?") {
        let mut target = Target::default();
        prop_assert_eq!(target.read(path.as_bytes(), pylae_http::Method::Get), Ok(()));
        prop_assert_eq!(&target.path, path.as_bytes());
        let names: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap()).collect();
        let judged = names.join("/");
        prop_assert_eq!(target.routing_path(), judged.as_bytes());
    }
}
