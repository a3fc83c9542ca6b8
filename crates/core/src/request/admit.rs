//! What is settled about a request before anything is decided with it: framing, target, authority, sender, id.

use std::net::IpAddr;

use pylae_http::body::framing;
use pylae_http::message::host;
use pylae_http::{Form, Framing, Method, Name, Version};

use crate::exchange::Exchange;
use crate::exchange::halt::Halt;
use crate::exchange::request::Request;
use crate::hex;
use crate::request::forwarding;

/// Fills in everything about the request in `exchange` that follows from its head alone, or says why it is refused.
///
/// `trusts` says which peers' forwarding headers are believed; `random` makes the request id where the client gave none.
pub fn admit(exchange: &mut Exchange, trusts: impl Fn(IpAddr) -> bool, random: u128) -> Result<(), Halt> {
    let Exchange { request: Request { head, buffer, id, .. }, .. } = exchange;
    let buf = &buffer[..];
    name(id, head.fields.get(buf, Name::XRequestId), random);
    settle_client(exchange, trusts);
    let Exchange { request: Request { head, buffer, options, target, .. }, .. } = exchange;
    let buf = &buffer[..];
    exchange.request.framing = framing::request(head, buf).map_err(|error| Halt::Malformed(error.0))?;
    options.read(&head.fields, buf).map_err(|error| Halt::Malformed(error.0))?;
    if head.method == Method::Connect {
        return Err(Halt::NotImplemented);
    }
    // Whether `%2F` passes says the route.
    target.read_with_slashes(head.target.of(buf), head.method).map_err(Halt::Target)?;
    settle_host(exchange)?;
    settle_expectation(exchange)
}

/// Knows of the client what its connection says: all there is of one whose head cannot be read.
pub fn meet(exchange: &mut Exchange) {
    exchange.request.origin.client = exchange.request.origin.peer.ip().to_canonical();
    exchange.request.origin.peer_trusted = false;
}

/// Keeps a well-formed request id, otherwise writes a version 4 UUID (RFC 9562 section 5.4). A request whose head could not
/// be read has an id too.
pub fn name(id: &mut Vec<u8>, sent: Option<&[u8]>, random: u128) {
    id.clear();
    let well_formed = |id: &&[u8]| {
        (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    };
    if let Some(sent) = sent.filter(well_formed) {
        id.extend_from_slice(sent);
        return;
    }
    let bits = (random & !(0xF << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = hex::digits(bits);
    let mut text = [b'-'; 36];
    for (to, from) in [(0..8, 0..8), (9..13, 8..12), (14..18, 12..16), (19..23, 16..20), (24..36, 20..32)] {
        text[to].copy_from_slice(&digits[from]);
    }
    id.extend_from_slice(&text);
}

/// The authority of the target if it has one, else exactly one valid Host (RFC 9112 section 3.2.2). An HTTP/1.0 client may leave it out.
fn settle_host(exchange: &mut Exchange) -> Result<(), Halt> {
    let Exchange { request: Request { head, buffer, target, .. }, .. } = exchange;
    let buf = &buffer[..];
    let hosts = head.fields.count(Name::Host);
    if hosts > 1 || (hosts == 0 && head.version == Version::Http11) {
        return Err(Halt::Malformed("a request needs exactly one Host"));
    }
    if let Some(sent) = head.fields.get(buf, Name::Host) {
        // Checked even where the target decides: two parsers might choose differently.
        exchange.request.host_len =
            host::canonical(sent, &mut exchange.request.host).map_err(|error| Halt::Malformed(error.0))?;
    }
    if let (Form::Absolute, Some(authority)) = (target.form, target.authority) {
        let authority = authority.of(head.target.of(buf));
        exchange.request.host_len =
            host::canonical(authority, &mut exchange.request.host).map_err(|error| Halt::Malformed(error.0))?;
    }
    Ok(())
}

fn settle_expectation(exchange: &Exchange) -> Result<(), Halt> {
    if !exchange.request.head.fields.has(Name::Expect) {
        return Ok(());
    }
    let only = exchange.request.head.fields.count(Name::Expect) == 1;
    let met = exchange.request.head.fields.get(&exchange.request.buffer, Name::Expect);
    if only && met.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        Ok(())
    } else {
        Err(Halt::Expectation)
    }
}

/// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
pub fn awaits_continue(exchange: &Exchange) -> bool {
    exchange.request.head.fields.has(Name::Expect)
        && exchange.request.head.version == Version::Http11
        && !matches!(exchange.request.framing, Framing::None | Framing::Length(0))
}

/// The right-most address of X-Forwarded-For that is not a trusted proxy's, when the peer is one; else the peer.
fn settle_client(exchange: &mut Exchange, trusts: impl Fn(IpAddr) -> bool) {
    meet(exchange);
    let peer = exchange.request.origin.client;
    exchange.request.origin.peer_trusted = trusts(peer);
    if !exchange.request.origin.peer_trusted {
        forwarding::disown(exchange);
    }
    if !exchange.request.origin.peer_trusted || !exchange.request.head.fields.has(Name::XForwardedFor) {
        return;
    }
    let lines: Vec<&[u8]> = exchange.request.values("x-forwarded-for").collect();
    let mut nearest = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        // An entry that is no address hides what lies behind it: the last hop that is known stands.
        let Some(address) = std::str::from_utf8(hop).ok().and_then(|text| parse_hop(text.trim())) else { break };
        nearest = address;
        if !trusts(address) {
            break;
        }
    }
    exchange.request.origin.client = nearest;
}

/// An address as proxies write it: bare, `[v6]`, or with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address =
        bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|with_port| with_port.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}
