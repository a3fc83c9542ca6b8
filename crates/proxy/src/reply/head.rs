//! Encodes the head of a response for the client.

use pylae_core::Exchange;
use pylae_http::encode::{self, StatusLine};
use pylae_http::{Framing, Method, Name, Version};

/// Appends the head of the response. `via`: add a Via field if the response is an instance's.
pub(crate) fn encode_head(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    (stated_length, framing): (Option<u64>, Framing),
    close: bool,
    via: bool,
) {
    let line = StatusLine {
        // Policies and logs see the HTTP status. A gRPC client sees 200 with the gRPC status in the fields.
        status: if is_failed_call(exchange) { 200 } else { exchange.response.status },
        reason: exchange.response.head.reason.of(&exchange.response.buffer),
        stated_length,
        close,
        keep_alive: !close && exchange.request.head.version == Version::Http10,
        upgrade: exchange.request.upgrades && matches!(exchange.response.status, 101 | 426),
        via: Some(exchange.response.via).filter(|_| via && exchange.response.is_relayed()),
    };
    encode::response(out, line, exchange.response.fields(), framing);
}

/// Returns true if the gateway itself fails a gRPC call.
pub(crate) fn is_failed_call(exchange: &Exchange) -> bool {
    exchange.is_call() && exchange.response.code.is_some()
}

/// Returns true if transforms or hooks change the body, so that its length is unknown.
pub(crate) fn is_changed(exchange: &Exchange) -> bool {
    !exchange.response.transforms.is_empty() || exchange.hooks().is_some_and(|hooks| hooks.stream.is_some())
}

/// The framing towards the client of a body that the instance framed as `from`.
pub(crate) fn framing_towards(exchange: &Exchange, from: Framing, on_stream: bool) -> Framing {
    match (from, exchange.request.head.version) {
        // The client has its response already: the body is for the cache only.
        _ if exchange.is_cache_only() => Framing::None,
        (Framing::Chunked | Framing::Close, _) if on_stream => Framing::Close,
        (Framing::Length(_), _) if on_stream && is_changed(exchange) => Framing::Close,
        (Framing::Chunked | Framing::Close, Version::Http10) => Framing::Close,
        (Framing::Close, Version::Http11) => Framing::Chunked,
        // The length is unknown.
        (Framing::Length(_), Version::Http10) if is_changed(exchange) => Framing::Close,
        (Framing::Length(_), Version::Http11) if is_changed(exchange) => Framing::Chunked,
        (framing, _) => framing,
    }
}

/// The Content-Length of a response to HEAD or a 304, which has no body (RFC 9110 section 8.6).
pub(crate) fn stated_length(exchange: &Exchange, from: Framing) -> Option<u64> {
    if from != Framing::None
        || is_changed(exchange)
        || !(exchange.request.head.method == Method::Head || exchange.response.head.status == 304)
    {
        return None;
    }
    let stated = exchange.response.head.fields.get(&exchange.response.buffer, Name::ContentLength)?;
    std::str::from_utf8(stated).ok()?.parse().ok()
}
