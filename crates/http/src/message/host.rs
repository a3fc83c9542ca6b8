//! The authority of a request: grammar of Host and of absolute-form authorities (RFC 9110 section 7.2, RFC 3986 section
//! 3.2).

use std::io::Write;
use std::net::Ipv6Addr;

use crate::class;

/// An invalid `uri-host [":" port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostError(pub &'static str);

/// Checks `authority` and writes its canonical form to `out`, which is cleared first: host in lower case, no trailing
/// dot, IPv6 in brackets, the port only if it is given and 1–65535. Returns the length of the host without the port.
pub fn canonical(authority: &[u8], out: &mut Vec<u8>) -> Result<usize, HostError> {
    out.clear();
    let Authority { host, ipv6, port } = read(authority)?;
    if let Some(address) = ipv6 {
        // Writing to a Vec does not fail.
        let _ = write!(out, "[{address}]");
    } else {
        out.extend_from_slice(host);
        out.make_ascii_lowercase();
    }
    let len = out.len();
    if let Some(port) = port {
        out.push(b':');
        out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
    Ok(len)
}

/// Longest host, as in the DNS.
const LONGEST_HOST: usize = 255;

pub(crate) struct Authority<'a> {
    host: &'a [u8],
    ipv6: Option<Ipv6Addr>,
    port: Option<u16>,
}

pub(crate) fn read(authority: &[u8]) -> Result<Authority<'_>, HostError> {
    if let Some(rest) = authority.strip_prefix(b"[") {
        let end = rest.iter().position(|&byte| byte == b']').ok_or(HostError("unclosed bracket in a host"))?;
        let host = &rest[..end];
        let address = std::str::from_utf8(host).ok().and_then(|text| text.parse().ok());
        let address = address.ok_or(HostError("invalid IPv6 address"))?;
        return Ok(Authority { host, ipv6: Some(address), port: port(&rest[end + 1..])? });
    }
    let mut label = 0;
    let mut end = 0;
    for &byte in authority.iter().take_while(|&&byte| byte != b':') {
        if byte == b'.' && label == 0 {
            return Err(HostError("empty label in a host"));
        }
        if !class::is(byte, class::UNRESERVED) {
            return Err(HostError("invalid byte in a host"));
        }
        label = if byte == b'.' { 0 } else { label + 1 };
        end += 1;
    }
    let (host, rest) = authority.split_at(end);
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() {
        return Err(HostError("empty host"));
    }
    if host.len() > LONGEST_HOST {
        return Err(HostError("host too long"));
    }
    Ok(Authority { host, ipv6: None, port: port(rest)? })
}

/// Parses `[ ":" [ port ] ]`.
fn port(rest: &[u8]) -> Result<Option<u16>, HostError> {
    match rest {
        [] | [b':'] => Ok(None),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            let port = digits.iter().fold(0, |port, digit| port * 10 + u32::from(digit - b'0'));
            match u16::try_from(port) {
                Ok(port @ 1..) => Ok(Some(port)),
                _ => Err(HostError("port out of range")),
            }
        }
        _ => Err(HostError("invalid port")),
    }
}

#[cfg(test)]
mod tests;
