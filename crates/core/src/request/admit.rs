//! Validates a request head before anything else runs: framing, target, authority, client address, id.

use std::net::IpAddr;

use pylae_http::body::framing;
use pylae_http::message::host;
use pylae_http::{Form, Framing, Method, Name, Version};

use crate::exchange::Exchange;
use crate::exchange::halt::Halt;
use crate::exchange::request::Request;
use crate::request::{forwarding, hex};

/// Fills in everything about the request in `exchange` that follows from its head, or returns why the request is
/// refused.
///
/// `trusts` returns whether the forwarding headers of a peer are believed; `random` makes the request id if the client
/// sent none.
pub fn admit(exchange: &mut Exchange, trusts: impl Fn(IpAddr) -> bool, random: u128) -> Result<(), Halt> {
    let Exchange { request: Request { head, buffer, id, .. }, .. } = exchange;
    let buf = &buffer[..];
    assign_id(id, head.fields.get(buf, Name::XRequestId), random);
    find_client(exchange, trusts);
    let Exchange { request: Request { head, buffer, options, target, .. }, .. } = exchange;
    let buf = &buffer[..];
    exchange.request.framing = framing::request(head, buf).map_err(|error| Halt::Malformed(error.0))?;
    options.read(&head.fields, buf).map_err(|error| Halt::Malformed(error.0))?;
    if head.method == Method::Connect {
        return Err(Halt::NotImplemented);
    }
    // The route decides later whether `%2F` is allowed.
    target.read_with_slashes(head.target.of(buf), head.method).map_err(Halt::Target)?;
    read_host(exchange)?;
    check_expectation(exchange)
}

/// Takes the client's address from its connection: all that is known while its head is unread.
pub fn set_client_from_peer(exchange: &mut Exchange) {
    exchange.request.origin.client = exchange.request.origin.peer.ip().to_canonical();
    exchange.request.origin.peer_trusted = false;
}

/// Sets the request id: `sent` if it is well-formed, otherwise a version 4 UUID (RFC 9562 section 5.4). A request whose
/// head could not be read gets an id too.
pub fn assign_id(id: &mut Vec<u8>, sent: Option<&[u8]>, random: u128) {
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

/// Sets the host to the authority of the target if it has one, or else to the only Host field (RFC 9112 section 3.2.2).
/// HTTP/1.0 clients may omit Host.
pub(super) fn read_host(exchange: &mut Exchange) -> Result<(), Halt> {
    let Exchange { request: Request { head, buffer, target, .. }, .. } = exchange;
    let buf = &buffer[..];
    let hosts = head.fields.count(Name::Host);
    if hosts > 1 || (hosts == 0 && head.version == Version::Http11) {
        return Err(Halt::Malformed("a request needs exactly one Host"));
    }
    if let Some(sent) = head.fields.get(buf, Name::Host) {
        // Checked even if the target decides: two parsers might choose differently.
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

fn check_expectation(exchange: &Exchange) -> Result<(), Halt> {
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

/// Returns true if the client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
pub fn awaits_continue(exchange: &Exchange) -> bool {
    exchange.request.head.fields.has(Name::Expect)
        && exchange.request.head.version == Version::Http11
        && !matches!(exchange.request.framing, Framing::None | Framing::Length(0))
}

/// Sets the client's address: if the peer is a trusted proxy, the right-most address of X-Forwarded-For that is not
/// one, else the peer's.
fn find_client(exchange: &mut Exchange, trusts: impl Fn(IpAddr) -> bool) {
    set_client_from_peer(exchange);
    let peer = exchange.request.origin.client;
    exchange.request.origin.peer_trusted = trusts(peer);
    if !exchange.request.origin.peer_trusted {
        forwarding::remove_untrusted(exchange);
    }
    if !exchange.request.origin.peer_trusted || !exchange.request.head.fields.has(Name::XForwardedFor) {
        return;
    }
    let lines: Vec<&[u8]> = exchange.request.values("x-forwarded-for").collect();
    let mut nearest = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        // An invalid entry hides the entries before it: the last valid hop is the client.
        let Some(address) = std::str::from_utf8(hop).ok().and_then(|text| parse_hop(text.trim())) else { break };
        nearest = address;
        if !trusts(address) {
            break;
        }
    }
    exchange.request.origin.client = nearest;
}

/// Parses an address as proxies write it: bare, `[v6]`, or with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address =
        bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|with_port| with_port.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}
