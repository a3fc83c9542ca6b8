//! What must hold of the HTTP codec for any input. Called by the fuzz targets and by `crates/http/tests`.
#![allow(dead_code, reason = "each fuzz target calls one of these")]

use pylae_http::body::framing;
use pylae_http::encode::{self, FieldSource, RequestLine, StatusLine};
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::message::{host, target};
use pylae_http::{
    ChunkedDecoder, Decoded, Edits, Fields, Framing, HeadError, HeadLimits, Method, Name, NameSet, RequestHead,
    ResponseHead, Target,
};

const LIMITS: HeadLimits = HeadLimits { head: 2048, target: 512, fields: 32 };
/// For heads that the encoder wrote: it adds a Host and framing.
const WIDER: HeadLimits = HeadLimits { head: 8192, target: 4096, fields: 64 };

/// `data` as a request head and as a response head.
pub(crate) fn head(data: &[u8]) {
    request(data);
    response(data);
}

fn request(data: &[u8]) {
    let mut head = RequestHead::default();
    let outcome = head.parse(data, &LIMITS);
    for step in [1, 7] {
        let mut other = RequestHead::default();
        let (piecewise, seen) = piecewise(data, step, |bytes| other.parse(bytes, &LIMITS));
        assert_eq!(outcome, piecewise, "cut every {step} bytes");
        if outcome == Ok(true) {
            assert!(seen < other.len + step, "complete as soon as the blank line is there");
            assert_eq!((head.len, head.method_span, head.target), (other.len, other.method_span, other.target));
            assert!(head.fields.iter().eq(other.fields.iter()));
        }
    }
    if outcome != Ok(true) {
        return;
    }
    assert!(head.len <= LIMITS.head && head.target.len as usize <= LIMITS.target && head.fields.len() <= LIMITS.fields);
    assert!(data[..head.len].ends_with(b"\r\n\r\n"));
    check_fields(&head.fields, data);

    let framing = framing::request(&head, data);
    if let Ok(framing) = framing {
        check_framing(&head.fields, data, framing, Framing::None);
    }
    let mut options = ConnectionOptions::default();
    if options.read(&head.fields, data).is_err() {
        return;
    }
    let edits = Edits::default();
    let source =
        FieldSource { fields: &head.fields, buf: data, options: &options, drop: NameSet::EMPTY, edits: &edits };
    let line = RequestLine {
        method: head.method_span.of(data),
        path: head.target.of(data),
        query: None,
        host: b"h",
        upgrade: false,
        via: None,
        authorization: None,
        trace: None,
    };
    let framing = framing.unwrap_or(Framing::None);
    let mut out = Vec::new();
    encode::request(&mut out, line, source, framing);
    let mut again = RequestHead::default();
    assert_eq!(again.parse(&out, &WIDER), Ok(true), "{}", out.escape_ascii());
    assert_eq!(again.len, out.len());
    assert_eq!(again.method_span.of(&out), head.method_span.of(data));
    assert_eq!(again.target.of(&out), head.target.of(data));
    assert_eq!(framing::request(&again, &out), Ok(framing));
    assert_eq!(again.fields.count(Name::Host), 1);
    check_forwarded(&again.fields, &out, &head.fields, data, &options);
    let mut options = ConnectionOptions::default();
    assert_eq!(options.read(&again.fields, &out), Ok(()));
    assert!(options.nominated.is_empty() && !options.close && !options.keep_alive);
}

fn response(data: &[u8]) {
    let mut head = ResponseHead::default();
    let outcome = head.parse(data, &LIMITS);
    for step in [1, 7] {
        let mut other = ResponseHead::default();
        let (piecewise, _) = piecewise(data, step, |bytes| other.parse(bytes, &LIMITS));
        assert_eq!(outcome, piecewise, "cut every {step} bytes");
        if outcome == Ok(true) {
            assert_eq!((head.len, head.status, head.reason), (other.len, other.status, other.reason));
            assert!(head.fields.iter().eq(other.fields.iter()));
        }
    }
    if outcome != Ok(true) {
        return;
    }
    assert!((100..=599).contains(&head.status));
    check_fields(&head.fields, data);
    let framing = framing::response(&head, data, Method::Get);
    let without_body = framing::response(&head, data, Method::Head);
    assert_eq!(framing.is_err(), without_body.is_err());
    assert!(without_body.is_err() || without_body == Ok(Framing::None));
    let bodiless = matches!(head.status, 100..=199 | 204 | 304);
    match framing {
        Ok(Framing::None) => assert!(bodiless),
        Ok(framing) => {
            assert!(!bodiless);
            check_framing(&head.fields, data, framing, Framing::Close);
        }
        Err(_) => {}
    }
    let mut options = ConnectionOptions::default();
    if options.read(&head.fields, data).is_err() {
        return;
    }
    let edits = Edits::default();
    let source =
        FieldSource { fields: &head.fields, buf: data, options: &options, drop: NameSet::EMPTY, edits: &edits };
    let reason = head.reason.of(data);
    let line = StatusLine {
        status: head.status,
        reason,
        stated_length: None,
        close: true,
        keep_alive: false,
        upgrade: false,
        via: None,
    };
    let Ok(framing) = framing else { return };
    let mut out = Vec::new();
    encode::response(&mut out, line, source, framing);
    let mut again = ResponseHead::default();
    assert_eq!(again.parse(&out, &WIDER), Ok(true), "{}", out.escape_ascii());
    assert_eq!((again.len, again.status), (out.len(), head.status));
    assert_eq!(framing::response(&again, &out, Method::Get), Ok(framing));
    check_forwarded(&again.fields, &out, &head.fields, data, &options);
}

/// Gives `parse` ever longer parts of `data`. Returns the outcome and how many bytes it took.
fn piecewise(
    data: &[u8],
    step: usize,
    mut parse: impl FnMut(&[u8]) -> Result<bool, HeadError>,
) -> (Result<bool, HeadError>, usize) {
    let mut end = 0;
    loop {
        let outcome = parse(&data[..end]);
        if outcome != Ok(false) || end == data.len() {
            return (outcome, end);
        }
        end = (end + step).min(data.len());
    }
}

fn check_fields(fields: &Fields, buf: &[u8]) {
    for field in fields {
        let name = field.name.of(buf);
        let value = field.value.of(buf);
        assert!(
            !name.is_empty() && !name.iter().any(|byte| byte.is_ascii_control() || b" :,;\"()<>@[]{}".contains(byte))
        );
        assert!(!value.iter().any(|&byte| byte != b'\t' && byte.is_ascii_control()));
        assert!(
            !value.starts_with(b" ") && !value.ends_with(b" ") && !value.starts_with(b"\t") && !value.ends_with(b"\t")
        );
        assert_eq!(field.id, Name::classify(name));
        assert_eq!(field.underscore, field.id != Name::Other && name.contains(&b'_'));
    }
}

/// There is one reading: the fields say the framing in the only accepted way, or nothing.
fn check_framing(fields: &Fields, buf: &[u8], framing: Framing, silent: Framing) {
    let values = |name| fields.values(buf, name).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (codings, lengths) = (values("transfer-encoding"), values("content-length"));
    match (&codings[..], &lengths[..]) {
        ([], []) => assert_eq!(framing, silent),
        ([coding], []) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"));
            assert_eq!(framing, Framing::Chunked);
        }
        ([], [length]) => {
            assert!(length.len() <= 19 && length.iter().all(u8::is_ascii_digit));
            let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
            assert_eq!(Some(framing), length.map(Framing::Length));
        }
        _ => panic!("contradictory fields were accepted"),
    }
}

/// All lines of `after` come from `before`, in order, save those that the encoder owns; hop-by-hop lines are gone.
fn check_forwarded(after: &Fields, out: &[u8], before: &Fields, buf: &[u8], options: &ConnectionOptions) {
    let own = |id| matches!(id, Name::Host | Name::ContentLength | Name::TransferEncoding | Name::Connection);
    let gone = |id| {
        own(id)
            || matches!(
                id,
                Name::KeepAlive | Name::ProxyConnection | Name::Te | Name::Trailer | Name::Upgrade | Name::Proxy
            )
            || matches!(id, Name::ProxyAuthenticate | Name::ProxyAuthorization | Name::Http2Settings)
    };
    let mut source = before.iter();
    for field in after.iter().filter(|field| !own(field.id)) {
        assert!(!gone(field.id));
        let line = (field.name.of(out), field.value.of(out));
        assert!(!options.nominates(buf, line.0));
        assert!(source.any(|field| (field.name.of(buf), field.value.of(buf)) == line), "a line that did not come in");
    }
    for field in after {
        assert!(!(field.underscore && own(field.id)));
    }
    let passes = |id, name| !gone(id) && id == Name::Other && !options.nominates(buf, name);
    let wanted = before.iter().filter(|field| passes(field.id, field.name.of(buf))).count();
    assert_eq!(after.iter().filter(|field| field.id == Name::Other).count(), wanted);
}

/// `data` as a chunked body.
pub(crate) fn chunked(data: &[u8]) {
    let whole = decode(data, usize::MAX);
    for step in [1, 3, 64] {
        assert_eq!(whole, decode(data, step), "cut every {step} bytes");
    }
    let Ok((body, trailers, Some(used))) = whole else { return };
    assert!(used <= data.len() && data[..used].ends_with(b"\r\n"));
    let mut out = Vec::new();
    for piece in body.chunks(100) {
        pylae_http::body::chunked::start_chunk(&mut out, piece.len());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    pylae_http::body::chunked::finish(&mut out, &trailers);
    let len = out.len();
    out.extend_from_slice(data);
    assert_eq!(decode(&out, usize::MAX), Ok((body, trailers, Some(len))), "what is written is read");
}

/// Body, trailers and, if the end was reached, how many bytes it took.
type Body = (Vec<u8>, Vec<u8>, Option<usize>);

fn decode(data: &[u8], step: usize) -> Result<Body, pylae_http::body::chunked::ChunkError> {
    let mut decoder = ChunkedDecoder::default();
    let mut body = Vec::new();
    let mut used = 0;
    for piece in data.chunks(step) {
        let mut rest = piece;
        loop {
            let (consumed, decoded) = decoder.decode(rest)?;
            used += consumed;
            match decoded {
                Decoded::Data(range) => {
                    assert!(!range.is_empty() && range.end == consumed);
                    body.extend_from_slice(&rest[range]);
                }
                Decoded::More => {
                    assert_eq!(consumed, rest.len());
                    break;
                }
                Decoded::End => return Ok((body, decoder.trailers().to_vec(), Some(used))),
            }
            rest = &rest[consumed..];
        }
    }
    assert!(decoder.trailers().is_empty());
    Ok((body, Vec::new(), None))
}

/// `data` as a request target and as an authority.
pub(crate) fn target(data: &[u8]) {
    authority(data);
    slashes(data);
    for method in [Method::Get, Method::Options] {
        let mut target = Target::default();
        if target.read(data, method).is_err() {
            continue;
        }
        let path = target.path.clone();
        if path == b"*" {
            assert_eq!(method, Method::Options);
            continue;
        }
        check_path(&path);
        check_path(target.routing_path());
        assert!(!target.routing_path().contains(&b';'));
        assert_eq!(target.has_parameters(), path.contains(&b';'));
        assert_eq!(target.end_from(0), path);
        if let Some(query) = target.query {
            assert!(query.of(data).iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'));
            assert_eq!(query.end(), data.len());
        }
        if let Some(span) = target.authority {
            assert!(host::canonical(span.of(data), &mut Vec::new()).is_ok());
        }
        assert_eq!(target.read(&path, method), Ok(()), "{}", path.escape_ascii());
        assert_eq!(target.path, path, "canonical twice");
    }
}

/// `data` as a target whose `%2F` are kept: both readings of it are canonical.
fn slashes(data: &[u8]) {
    let (mut kept, mut strict) = (Target::default(), Target::default());
    let read = kept.read_with_slashes(data, Method::Get);
    assert_eq!(strict.read(data, Method::Get).is_ok(), read.is_ok() && !kept.has_slashes());
    if read.is_err() || !kept.has_slashes() {
        return;
    }
    let (path, decoded) = (kept.path.clone(), kept.routing_path_with_slashes_decoded());
    assert!(!target::has_odd_slashes(&path));
    check_path(&decoded);
    assert_eq!(strict.read(&decoded, Method::Get), Ok(()), "{}", path.escape_ascii());
    assert_eq!(strict.path, decoded);
    assert_eq!(kept.read_with_slashes(&path, Method::Get), Ok(()));
    assert_eq!(kept.path, path, "canonical twice");
}

fn check_path(path: &[u8]) {
    assert_eq!(path.first(), Some(&b'/'));
    assert!(!path.windows(2).any(|pair| pair == b"//"), "empty segment");
    for segment in path[1..].split(|&byte| byte == b'/') {
        assert!(segment != b"." && segment != b".." && !segment.starts_with(b"..;") && !segment.starts_with(b".;"));
    }
    for (at, &byte) in path.iter().enumerate() {
        assert!(byte.is_ascii_graphic() && !b"\\#?\"<>^`{|}".contains(&byte));
        if byte == b'%' {
            let digits = &path[at + 1..at + 3];
            assert!(digits.iter().all(|digit| digit.is_ascii_digit() || (b'A'..=b'F').contains(digit)));
            let digit = |byte: u8| if byte <= b'9' { byte - b'0' } else { byte - b'A' + 10 };
            let value = digit(digits[0]) << 4 | digit(digits[1]);
            assert!(!value.is_ascii_alphanumeric() && !b"-._~/\\\0".contains(&value));
        }
    }
}

fn authority(data: &[u8]) {
    let mut once = Vec::new();
    let Ok(len) = host::canonical(data, &mut once) else { return };
    assert!(len > 0 && len <= once.len());
    assert!(
        !once.iter().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii_graphic() || b"/?#@%\\,".contains(byte))
    );
    let mut twice = Vec::new();
    assert_eq!(host::canonical(&once, &mut twice), Ok(len));
    assert_eq!(once, twice, "canonical twice");
}
