//! Addresses as the client knows them.

use pylae_http::message::host;
use pylae_http::{Form, Method, Name, Target};

use crate::exchange::Exchange;
use crate::request::forwarding;

/// Scheme, host and port as the client knows them: from a trusted proxy, or else from the request itself.
#[derive(Debug, Default)]
pub(super) struct PublicAddress {
    pub(super) secure: bool,
    /// None for an HTTP/1.0 client that sends no Host.
    pub(super) authority: Option<HostPort>,
}

impl PublicAddress {
    pub(super) fn of(exchange: &Exchange) -> Self {
        let said = forwarded(exchange, "x-forwarded-host").and_then(HostPort::read);
        let authority = said.or_else(|| HostPort::read(&exchange.request.host));
        Self { secure: is_secure(exchange), authority }
    }

    pub(super) fn scheme(secure: bool) -> &'static [u8] {
        if secure { b"https" } else { b"http" }
    }
}

/// Returns what a trusted proxy says in the field `name`. The last of several values comes from the nearest proxy.
fn forwarded<'e>(exchange: &'e Exchange, name: &str) -> Option<&'e [u8]> {
    if !exchange.request.origin.peer_trusted {
        return None;
    }
    let value = exchange.request.values(name).last()?;
    value.rsplit(|byte| *byte == b',').next().map(<[u8]>::trim_ascii)
}

/// Returns true if the client speaks TLS, to the gateway or to a trusted proxy in front of it.
pub fn is_secure(exchange: &Exchange) -> bool {
    match forwarded(exchange, "x-forwarded-proto") {
        Some(said) if said.eq_ignore_ascii_case(b"https") => true,
        Some(said) if said.eq_ignore_ascii_case(b"http") => false,
        _ => exchange.request.origin.secure,
    }
}

/// Returns true if an origin (RFC 6454 section 6.2) is the one that the client asked, as it or a trusted proxy says.
pub fn is_own_origin(exchange: &Exchange, origin: &[u8]) -> bool {
    let PublicAddress { secure, authority } = PublicAddress::of(exchange);
    let named = origin.strip_prefix(PublicAddress::scheme(secure)).and_then(|rest| rest.strip_prefix(b"://"));
    let (Some(own), Some(named)) = (authority, named.and_then(HostPort::read)) else { return false };
    own.host() == named.host() && own.port(secure) == named.port(secure)
}

/// Returns the URL that the client asked for, as it or a trusted proxy says. Only path and query if nobody says a host.
pub fn client_url(exchange: &Exchange) -> Vec<u8> {
    let PublicAddress { secure, authority } = PublicAddress::of(exchange);
    let origin = authority.map(|of| [PublicAddress::scheme(secure), &b"://"[..], &of.text[..]].concat());
    let query = exchange.request.query().map(|query| [&b"?"[..], query].concat());
    [&origin.unwrap_or_default()[..], &exchange.request.target.path[..], &query.unwrap_or_default()[..]].concat()
}

/// A host with an optional port, in canonical form.
#[derive(Debug, Default)]
pub(super) struct HostPort {
    pub(super) text: Box<[u8]>,
    /// Length of the host in `text`.
    host: usize,
}

impl HostPort {
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut canonical = Vec::with_capacity(text.len());
        let host = host::canonical(text, &mut canonical).ok()?;
        Some(Self { text: canonical.into(), host })
    }

    pub(super) fn host(&self) -> &[u8] {
        &self.text[..self.host]
    }

    /// Returns true if its host is `host`, which has no brackets.
    pub(super) fn is_host(&self, host: &str) -> bool {
        let own = self.host();
        let own = own.strip_prefix(b"[").and_then(|own| own.strip_suffix(b"]")).unwrap_or(own);
        own == host.strip_suffix('.').unwrap_or(host).as_bytes()
    }

    /// Returns the explicit port, or the default.
    pub(super) fn port(&self, secure: bool) -> u16 {
        let said = self.text.get(self.host + 1..).and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        said.unwrap_or_else(|| Self::default_port(secure))
    }

    /// Returns the port unless it is the default.
    pub(super) fn non_default_port(&self, secure: bool) -> Option<u16> {
        Some(self.port(secure)).filter(|port| *port != Self::default_port(secure))
    }

    fn default_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }
}

/// Returns the address that the client asked for, in the form of [`canonical_address`]: as it or a trusted proxy says,
/// with the prefix that the proxy has stripped, whatever early hooks have made of the path. None if nobody says a host.
pub fn client_address(exchange: &Exchange) -> Option<Vec<u8>> {
    let PublicAddress { secure, authority } = PublicAddress::of(exchange);
    let mut address = origin(secure, &authority?);
    if exchange.request.origin.peer_trusted && exchange.request.head.fields.has(Name::XForwardedPrefix) {
        forwarding::forwarded_prefix(exchange, &mut address);
    }
    address.extend_from_slice(exchange.request.asked_path());
    Some(address)
}

/// Returns scheme, host and path of an `http` or `https` URI, without query and fragment, normalised (RFC 3986 sections
/// 6.2.2 and 6.2.3) as the targets of requests are: equal addresses give equal bytes. None if it is no such URI.
pub fn canonical_address(uri: &[u8]) -> Option<Vec<u8>> {
    let end = uri.iter().position(|byte| b"?#".contains(byte)).unwrap_or(uri.len());
    let mut target = Target::default();
    target.read_with_slashes(&uri[..end], Method::Get).ok().filter(|()| target.form == Form::Absolute)?;
    let secure = uri.get(4).is_some_and(|byte| byte.eq_ignore_ascii_case(&b's'));
    let authority = HostPort::read(target.authority?.of(uri))?;
    let mut address = origin(secure, &authority);
    address.extend_from_slice(&target.path);
    Some(address)
}

/// Returns scheme and authority, without the scheme's default port.
fn origin(secure: bool, authority: &HostPort) -> Vec<u8> {
    let mut origin = [PublicAddress::scheme(secure), b"://", authority.host()].concat();
    if let Some(port) = authority.non_default_port(secure) {
        origin.extend_from_slice(format!(":{port}").as_bytes());
    }
    origin
}

#[cfg(test)]
mod tests;
