//! Converts messages between Python and the codec, by way of their HTTP/1.1 bytes.

use pylae_core::Exchange;
use pylae_core::request::admit;
use pylae_http::encode::{self, RequestLine, StatusLine};
use pylae_http::{Fields, Framing, HeadLimits, NameSet, RequestHead, ResponseHead};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Field lines as Latin-1 text.
pub(super) type FieldLines = Vec<(String, String)>;

const LIMITS: HeadLimits = HeadLimits { head: 1 << 20, target: 1 << 16, fields: 1000 };

fn value_error(why: &str) -> PyErr {
    PyValueError::new_err(why.to_owned())
}

/// Appends `text` as Latin-1. Line breaks are refused.
fn push_text(out: &mut Vec<u8>, text: &str) -> PyResult<()> {
    for letter in text.chars() {
        match u8::try_from(letter) {
            Ok(byte) if byte != b'\r' && byte != b'\n' => out.push(byte),
            _ => return Err(value_error("a method, target or field has only Latin-1 characters and no line breaks")),
        }
    }
    Ok(())
}

fn push_lines(out: &mut Vec<u8>, lines: &FieldLines) -> PyResult<()> {
    for (name, value) in lines {
        push_text(out, name)?;
        out.extend_from_slice(b": ");
        push_text(out, value)?;
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Builds a request and admits it like one from a client.
pub(super) fn request(method: &str, target: &str, lines: &FieldLines) -> PyResult<Exchange> {
    if method.contains(' ') || target.contains(' ') {
        return Err(value_error("a method or target has no spaces"));
    }
    let mut bytes = Vec::with_capacity(512);
    push_text(&mut bytes, method)?;
    bytes.push(b' ');
    push_text(&mut bytes, target)?;
    // Programs may leave out the host, which only HTTP/1.0 allows.
    let host = lines.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    bytes.extend_from_slice(if host { b" HTTP/1.1\r\n" } else { b" HTTP/1.0\r\n" });
    push_lines(&mut bytes, lines)?;
    parse_request(bytes)
}

/// Parses and admits the request whose head is `bytes`.
pub(super) fn parse_request(bytes: Vec<u8>) -> PyResult<Exchange> {
    let mut exchange = Exchange::new(0);
    exchange.request.buffer = bytes;
    match exchange.request.head.parse(&exchange.request.buffer, &LIMITS) {
        Ok(true) if exchange.request.head.len == exchange.request.buffer.len() => {}
        Ok(_) => return Err(value_error("this is not one request")),
        Err(error) => return Err(value_error(&pylae_core::Halt::Head(error).detail())),
    }
    admit::admit(&mut exchange, |_| false, 1).map_err(|halt| value_error(&halt.detail()))?;
    Ok(exchange)
}

/// Sets the response head of `exchange` as if an instance had sent it.
pub(super) fn set_response(exchange: &mut Exchange, status: u16, lines: &FieldLines) -> PyResult<()> {
    if !(200..=599).contains(&status) {
        return Err(value_error("a status is a number from 200 to 599"));
    }
    exchange.response.edits.clear();
    exchange.clear_response();
    exchange.response.buffer.extend_from_slice(format!("HTTP/1.1 {status}\r\n").as_bytes());
    push_lines(&mut exchange.response.buffer, lines)?;
    let read = exchange.response.head.parse(&exchange.response.buffer, &LIMITS);
    if !matches!(read, Ok(true)) || exchange.response.head.len != exchange.response.buffer.len() {
        return Err(value_error("these are not the status and fields of one response"));
    }
    let options = exchange.response.options.read(&exchange.response.head.fields, &exchange.response.buffer);
    options.map_err(|error| value_error(error.0))?;
    exchange.response.status = status;
    Ok(())
}

/// Returns the fields of the request as they are sent to the service, without Host.
pub(super) fn request_lines(exchange: &Exchange) -> FieldLines {
    let mut bytes = Vec::with_capacity(512);
    let line = RequestLine {
        method: b"GET",
        path: b"/",
        query: None,
        host: b"-",
        upgrade: false,
        via: None,
        authorization: None,
        trace: None,
    };
    encode::request(&mut bytes, line, exchange.request.fields(NameSet::EMPTY), Framing::None);
    let mut head = RequestHead::default();
    // Cannot fail: the codec wrote the bytes.
    let _ = head.parse(&bytes, &HeadLimits { head: bytes.len(), target: 1, fields: usize::MAX });
    let mut lines = to_lines(&head.fields, &bytes);
    lines.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
    lines
}

/// Returns the fields of the response as they are sent to the client, without those that frame the body.
pub(super) fn response_lines(exchange: &Exchange) -> FieldLines {
    let mut bytes = Vec::with_capacity(512);
    let line = StatusLine { status: exchange.response.status, ..StatusLine::default() };
    encode::response(&mut bytes, line, exchange.response.fields(), Framing::None);
    let mut head = ResponseHead::default();
    let _ = head.parse(&bytes, &HeadLimits { head: bytes.len(), target: 0, fields: usize::MAX });
    to_lines(&head.fields, &bytes)
}

fn to_lines(fields: &Fields, bytes: &[u8]) -> FieldLines {
    fields.iter().map(|field| (text(field.name.of(bytes)), text(field.value.of(bytes)))).collect()
}

pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}
