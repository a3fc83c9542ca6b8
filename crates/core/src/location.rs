//! Addresses in answers: what an instance says of itself, put as its client knows it (RFC 9110 sections 8.7 and 10.2.2;
//! `Refresh` as the HTML standard reads it).
//!
//! An instance knows the Host that it was sent, its own address, and a path from which a prefix may have been stripped. A field that
//! names one of these addresses, or only a path, gets the client's scheme, host and port, and the prefix. What leads elsewhere stays.

use std::sync::Arc;

use pylae_http::message::host;
use pylae_http::{Edits, Name, NameSet};

use crate::exchange::Exchange;
use crate::exchange::response::Response;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};
use crate::request::forwarding;
use crate::service::{Instance, ServiceState};

/// Fields that hold an address.
const NAMES: [Name; 3] = [Name::Location, Name::ContentLocation, Name::Refresh];
/// The same as a set.
pub const FIELDS: NameSet = NameSet::of(&NAMES);

/// How an instance was asked, as far as its answer may show it.
#[derive(Debug)]
pub struct Asked {
    service: Arc<str>,
    /// The Host that it was sent.
    host: HostPort,
    /// Its own address.
    instance: HostPort,
    /// Whether it was asked over TLS.
    secure: bool,
    /// What was stripped off the path.
    prefix: Box<[u8]>,
    /// The prefix that it was told of, which may have more in front.
    announced: Box<[u8]>,
}

impl Asked {
    /// How `instance` of the service called `service` is asked for the request in `exchange`, with this Host.
    pub fn new(exchange: &Exchange, service: &Arc<str>, instance: &Instance, host: &[u8]) -> Self {
        let announced = exchange.request.edits.get(Name::XForwardedPrefix.as_str().as_bytes()).unwrap_or_default();
        Self {
            service: Arc::clone(service),
            host: HostPort::read(host).unwrap_or_default(),
            instance: HostPort::read(instance.authority().as_bytes()).unwrap_or_default(),
            secure: instance.is_secure(),
            prefix: forwarding::stripped(exchange).into(),
            announced: announced.into(),
        }
    }

    /// Name of the instance's service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Bytes of memory.
    pub(crate) fn weight(&self) -> usize {
        let texts = self.host.text.len() + self.instance.text.len() + self.prefix.len() + self.announced.len();
        size_of::<Self>() + texts
    }

    /// Whether an address is where the instance was asked, or another instance of `service`.
    ///
    /// Services that are told of the client's TLS say `https` of what they hear without it: a port that is not said stays unsaid.
    /// Others put the port that they listen on behind the name in Host.
    fn is_at(&self, address: &HostPort, secure: bool, service: Option<&ServiceState>) -> bool {
        let port = address.port(secure);
        if address.host() == self.host.host()
            && (port == self.host.port(self.secure)
                || address.unusual_port(secure) == self.host.unusual_port(self.secure)
                || port == self.instance.port(self.secure))
        {
            return true;
        }
        let here = |instance: &Arc<Instance>| address.is_host(instance.host()) && port == instance.port();
        (address.host() == self.instance.host() && port == self.instance.port(self.secure))
            || service.is_some_and(|service| service.instances().any(here))
    }
}

/// How the instance was asked whose response an exchange has, where that has fields which name addresses.
#[derive(Debug, Default)]
struct Noted(Option<Arc<Asked>>);

impl FeatureMemory for Noted {
    fn reset(&mut self) {
        self.0 = None;
    }

    fn forget_response(&mut self) {
        self.0 = None;
    }
}

impl Feature for Noted {
    const POSITION: FeatureSlot = FeatureSlot::Location;
}

impl Exchange {
    /// How the instance was asked, where its response has fields that name addresses.
    pub fn asked(&self) -> Option<&Arc<Asked>> {
        self.slots.get::<Noted>().and_then(|noted| noted.0.as_ref())
    }

    /// Notes how the instance was asked.
    pub fn note_asked(&mut self, asked: Arc<Asked>) {
        self.slots.get_or_default::<Noted>().0 = Some(asked);
    }
}

/// Has the response in `exchange` name addresses as the client knows them. `service`: the one that was [`Asked`], if it is still there.
pub fn readdress(exchange: &mut Exchange, service: Option<&ServiceState>) {
    let Some(asked) = exchange.asked().cloned() else { return };
    let client = PublicAddress::of(exchange);
    let put = Put { asked: &asked, service, client: &client };
    let Exchange { response: Response { head: response, buffer: buf, options, edits, .. }, .. } = exchange;
    for name in NAMES {
        let text = name.as_str();
        if !response.fields.has(name) || options.nominates(buf, text.as_bytes()) {
            continue;
        }
        let values: Vec<&[u8]> = response.fields.values(buf, text).collect();
        let put: Vec<Option<Vec<u8>>> = values.iter().map(|value| put.field(name, value)).collect();
        if put.iter().any(Option::is_some) {
            replace(edits, name, values.iter().zip(&put).map(|(value, put)| put.as_deref().unwrap_or(value)));
        }
    }
}

/// Takes back what [`readdress`] has written: the response in `exchange` is not sent.
pub fn forget(exchange: &mut Exchange) {
    if exchange.slots.get_mut::<Noted>().and_then(|noted| noted.0.take()).is_some() {
        for name in NAMES {
            exchange.response.edits.remove_known(name);
        }
    }
}

/// Makes `values` all lines of a field.
fn replace<'v>(edits: &mut Edits, name: Name, values: impl Iterator<Item = &'v [u8]>) {
    edits.remove_known(name);
    for value in values {
        // Cannot be refused: made of what came in a field, of a host and of a path.
        let _ = edits.append(name.as_str().as_bytes(), value);
    }
}

/// Scheme, host and port as the client knows them: what a trusted proxy says of them, or else the request itself.
#[derive(Debug, Default)]
struct PublicAddress {
    secure: bool,
    /// None for a client of HTTP/1.0 that names no host.
    authority: Option<HostPort>,
}

impl PublicAddress {
    fn of(exchange: &Exchange) -> Self {
        // Of several values the last: that is what the nearest proxy says.
        let told = |name| {
            let value = exchange.request.values(name).last().filter(|_| exchange.request.origin.peer_trusted)?;
            value.rsplit(|byte| *byte == b',').next().map(<[u8]>::trim_ascii)
        };
        let secure = match told("x-forwarded-proto").map(<[u8]>::to_ascii_lowercase).as_deref() {
            Some(b"https") => true,
            Some(b"http") => false,
            _ => exchange.request.origin.secure,
        };
        let authority =
            told("x-forwarded-host").and_then(HostPort::read).or_else(|| HostPort::read(&exchange.request.host));
        Self { secure, authority }
    }

    fn scheme(secure: bool) -> &'static [u8] {
        if secure { b"https" } else { b"http" }
    }
}

/// A host and perhaps a port, in canonical form.
#[derive(Debug, Default)]
struct HostPort {
    text: Box<[u8]>,
    /// Length of the host in `text`.
    host: usize,
}

impl HostPort {
    fn read(text: &[u8]) -> Option<Self> {
        let mut canonical = Vec::with_capacity(text.len());
        let host = host::canonical(text, &mut canonical).ok()?;
        Some(Self { text: canonical.into(), host })
    }

    fn host(&self) -> &[u8] {
        &self.text[..self.host]
    }

    /// Whether its host is `host`, which has no brackets.
    fn is_host(&self, host: &str) -> bool {
        let own = self.host();
        let own = own.strip_prefix(b"[").and_then(|own| own.strip_suffix(b"]")).unwrap_or(own);
        own == host.strip_suffix('.').unwrap_or(host).as_bytes()
    }

    /// The port that is said, or the usual one.
    fn port(&self, secure: bool) -> u16 {
        let said = self.text.get(self.host + 1..).and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        said.unwrap_or_else(|| Self::usual_port(secure))
    }

    /// The port, unless it is the usual one.
    fn unusual_port(&self, secure: bool) -> Option<u16> {
        Some(self.port(secure)).filter(|port| *port != Self::usual_port(secure))
    }

    fn usual_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }
}

/// How addresses are put.
struct Put<'a> {
    asked: &'a Asked,
    service: Option<&'a ServiceState>,
    client: &'a PublicAddress,
}

impl Put<'_> {
    /// The value of a field put anew; nothing if it stays.
    fn field(&self, name: Name, value: &[u8]) -> Option<Vec<u8>> {
        if name != Name::Refresh {
            return self.reference(value);
        }
        let (before, address, behind) = refresh(value)?;
        self.reference(address).map(|address| [before, &address, behind].concat())
    }

    /// A reference (RFC 3986 section 4.1) put anew; nothing if it stays.
    fn reference(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(text.len() + 64);
        match Reference::read(text)? {
            Reference::Path(path) => {
                if self.missing_prefix(path).is_empty() {
                    return None;
                }
                self.write_path(path, &mut out);
            }
            Reference::Network { authority, rest } => {
                // Its scheme is the client's, of which the instance may have been told.
                let at = [self.asked.secure, self.client.secure];
                at.iter().find(|secure| self.asked.is_at(&authority, **secure, self.service))?;
                self.write_origin(None, &authority, &mut out);
                self.write_path(rest, &mut out);
            }
            Reference::Absolute { secure, authority, rest } => {
                if !self.asked.is_at(&authority, secure, self.service) {
                    return None;
                }
                self.write_origin(Some(secure), &authority, &mut out);
                self.write_path(rest, &mut out);
            }
        }
        Some(out)
    }

    /// Writes the client's scheme, if there was one, and authority.
    fn write_origin(&self, secure: Option<bool>, said: &HostPort, out: &mut Vec<u8>) {
        let Some(authority) = &self.client.authority else { return };
        // A service that hears no TLS and is told of none, and leads to TLS, means it.
        let upgrades = secure == Some(true) && !self.asked.secure && !self.client.secure;
        if secure.is_some() {
            out.extend_from_slice(PublicAddress::scheme(self.client.secure || upgrades));
            out.push(b':');
        }
        out.extend_from_slice(b"//");
        let stays = upgrades && said.host() == authority.host();
        out.extend_from_slice(if stays { &said.text } else { &authority.text });
    }

    /// Writes what follows the authority, behind the prefix.
    fn write_path(&self, rest: &[u8], out: &mut Vec<u8>) {
        let prefix = self.missing_prefix(rest);
        // Without an authority in front a path begins with one slash: behind two of them a host would be read.
        if out.is_empty() && prefix.is_empty() && matches!(rest, [b'/', b'/' | b'\\', ..]) {
            out.extend_from_slice(b"/.");
        }
        out.extend_from_slice(prefix);
        if rest.first() != Some(&b'/') && (out.is_empty() || !prefix.is_empty()) {
            out.push(b'/');
        }
        out.extend_from_slice(rest);
    }

    /// The prefix, unless `path` begins with it or with the one that the instance was told of.
    fn missing_prefix(&self, path: &[u8]) -> &[u8] {
        let Asked { prefix, announced, .. } = self.asked;
        let has = |prefix: &[u8]| {
            let rest = path.strip_prefix(prefix).filter(|_| !prefix.is_empty());
            rest.is_some_and(|rest| rest.first().is_none_or(|byte| b"/?#;".contains(byte)))
        };
        if has(prefix) || has(announced) { b"" } else { prefix }
    }
}

/// A reference that may name an instance.
enum Reference<'v> {
    /// `http://authority…`, `https://authority…`
    Absolute { secure: bool, authority: HostPort, rest: &'v [u8] },
    /// `//authority…`
    Network { authority: HostPort, rest: &'v [u8] },
    /// `/…`
    Path(&'v [u8]),
}

impl<'v> Reference<'v> {
    /// Nothing for a reference that is relative to another path, has another scheme, or no valid host.
    fn read(text: &'v [u8]) -> Option<Self> {
        for (scheme, secure) in [(&b"http://"[..], false), (b"https://", true)] {
            if let Some((start, rest)) = text.split_at_checked(scheme.len())
                && start.eq_ignore_ascii_case(scheme)
            {
                let (authority, rest) = authority(rest)?;
                return Some(Self::Absolute { secure, authority, rest });
            }
        }
        match text {
            [b'/', b'/', rest @ ..] => {
                let (authority, rest) = authority(rest)?;
                Some(Self::Network { authority, rest })
            }
            [b'/', ..] => Some(Self::Path(text)),
            _ => None,
        }
    }
}

/// The authority at the start of `text`, without the user in it, and what follows.
fn authority(text: &[u8]) -> Option<(HostPort, &[u8])> {
    let end = text.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(text.len());
    let (said, rest) = text.split_at(end);
    // Browsers read `\` as `/`: the host would end elsewhere.
    if said.contains(&b'\\') {
        return None;
    }
    let host = said.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    HostPort::read(host).map(|authority| (authority, rest))
}

/// The address in the value of `Refresh`, and what stands before and behind it: `5; url=/x`, with quotes or without, as the HTML
/// standard has it ("shared declarative refresh steps").
fn refresh(value: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let skip = |from: usize, what: &dyn Fn(&u8) -> bool| {
        value[from..].iter().position(|byte| !what(byte)).map_or(value.len(), |count| from + count)
    };
    let time = skip(0, &|byte| byte.is_ascii_digit() || *byte == b'.');
    let mut at = skip(time, &blank);
    if matches!(value.get(at), Some(b';' | b',')) {
        at = skip(at + 1, &blank);
    } else if at == time {
        return None;
    }
    if value.get(at..at + 3).is_some_and(|word| word.eq_ignore_ascii_case(b"url")) {
        let equals = skip(at + 3, &blank);
        if value.get(equals) == Some(&b'=') {
            at = skip(equals + 1, &blank);
        }
    }
    let mut end = value.len();
    if let Some(quote @ (b'"' | b'\'')) = value.get(at) {
        at += 1;
        end = value[at..].iter().position(|byte| byte == quote).map_or(end, |count| at + count);
    }
    Some((&value[..at], &value[at..end], &value[end..]))
}

#[cfg(test)]
mod tests;
