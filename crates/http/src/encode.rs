//! Encodes heads. The encoder writes framing and connection fields itself; those of the received message are never
//! copied.

use crate::message::connection::ConnectionOptions;
use crate::message::fields::NEVER_WITH_UNDERSCORE;
use crate::{Edits, Field, Fields, Framing, Name, NameSet, Version};

/// Protocol in which a message was received, for `Via` (RFC 9110 section 7.6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Via {
    /// Returns the protocol of a message with a head of this version; `on_stream` means that it came over HTTP/2 and
    /// was translated to HTTP/1.1.
    pub fn of(version: Version, on_stream: bool) -> Self {
        match (on_stream, version) {
            (true, _) => Self::Http2,
            (false, Version::Http10) => Self::Http10,
            (false, Version::Http11) => Self::Http11,
        }
    }

    /// The list member that the gateway adds.
    pub fn member(self) -> &'static str {
        match self {
            Self::Http10 => "1.0 pylae",
            Self::Http11 => "1.1 pylae",
            Self::Http2 => "2.0 pylae",
        }
    }

    /// A separate line, which continues the list of the received ones.
    #[inline]
    fn line(self) -> &'static [u8] {
        match self {
            Self::Http10 => b"Via: 1.0 pylae\r\n",
            Self::Http11 => b"Via: 1.1 pylae\r\n",
            Self::Http2 => b"Via: 2.0 pylae\r\n",
        }
    }
}

/// The request line and other parts that only requests have.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// Method as spelt.
    pub method: &'a [u8],
    /// Path, canonical or rewritten.
    pub path: &'a [u8],
    /// Query without `?`.
    pub query: Option<&'a [u8]>,
    /// Value of the Host field.
    pub host: &'a [u8],
    /// Ask for an upgrade to WebSocket.
    pub upgrade: bool,
    /// Member to add to `Via`, whatever edits do to the received lines.
    pub via: Option<Via>,
    /// Value of the Authorization field in place of every other, received or added; none is written if it is empty.
    pub authorization: Option<&'a [u8]>,
    /// The trace context in place of the client's.
    pub trace: Option<TraceFields<'a>>,
}

/// The trace context that a request carries (W3C Trace Context).
#[derive(Clone, Copy, Debug)]
pub struct TraceFields<'a> {
    /// Value of `traceparent` in place of every other, received or added.
    pub parent: &'a [u8],
    /// Whether the received `tracestate` goes on.
    pub keeps_state: bool,
}

/// The fields of a message and the changes to them.
#[derive(Clone, Copy, Debug)]
pub struct FieldSource<'a> {
    /// The received field lines.
    pub fields: &'a Fields,
    /// The buffer that they refer to.
    pub buf: &'a [u8],
    /// The options of its Connection field.
    pub options: &'a ConnectionOptions,
    /// Known names to drop in addition to hop-by-hop and framing names (also if spelt with `_`).
    pub drop: NameSet,
    /// Changes made by policies.
    pub edits: &'a Edits,
}

/// Appends a request head for an instance: `METHOD path?query HTTP/1.1`, Host, the fields, the edits, the framing.
/// `Expect` is never forwarded. A `Length(0)` body is written as `Content-Length: 0`; `None` writes no framing field.
pub fn request(out: &mut Vec<u8>, line: RequestLine<'_>, source: FieldSource<'_>, framing: Framing) {
    out.extend_from_slice(line.method);
    out.push(b' ');
    out.extend_from_slice(line.path);
    if let Some(query) = line.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(line.host);
    out.extend_from_slice(b"\r\n");
    let (mut never, mut replaced) = (NEVER_IN_REQUEST, NameSet::EMPTY);
    if line.authorization.is_some() {
        replaced.add(Name::Authorization);
    }
    if let Some(trace) = &line.trace {
        replaced.add(Name::Traceparent);
        if !trace.keeps_state {
            never.add(Name::Tracestate);
        }
    }
    fields(out, source, never, replaced);
    if let Some(authorization) = line.authorization.filter(|value| !value.is_empty()) {
        self::line(out, Name::Authorization.as_str().as_bytes(), authorization);
    }
    if let Some(trace) = &line.trace {
        self::line(out, Name::Traceparent.as_str().as_bytes(), trace.parent);
    }
    out.extend_from_slice(line.via.map_or(b"", Via::line));
    body(out, framing);
    if line.upgrade {
        out.extend_from_slice(UPGRADE);
    }
    out.extend_from_slice(b"\r\n");
}

/// The status line and other parts that only responses have.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusLine<'a> {
    /// Status code.
    pub status: u16,
    /// Reason phrase; if empty, the registered one is written.
    pub reason: &'a [u8],
    /// The Content-Length to state although no body follows (responses to HEAD, 304).
    pub stated_length: Option<u64>,
    /// Write `Connection: close`.
    pub close: bool,
    /// Write `Connection: keep-alive` (an HTTP/1.0 client that asked for it).
    pub keep_alive: bool,
    /// Switch to WebSocket (101), or offer it (426).
    pub upgrade: bool,
    /// Member to add to `Via`, whatever edits do to the received lines.
    pub via: Option<Via>,
}

/// Appends a response head for a client: `HTTP/1.1 status reason`, the fields, the edits, the framing.
/// `Close` writes no framing field (the caller sets `close`).
pub fn response(out: &mut Vec<u8>, line: StatusLine<'_>, source: FieldSource<'_>, framing: Framing) {
    let reason = if line.reason.is_empty() { reason(line.status).as_bytes() } else { line.reason };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(line.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
    fields(out, source, NEVER, NameSet::EMPTY);
    out.extend_from_slice(line.via.map_or(b"", Via::line));
    match (framing, line.stated_length) {
        (Framing::None, Some(length)) => body(out, Framing::Length(length)),
        _ => body(out, framing),
    }
    if line.upgrade {
        out.extend_from_slice(UPGRADE);
    }
    if line.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if line.keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

const UPGRADE: &[u8] = b"Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// Fields of the connection or the framing: the encoder writes them itself or drops them.
const NEVER: NameSet = NameSet::of(&[
    Name::Connection,
    Name::ContentLength,
    Name::Http2Settings,
    Name::KeepAlive,
    Name::Proxy,
    Name::ProxyAuthenticate,
    Name::ProxyAuthorization,
    Name::ProxyConnection,
    Name::Te,
    Name::Trailer,
    Name::TransferEncoding,
    Name::Upgrade,
]);
const NEVER_IN_REQUEST: NameSet = NEVER.with(NameSet::of(&[Name::Expect, Name::Host]));

/// Writes the received lines but for those of the names in `never` and `replaced`, then the added ones but for those in
/// `replaced`.
fn fields(out: &mut Vec<u8>, source: FieldSource<'_>, never: NameSet, replaced: NameSet) {
    let FieldSource { fields, buf, options, edits, .. } = source;
    let mut drop = never.with(replaced).with(source.drop).with(edits.removed());
    for nominated in &options.nominated {
        drop.add(Name::classify(nominated.of(buf)));
    }
    let check_others = edits.removes_others() || !options.nominated.is_empty();
    // Adjacent lines that are kept are copied together.
    let mut run = 0..0;
    for (index, field) in fields.iter().enumerate() {
        if drop.has(field.id) || (field.underscore && NEVER_WITH_UNDERSCORE.has(field.id)) {
            continue;
        }
        let name = field.name.of(buf);
        if check_others && field.id == Name::Other && (edits.removes(Name::Other, name) || options.nominates(buf, name))
        {
            continue;
        }
        let end = fields.raw_end(index);
        if !is_plain(field, end, buf) {
            out.extend_from_slice(&buf[run.clone()]);
            run = 0..0;
            line(out, name, field.value.of(buf));
        } else if run.end == field.name.start as usize {
            run.end = end;
        } else {
            out.extend_from_slice(&buf[run.clone()]);
            run = field.name.start as usize..end;
        }
    }
    out.extend_from_slice(&buf[run]);
    for (name, value) in edits.added_except(replaced) {
        line(out, name, value);
    }
}

/// Returns true if the raw line, which ends at `end`, is `name: value CRLF` and can be copied unchanged.
#[inline]
fn is_plain(field: &Field, end: usize, buf: &[u8]) -> bool {
    let colon = field.name.end();
    end == field.value.end() + 2 && field.value.start as usize == colon + 2 && buf[colon + 1] == b' '
}

#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn body(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::Close => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

/// Returns the registered reason phrase of a status code (RFC 9110 section 15 and the IANA registry), or an empty text.
pub fn reason(status: u16) -> &'static str {
    REASONS.iter().find(|(code, _)| *code == status).map_or("", |(_, phrase)| phrase)
}

const REASONS: &[(u16, &str)] = &[
    (200, "OK"),
    (404, "Not Found"),
    (100, "Continue"),
    (101, "Switching Protocols"),
    (102, "Processing"),
    (103, "Early Hints"),
    (201, "Created"),
    (202, "Accepted"),
    (203, "Non-Authoritative Information"),
    (204, "No Content"),
    (205, "Reset Content"),
    (206, "Partial Content"),
    (207, "Multi-Status"),
    (208, "Already Reported"),
    (226, "IM Used"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Found"),
    (303, "See Other"),
    (304, "Not Modified"),
    (305, "Use Proxy"),
    (307, "Temporary Redirect"),
    (308, "Permanent Redirect"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (410, "Gone"),
    (411, "Length Required"),
    (412, "Precondition Failed"),
    (413, "Content Too Large"),
    (414, "URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Range Not Satisfiable"),
    (417, "Expectation Failed"),
    (421, "Misdirected Request"),
    (422, "Unprocessable Content"),
    (423, "Locked"),
    (424, "Failed Dependency"),
    (425, "Too Early"),
    (426, "Upgrade Required"),
    (428, "Precondition Required"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (451, "Unavailable For Legal Reasons"),
    (500, "Internal Server Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (505, "HTTP Version Not Supported"),
    (506, "Variant Also Negotiates"),
    (507, "Insufficient Storage"),
    (508, "Loop Detected"),
    (510, "Not Extended"),
    (511, "Network Authentication Required"),
];

#[cfg(test)]
mod tests;
