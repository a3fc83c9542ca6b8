//! The PROXY protocol, by which a TCP proxy in front reports the client's address (versions 1 and 2 of `HAProxy`'s
//! `doc/proxy-protocol.txt`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Largest text header in bytes, with its line end (version 1, section 2.1).
const MOST_TEXT: usize = 107;
/// Smallest text header in bytes: `PROXY UNKNOWN` and a line end.
const LEAST: usize = 15;
/// Largest variable part of a binary header in bytes, addresses and further values; the protocol allows 64 KB.
const MOST_VALUES: usize = 2048;
const FIXED: usize = 16;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Result of parsing the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The header is incomplete: at least this many more bytes belong to it.
    More(usize),
    /// The header is complete. Holds the client's address, or None if the connection is the proxy's own, as for its
    /// health checks.
    Done(Option<SocketAddr>),
}

/// Parses a header. The caller must never pass more bytes than it was asked for, so that nothing after the header is
/// consumed.
pub fn parse(bytes: &[u8]) -> Result<Parsed, &'static str> {
    if bytes.len() < LEAST {
        return Ok(Parsed::More(LEAST - bytes.len()));
    }
    if bytes.starts_with(SIGNATURE) {
        return parse_binary(bytes);
    }
    let Some(text) = bytes.strip_prefix(b"PROXY ") else { return Err("there is no PROXY header") };
    match text.strip_suffix(b"\r\n") {
        Some(text) => parse_text(text).map(Parsed::Done),
        None if bytes.len() < MOST_TEXT => Ok(Parsed::More(1)),
        None => Err("the PROXY header is too long"),
    }
}

/// `TCP4 <source> <destination> <port> <port>`, the same with `TCP6`, or `UNKNOWN` and anything after it.
fn parse_text(text: &[u8]) -> Result<Option<SocketAddr>, &'static str> {
    const WRONG: &str = "the PROXY header is malformed";
    let text = std::str::from_utf8(text).map_err(|_| WRONG)?;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(None);
    }
    let mut parts = text.split(' ');
    let mut next = || parts.next().ok_or(WRONG);
    let (kind, source, destination, from, to) = (next()?, next()?, next()?, next()?, next()?);
    if parts.next().is_some() {
        return Err(WRONG);
    }
    let address = |text: &str| match kind {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| WRONG),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from).map_err(|_| WRONG),
        _ => Err(WRONG),
    };
    let port = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| digits).ok_or(WRONG)
    };
    address(destination)?;
    port(to)?;
    Ok(Some(SocketAddr::new(address(source)?, port(from)?)))
}

/// Signature, version and command, family and transport, length, then that many bytes of addresses and further values.
fn parse_binary(bytes: &[u8]) -> Result<Parsed, &'static str> {
    let Some((fixed, values)) = bytes.split_at_checked(FIXED) else { return Ok(Parsed::More(FIXED - bytes.len())) };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MOST_VALUES {
        return Err("the PROXY header is too long");
    }
    if values.len() < length {
        return Ok(Parsed::More(length - values.len()));
    }
    let client = match (fixed[12], fixed[13]) {
        (0x21, 0x11) => Some(client::<4>(values)?),
        (0x21, 0x21) => Some(client::<16>(values)?),
        // The proxy itself, or neither TCP over IPv4 nor over IPv6: ignore the address.
        (0x20 | 0x21, _) => None,
        _ => return Err("the PROXY header has an unknown version or command"),
    };
    Ok(Parsed::Done(client))
}

/// The source of `source, destination, source port, destination port`.
fn client<const N: usize>(values: &[u8]) -> Result<SocketAddr, &'static str>
where
    IpAddr: From<[u8; N]>,
{
    const SHORT: &str = "the PROXY header lacks addresses";
    let (source, rest) = values.split_first_chunk::<N>().ok_or(SHORT)?;
    let (_, rest) = rest.split_first_chunk::<N>().ok_or(SHORT)?;
    let (ports, _) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    Ok(SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([ports[0], ports[1]])))
}

#[cfg(test)]
mod tests;
