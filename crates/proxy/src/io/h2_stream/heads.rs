//! Converts heads between HTTP/2 and HTTP/1.1. The same parser and encoder handle the text for both protocols, so that
//! every rule about heads exists once. This module has only the differences (RFC 9113 sections 8.2 and 8.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHORIZATION, SEC_WEBSOCKET_KEY, SET_COOKIE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
use memchr::{memchr, memmem};

/// Fields with credentials, which are sent as never-indexed literals (RFC 7541 section 7.1.3).
const SECRET: [HeaderName; 4] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE];

/// The head has no equivalent in the other protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Returns true if the request opens a WebSocket (RFC 8441 section 4).
pub(crate) fn opens_websocket(parts: &request::Parts) -> bool {
    let protocol = parts.extensions.get::<Protocol>();
    parts.method == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Appends a client's request head as HTTP/1.1. `has_body`: the stream does not end with the head.
pub(crate) fn write_request(parts: &request::Parts, has_body: bool, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let websocket = opens_websocket(parts);
    let authority = authority_of(parts)?;
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Malformed);
    }
    out.extend_from_slice(if websocket { b"GET" } else { parts.method.as_str().as_bytes() });
    out.push(b' ');
    let target = match parts.uri.path_and_query() {
        Some(target) if websocket => target.as_str(),
        _ if parts.method == Method::CONNECT => std::str::from_utf8(authority).map_err(|_| Malformed)?,
        Some(target) => target.as_str(),
        None => "/",
    };
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    line(out, b"host", authority);
    write_fields(&parts.headers, out, |name| name == HOST || (websocket && name == SEC_WEBSOCKET_KEY))?;
    if websocket {
        // HTTP/2 has no key, but the HTTP/1.1 handshake needs one.
        let key = STANDARD.encode(fastrand::u128(..).to_ne_bytes());
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        line(out, b"sec-websocket-key", key.as_bytes());
    } else if has_body && !parts.headers.contains_key(CONTENT_LENGTH) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Returns `:authority`, or else `Host`. If there are both, they must be equal (RFC 9113 section 8.3.1).
fn authority_of(parts: &request::Parts) -> Result<&[u8], Malformed> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Malformed);
    }
    match (parts.uri.authority().map(|authority| authority.as_str().as_bytes()), host) {
        (Some(authority), None) => Ok(authority),
        (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => Ok(authority),
        (None, Some(host)) => Ok(host),
        _ => Err(Malformed),
    }
}

/// Appends an instance's response head as HTTP/1.1.
pub(crate) fn write_response(status: StatusCode, fields: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" \r\n");
    write_fields(fields, out, |_| false)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends a trailer section, blank line included.
pub(crate) fn write_trailers(fields: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Malformed> {
    write_fields(fields, out, |_| false)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn write_fields(fields: &HeaderMap, out: &mut Vec<u8>, skip: impl Fn(&HeaderName) -> bool) -> Result<(), Malformed> {
    let mut cookies = false;
    for (name, value) in fields {
        if skip(name) || (cookies && name == COOKIE) {
            continue;
        }
        let value = value.as_bytes();
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if blank(value.first()) || blank(value.last()) {
            return Err(Malformed);
        }
        if name == COOKIE {
            // Cookie crumbs are joined to one field (RFC 9113 section 8.2.3).
            cookies = true;
            out.extend_from_slice(b"cookie: ");
            for (index, crumb) in fields.get_all(COOKIE).iter().enumerate() {
                out.extend_from_slice(if index > 0 { b"; " } else { b"" });
                out.extend_from_slice(crumb.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        } else {
            line(out, name.as_str().as_bytes(), value);
        }
    }
    Ok(())
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Parses the response head at the start of `text`, which the encoder wrote. Returns it with its length.
pub(crate) fn read_response(text: &[u8]) -> Result<(Response<()>, usize), Malformed> {
    let (head, start, len) = head_of(text)?;
    let status = head.get(b"HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3)).ok_or(Malformed)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_bytes(status).map_err(|_| Malformed)?;
    *response.headers_mut() = read_fields(&head, start)?;
    Ok((response, len))
}

/// Parses the request head at the start of `text`, which the encoder wrote. Returns it with its length.
pub(crate) fn read_request(text: &[u8], scheme: Scheme) -> Result<(Request<()>, usize), Malformed> {
    let (head, start, len) = head_of(text)?;
    let first = &head[..start];
    let method_end = memchr(b' ', first).ok_or(Malformed)?;
    let rest = &first[method_end + 1..];
    let target = &rest[..memchr(b' ', rest).ok_or(Malformed)?];
    let mut fields = read_fields(&head, start)?;
    let host = fields.remove(HOST).ok_or(Malformed)?;
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(Authority::try_from(host.as_bytes()).map_err(|_| Malformed)?)
        .path_and_query(path_and_query(target)?)
        .build();
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(&first[..method_end]).map_err(|_| Malformed)?;
    *request.uri_mut() = uri.map_err(|_| Malformed)?;
    // The gateway accepts trailers (RFC 9110 section 10.1.4), and gRPC requires this field.
    fields.insert(http::header::TE, HeaderValue::from_static("trailers"));
    *request.headers_mut() = fields;
    Ok((request, len))
}

/// Parses a target, percent-encoding the bytes that are allowed here but not in a URI.
fn path_and_query(target: &[u8]) -> Result<PathAndQuery, Malformed> {
    PathAndQuery::try_from(target).or_else(|_| {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let mut encoded = Vec::with_capacity(target.len() + 16);
        for &byte in target {
            match byte {
                b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                    encoded.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                }
                _ => encoded.push(byte),
            }
        }
        PathAndQuery::try_from(&encoded[..]).map_err(|_| Malformed)
    })
}

/// Parses trailer lines.
pub(crate) fn read_trailers(lines: &[u8]) -> Result<HeaderMap, Malformed> {
    read_fields(&Bytes::copy_from_slice(lines), 0)
}

/// Returns the head at the start of `text` without its blank line, the start of its field lines, and its length.
fn head_of(text: &[u8]) -> Result<(Bytes, usize, usize), Malformed> {
    let end = memmem::find(text, b"\r\n\r\n").ok_or(Malformed)?;
    // One copy, which all values share.
    let head = Bytes::copy_from_slice(&text[..end + 2]);
    let start = memchr(b'\n', &head).ok_or(Malformed)? + 1;
    Ok((head, start, end + 4))
}

/// Parses the field lines from `start` on, without connection-specific fields (RFC 9113 section 8.2.2).
fn read_fields(text: &Bytes, start: usize) -> Result<HeaderMap, Malformed> {
    let mut fields = HeaderMap::with_capacity(16);
    let mut at = start;
    while at < text.len() {
        let end = at + memchr(b'\n', &text[at..]).ok_or(Malformed)?;
        let colon = at + memchr(b':', &text[at..end]).ok_or(Malformed)?;
        let name = HeaderName::from_bytes(&text[at..colon]).map_err(|_| Malformed)?;
        // The value is preceded by `: ` and followed by `CR`.
        let value = text.get(colon + 2..end - 1).map(|_| text.slice(colon + 2..end - 1)).ok_or(Malformed)?;
        at = end + 1;
        if !matches!(name.as_str(), "connection" | "transfer-encoding" | "keep-alive" | "upgrade" | "proxy-connection")
        {
            let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| Malformed)?;
            value.set_sensitive(SECRET.contains(&name));
            fields.append(name, value);
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests;
