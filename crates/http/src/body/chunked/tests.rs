use super::*;

/// Body, trailers and the number of bytes consumed.
type Body = (Vec<u8>, Vec<u8>, usize);

/// Decodes `input` in pieces of `size`. Returns None if it is incomplete.
fn decode(input: &[u8], size: usize) -> Result<Option<Body>, ChunkError> {
    let mut decoder = ChunkedDecoder::default();
    let mut body = Vec::new();
    let mut used = 0;
    for mut piece in input.chunks(size) {
        loop {
            let (consumed, decoded) = decoder.decode(piece)?;
            used += consumed;
            match decoded {
                Decoded::Data(range) => {
                    assert_eq!(range.end, consumed);
                    body.extend_from_slice(&piece[range]);
                }
                Decoded::More => {
                    assert_eq!(consumed, piece.len());
                    break;
                }
                Decoded::End => return Ok(Some((body, decoder.trailers().to_vec(), used))),
            }
            piece = &piece[consumed..];
        }
    }
    Ok(None)
}

fn error(input: &[u8]) -> bool {
    let whole = decode(input, input.len()).is_err();
    assert_eq!(whole, decode(input, 1).is_err(), "{}", input.escape_ascii());
    whole
}

#[test]
fn decodes_wherever_it_is_cut() {
    let input = b"5\r\nhello\r\n00b;ext=\"v\"\r\n, wonderful\r\n1 ; a\t= \"\\\"\" \t; b\r\n!\r\n000;last\r\nX-Sum: 1\r\nEtag:x\r\n\r\nGET /";
    for size in 1..=input.len() {
        let (body, trailers, used) = decode(input, size).unwrap().unwrap();
        assert_eq!(body, b"hello, wonderful!");
        assert_eq!(trailers, b"X-Sum: 1\r\nEtag: x\r\n");
        assert_eq!(&input[used..], b"GET /");
    }
}

#[test]
fn stays_at_the_end_until_reset() {
    let mut decoder = ChunkedDecoder::default();
    assert_eq!(decoder.decode(b"0\r\nA: 1\r\n\r\nrest"), Ok((11, Decoded::End)));
    assert_eq!(decoder.decode(b"rest"), Ok((0, Decoded::End)));
    assert_eq!(decoder.decode(b""), Ok((0, Decoded::End)));
    assert_eq!(decoder.trailers(), b"A: 1\r\n");
    decoder.reset();
    assert_eq!(decoder.trailers(), b"");
    assert_eq!(decoder.decode(b"3\r\nab"), Ok((5, Decoded::Data(3..5))));
    assert_eq!(decoder.decode(b"c\r\n0\r\n\r\n"), Ok((1, Decoded::Data(0..1))));
    assert_eq!(decoder.decode(b"\r\n0\r\n\r\n"), Ok((7, Decoded::End)));
    assert_eq!(decoder.decode(b""), Ok((0, Decoded::End)));
}

#[test]
fn refuses_bad_sizes() {
    for input in [
        "\r\n",
        ";a\r\n",
        " 5\r\n",
        "5 \r\n",
        "5\t\r\n",
        "5 5\r\n",
        "5 a\r\n",
        "0x5\r\n",
        "+5\r\n",
        "-1\r\n",
        "5\n",
        "5\rx",
        "5\r\r",
        "g\r\n",
        "5,5\r\n",
        "00000000000000005\r\n",
        "ffffffffffffffff\r\n",
        "20000000000001\r\n",
        "5_0\r\n",
        "\u{665}\r\n",
    ] {
        assert!(error(input.as_bytes()), "{input:?}");
    }
    assert!(!error(b"20000000000000\r\n"));
    assert!(!error(b"0000000000000005\r\nabcde"));
}

#[test]
fn data_ends_with_its_line_end_and_nothing_else() {
    for input in ["1\r\na\n", "1\r\nab", "1\r\na\r0", "1\r\na0\r\n\r\n", "2\r\nabc\r\n"] {
        assert!(error(input.as_bytes()), "{input:?}");
    }
}

#[test]
fn extensions_follow_their_grammar() {
    for input in [
        ";a",
        ";a=b",
        ";a=\"\"",
        ";a=\"b c\t; \"",
        ";a;b;c=d;e=\"f\"",
        " ;a",
        "\t ; \ta \t= \tb\t ;\tc",
        ";a=\"\\\"\\\\\\;\\ \"",
        ";!#$%&'*+-.^_`|~09=!#$%&'*+-.^_`|~09",
        ";a=\"\u{e9}\\\u{e9}\"",
        ";a=\"=;\";b",
    ] {
        assert!(!error(format!("5{input}\r\nhello\r\n0{input}\r\n\r\n").as_bytes()), "{input:?}");
    }
    for input in [
        ";",
        ";;a",
        ";a;",
        ";a ;",
        "; ",
        ";a ",
        ";a=b ",
        ";a=\"b\" ",
        ";=b",
        ";a=",
        ";a= ",
        ";a=;b",
        ";a==b",
        ";a=b=c",
        ";a b",
        ";a=b c",
        ";a=b\"c\"",
        ";a=\"b\"c",
        ";a=\"b",
        ";a=\"b\\",
        ";a=\"b\\\"",
        ";\"a\"",
        ";a=\u{e9}",
        ";\u{e9}",
        ";a,b",
        ";a=(b)",
        ";a\0",
        ";a=\"\0\"",
        ";a=\"\\\0\"",
        ";a=\"\u{7f}\"",
        " a",
        "  ",
        " =a",
    ] {
        assert!(error(format!("5{input}\r\n").as_bytes()), "{input:?}");
    }
}

#[test]
fn extensions_are_bounded_and_hold_no_line_ends() {
    for input in ["5;a\n", "5;a\rb", "5;a=\"a\nb\"\r\n", "5;a=\"b\r\n\"\r\n", "5;a=\"b\\\r\n\"", "5;a=\"\\\n\"\r\n"] {
        assert!(error(input.as_bytes()), "{input:?}");
    }
    let chunk = |len: usize| format!("1;{}\r\nx\r\n", "e".repeat(len));
    assert!(!error(chunk(256).as_bytes()));
    assert!(error(chunk(257).as_bytes()));
    assert!(!error(chunk(256).repeat(64).as_bytes()));
    assert!(error(chunk(256).repeat(65).as_bytes()));
}

#[test]
fn trailers_follow_the_rules_of_fields_and_are_bounded() {
    for trailer in [" a: 1", "a : 1", "a", ": 1", "a: 1\n", "a: \0", "a: 1\r\n b", "\n", "\rX", "a: 1\rb"] {
        assert!(error(format!("0\r\n{trailer}\r\n").as_bytes()), "{trailer:?}");
    }
    let section =
        |count: usize, len: usize| format!("0\r\n{}\r\n", format!("a: {}\r\n", "x".repeat(len)).repeat(count));
    assert!(!error(section(64, 1).as_bytes()));
    assert!(error(section(65, 1).as_bytes()));
    assert!(decode(section(1, 8192 - 7).as_bytes(), 100).unwrap().is_some());
    assert!(error(section(1, 8192 - 6).as_bytes()));
    assert!(error(section(1, 9000).as_bytes()[..8195].as_ref()));
}

#[test]
fn fields_that_steer_are_dropped_from_trailers() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "content_length",
        "Host",
        "Connection",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Set-Cookie2",
        "Cache-Control",
        "Content-Type",
        "Content-Disposition",
        "X-Forwarded-For",
        "X-Forwarded-Anything",
        "x_user_id",
        "X-User-Anything",
        "X-Request-ID",
        "Trailer",
        "TE",
        "Age",
        "Expires",
        "Location",
        "Proxy-Anything",
        "Access-Control-Allow-Credentials",
        "Sec-Fetch-Mode",
        "If-Match",
        "Strict-Transport-Security",
        "Expect",
        "Upgrade",
    ] {
        let input = format!("0\r\nA: 1\r\n{name}: x\r\nGrpc-Status: 0\r\n\r\n");
        let (_, trailers, _) = decode(input.as_bytes(), input.len()).unwrap().unwrap();
        assert_eq!(String::from_utf8(trailers).unwrap(), "A: 1\r\nGrpc-Status: 0\r\n", "{name}");
    }
}

#[test]
fn writes_chunks() {
    for (len, line) in
        [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0x1F00, "1f00\r\n"), (usize::MAX, "ffffffffffffffff\r\n")]
    {
        let mut out = Vec::new();
        start_chunk(&mut out, len);
        assert_eq!(out, line.as_bytes());
    }
    let mut out = Vec::new();
    finish(&mut out, b"A: 1\r\n");
    finish(&mut out, b"");
    assert_eq!(out, b"0\r\nA: 1\r\n\r\n0\r\n\r\n");
}

#[test]
fn trailers_are_left_out_by_name() {
    let names = ["x-team".into(), "remote-user".into()];
    let sent = b"X-Team: a\r\nX_TEAM: b\r\nX-Teams: c\r\nremote_user:d\r\nX-Sum: remote-user: 1\r\n";
    assert_eq!(without(sent, &names), b"X-Teams: c\r\nX-Sum: remote-user: 1\r\n");
    assert_eq!(without(b"", &names), b"");
}
