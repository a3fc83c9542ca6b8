//! The WebSocket handshake (RFC 6455 section 4): which requests are one, and which responses accept it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pylae_http::{Framing, Method, Name, Version};

use crate::exchange::Exchange;
use crate::exchange::halt::{Halt, Rejection};
use crate::exchange::request::Request;
use crate::exchange::response::Response;

/// Appended to the key before hashing (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only extension that the gateway supports (RFC 7692).
const DEFLATE: &[u8] = b"permessage-deflate";
const EXTENSIONS: &str = "sec-websocket-extensions";

/// Checks a request on a route that allows WebSocket. A handshake is marked as such, or refused if it is invalid; any
/// other request stays an ordinary request.
pub fn admit(exchange: &mut Exchange) -> Result<(), Halt> {
    if !is_handshake(exchange) {
        return Ok(());
    }
    exchange.request.upgrades = true;
    let Request { head, buffer, framing, .. } = &exchange.request;
    let only = |name| head.fields.get(buffer, name).filter(|_| head.fields.count(name) == 1);
    if !matches!(framing, Framing::None | Framing::Length(0)) {
        return Err(Halt::Malformed("a WebSocket handshake has no body"));
    }
    if only(Name::SecWebsocketVersion) != Some(b"13") {
        return Err(Halt::Rejected(Box::new(Rejection {
            status: 426,
            code: "websocket_version",
            message: "only version 13 of the WebSocket protocol is supported here".into(),
            headers: vec![("Sec-WebSocket-Version".into(), "13".to_owned())],
        })));
    }
    if !only(Name::SecWebsocketKey).is_some_and(is_key) {
        return Err(Halt::Malformed("a WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64"));
    }
    narrow_extensions(exchange)
}

/// Returns true if the request asks for a WebSocket. Other upgrades, and upgrades by other methods or versions, are
/// ignored as RFC 9110 section 7.8 allows.
fn is_handshake(exchange: &Exchange) -> bool {
    let Exchange { request: Request { head, buffer, options, .. }, .. } = exchange;
    head.fields.has(Name::Upgrade)
        && options.upgrade
        && head.method == Method::Get
        && head.version == Version::Http11
        && head.fields.count(Name::Upgrade) == 1
        && head.fields.get(buffer, Name::Upgrade).is_some_and(is_websocket)
}

fn is_websocket(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"websocket")
}

/// Returns true for 16 bytes in base64.
fn is_key(value: &[u8]) -> bool {
    value.len() == 24
        && value.ends_with(b"==")
        && value[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
}

/// Returns the elements of a list field, over all its lines.
fn elements<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

fn is_deflate(element: &[u8]) -> bool {
    let name = element.split(|byte| *byte == b';').next().unwrap_or_default();
    name.trim_ascii_end().eq_ignore_ascii_case(DEFLATE)
}

/// Removes unsupported extensions from the client's offer: the gateway could not parse their frames.
fn narrow_extensions(exchange: &mut Exchange) -> Result<(), Halt> {
    if elements(exchange.request.values(EXTENSIONS)).all(is_deflate) {
        return Ok(());
    }
    let Exchange { request: Request { head, buffer, edits: request_edits, .. }, .. } = exchange;
    let known: Vec<_> =
        elements(head.fields.values(buffer, EXTENSIONS)).filter(|element| is_deflate(element)).collect();
    if known.is_empty() {
        request_edits.remove_known(Name::SecWebsocketExtensions);
        return Ok(());
    }
    let offer = known.join(&b", "[..]);
    request_edits
        .set_known(Name::SecWebsocketExtensions, &offer)
        .map_err(|_| Halt::Malformed("the WebSocket extensions have a value that may not be sent"))
}

/// Returns true if the 101 response in `exchange` accepts the handshake of its request.
pub fn accepts(exchange: &Exchange) -> bool {
    let Exchange { response: Response { head: response, buffer: buf, options, .. }, .. } = exchange;
    let only = |name| response.fields.get(buf, name).filter(|_| response.fields.count(name) == 1);
    let Some(key) = exchange.request.head.fields.get(&exchange.request.buffer, Name::SecWebsocketKey) else {
        return false;
    };
    exchange.request.upgrades
        && options.upgrade
        && only(Name::Upgrade).is_some_and(is_websocket)
        && only(Name::SecWebsocketAccept) == Some(accept_key(key).as_bytes())
        && (!response.fields.has(Name::SecWebsocketProtocol)
            || only(Name::SecWebsocketProtocol).is_some_and(|chosen| {
                elements(exchange.request.values("sec-websocket-protocol")).any(|offered| offered == chosen)
            }))
        && grants_offered(exchange)
}

/// Returns true if the response selects no extension or the one that was offered.
fn grants_offered(exchange: &Exchange) -> bool {
    let mut granted = elements(exchange.response.head.fields.values(&exchange.response.buffer, EXTENSIONS));
    match (granted.next(), granted.next()) {
        (None, _) => true,
        (Some(one), None) => is_deflate(one) && elements(exchange.request.values(EXTENSIONS)).any(is_deflate),
        _ => false,
    }
}

/// Returns true if messages may be compressed, given a response that [`accepts`] has checked.
pub fn is_compressed(exchange: &Exchange) -> bool {
    elements(exchange.response.head.fields.values(&exchange.response.buffer, EXTENSIONS)).next().is_some()
}

/// Returns the Sec-WebSocket-Accept value for a key, which proves that the server has read it (section 4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

#[cfg(test)]
mod tests;
