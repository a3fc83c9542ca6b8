//! Rewrites addresses in responses: an instance names itself, the client must see the gateway (RFC 9110 sections 8.7
//! and 10.2.2; `Refresh` as the HTML standard reads it).
//!
//! An instance knows the Host that it was sent, its own address, and a path that may lack a stripped prefix. A field
//! that names one of these addresses, or only a path, gets the client's scheme, host and port, and the prefix. Other
//! addresses stay.

mod address;

use std::sync::Arc;

use pylae_http::{Edits, Name, NameSet};

use crate::exchange::Exchange;
use crate::exchange::response::Response;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};
use crate::request::forwarding;
use crate::service::{Instance, ServiceState};

use address::{HostPort, PublicAddress};
pub use address::{canonical_address, client_address, client_url, is_own_origin, is_secure};

/// Fields that contain an address.
const NAMES: [Name; 3] = [Name::Location, Name::ContentLocation, Name::Refresh];
/// The fields that contain an address, as a set.
pub const FIELDS: NameSet = NameSet::of(&NAMES);

/// How an instance was asked, as far as its response may reveal it.
#[derive(Debug)]
pub struct Asked {
    service: Arc<str>,
    /// The Host field that it was sent.
    host: HostPort,
    /// The instance's own address.
    instance: HostPort,
    /// True if it was asked over TLS.
    secure: bool,
    /// The prefix stripped from the path.
    prefix: Box<[u8]>,
    /// The X-Forwarded-Prefix that it was sent, which may begin with the prefix of another proxy.
    forwarded_prefix: Box<[u8]>,
}

impl Asked {
    /// Records how `instance` of `service` is asked for the request in `exchange`, with this Host.
    pub fn new(exchange: &Exchange, service: &Arc<str>, instance: &Instance, host: &[u8]) -> Self {
        let forwarded_prefix =
            exchange.request.edits.get(Name::XForwardedPrefix.as_str().as_bytes()).unwrap_or_default();
        Self {
            service: Arc::clone(service),
            host: HostPort::read(host).unwrap_or_default(),
            instance: HostPort::read(instance.authority().as_bytes()).unwrap_or_default(),
            secure: instance.is_secure(),
            prefix: forwarding::stripped(exchange).into(),
            forwarded_prefix: forwarded_prefix.into(),
        }
    }

    /// Returns the name of the instance's service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Memory size in bytes.
    pub(crate) fn weight(&self) -> usize {
        let texts = self.host.text.len() + self.instance.text.len() + self.prefix.len() + self.forwarded_prefix.len();
        size_of::<Self>() + texts
    }

    /// Returns true if an address is the one that was asked, or another instance of `service`.
    ///
    /// Services that know of the client's TLS write `https` although they are asked without it; a default port stays a
    /// default port. Others append the port that they listen on to the name in Host.
    fn is_own_address(&self, address: &HostPort, secure: bool, service: Option<&ServiceState>) -> bool {
        let port = address.port(secure);
        if address.host() == self.host.host()
            && (port == self.host.port(self.secure)
                || address.non_default_port(secure) == self.host.non_default_port(self.secure)
                || port == self.instance.port(self.secure))
        {
            return true;
        }
        let here = |instance: &Arc<Instance>| address.is_host(instance.host()) && port == instance.port();
        (address.host() == self.instance.host() && port == self.instance.port(self.secure))
            || service.is_some_and(|service| service.instances().any(here))
    }
}

/// How the instance was asked, if its response has fields that name addresses.
#[derive(Debug, Default)]
pub(crate) struct RecordedAsked(Option<Arc<Asked>>);

impl FeatureMemory for RecordedAsked {
    fn reset(&mut self) {
        self.0 = None;
    }
}

impl Feature for RecordedAsked {
    const POSITION: FeatureSlot = FeatureSlot::Location;
}

impl Exchange {
    /// Returns how the instance was asked, if its response has fields that name addresses.
    pub fn asked(&self) -> Option<&Arc<Asked>> {
        self.slots.get::<RecordedAsked>().and_then(|recorded| recorded.0.as_ref())
    }

    /// Records how the instance was asked whose response the exchange has now; None if its response names no address.
    pub fn set_asked(&mut self, asked: Option<Arc<Asked>>) {
        if asked.is_some() {
            self.slots.get_or_default::<RecordedAsked>().0 = asked;
        } else if let Some(recorded) = self.slots.get_mut::<RecordedAsked>() {
            recorded.0 = None;
        }
    }
}

/// Rewrites the addresses in the response in `exchange` to those that the client knows. `service` is the service that
/// was [`Asked`], if it still exists.
pub fn rewrite(exchange: &mut Exchange, service: Option<&ServiceState>) {
    let Some(asked) = exchange.asked().cloned() else { return };
    let client = PublicAddress::of(exchange);
    let rewriter = Rewriter { asked: &asked, service, client: &client };
    let Exchange { response: Response { head: response, buffer: buf, options, edits, .. }, .. } = exchange;
    for name in NAMES {
        let text = name.as_str();
        if !response.fields.has(name) || options.nominates(buf, text.as_bytes()) {
            continue;
        }
        let values: Vec<&[u8]> = response.fields.values(buf, text).collect();
        let rewritten: Vec<Option<Vec<u8>>> = values.iter().map(|value| rewriter.field(name, value)).collect();
        if rewritten.iter().any(Option::is_some) {
            replace(
                edits,
                name,
                values.iter().zip(&rewritten).map(|(value, rewritten)| rewritten.as_deref().unwrap_or(value)),
            );
        }
    }
}

/// Undoes [`rewrite`]: the response in `exchange` is not sent.
pub fn undo(exchange: &mut Exchange) {
    if exchange.slots.get_mut::<RecordedAsked>().and_then(|recorded| recorded.0.take()).is_some() {
        for name in NAMES {
            exchange.response.edits.remove_known(name);
        }
    }
}

/// Replaces all lines of a field by `values`.
fn replace<'v>(edits: &mut Edits, name: Name, values: impl Iterator<Item = &'v [u8]>) {
    edits.remove_known(name);
    for value in values {
        // Cannot fail: made of a field value, a host and a path.
        let _ = edits.append(name.as_str().as_bytes(), value);
    }
}

/// Rewrites addresses.
struct Rewriter<'a> {
    asked: &'a Asked,
    service: Option<&'a ServiceState>,
    client: &'a PublicAddress,
}

impl Rewriter<'_> {
    /// Returns the rewritten value of a field, or None if it stays.
    fn field(&self, name: Name, value: &[u8]) -> Option<Vec<u8>> {
        if name != Name::Refresh {
            return self.reference(value);
        }
        let (before, address, after) = refresh(value)?;
        self.reference(address).map(|address| [before, &address, after].concat())
    }

    /// Returns a rewritten reference (RFC 3986 section 4.1), or None if it stays.
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
                // Its scheme is the client's, which the instance may know.
                let at = [self.asked.secure, self.client.secure];
                at.iter().find(|secure| self.asked.is_own_address(&authority, **secure, self.service))?;
                self.write_origin(None, &authority, &mut out);
                self.write_path(rest, &mut out);
            }
            Reference::Absolute { secure, authority, rest } => {
                if !self.asked.is_own_address(&authority, secure, self.service) {
                    return None;
                }
                self.write_origin(Some(secure), &authority, &mut out);
                self.write_path(rest, &mut out);
            }
        }
        Some(out)
    }

    /// Writes the client's scheme, if the reference had one, and authority.
    fn write_origin(&self, secure: Option<bool>, said: &HostPort, out: &mut Vec<u8>) {
        let Some(authority) = &self.client.authority else { return };
        // An `https` reference is a deliberate upgrade if neither the instance nor the client uses TLS.
        let upgrades = secure == Some(true) && !self.asked.secure && !self.client.secure;
        if secure.is_some() {
            out.extend_from_slice(PublicAddress::scheme(self.client.secure || upgrades));
            out.push(b':');
        }
        out.extend_from_slice(b"//");
        let stays = upgrades && said.host() == authority.host();
        out.extend_from_slice(if stays { &said.text } else { &authority.text });
    }

    /// Writes the prefix and what follows the authority.
    fn write_path(&self, rest: &[u8], out: &mut Vec<u8>) {
        let prefix = self.missing_prefix(rest);
        // Without an authority, the path must begin with a single slash: after two of them a host would be read.
        if out.is_empty() && prefix.is_empty() && matches!(rest, [b'/', b'/' | b'\\', ..]) {
            out.extend_from_slice(b"/.");
        }
        out.extend_from_slice(prefix);
        if rest.first() != Some(&b'/') && (out.is_empty() || !prefix.is_empty()) {
            out.push(b'/');
        }
        out.extend_from_slice(rest);
    }

    /// Returns the prefix, unless `path` begins with it or with the one that the instance was sent.
    fn missing_prefix(&self, path: &[u8]) -> &[u8] {
        let Asked { prefix, forwarded_prefix, .. } = self.asked;
        let has = |prefix: &[u8]| {
            let rest = path.strip_prefix(prefix).filter(|_| !prefix.is_empty());
            rest.is_some_and(|rest| rest.first().is_none_or(|byte| b"/?#;".contains(byte)))
        };
        if has(prefix) || has(forwarded_prefix) { b"" } else { prefix }
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
    /// Returns None for a reference that is relative to another path, has another scheme, or no valid host.
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

/// Splits off the authority at the start of `text`, without its user.
fn authority(text: &[u8]) -> Option<(HostPort, &[u8])> {
    let end = text.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(text.len());
    let (said, rest) = text.split_at(end);
    // Browsers read `\` as `/`, so the host would end elsewhere.
    if said.contains(&b'\\') {
        return None;
    }
    let host = said.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    HostPort::read(host).map(|authority| (authority, rest))
}

/// Splits the value of `Refresh` into what precedes the address, the address, and what follows: `5; url=/x`, with or
/// without quotes, as in the HTML standard ("shared declarative refresh steps").
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
