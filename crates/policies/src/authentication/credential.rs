//! Credentials in header fields, parameters of the query, cookies and certificates: where they stand, and how they are
//! kept from instances.

use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::connection::certificate::Certificate;
use pylae_core::exchange::request::Request;
use pylae_core::request::{cookie, forwarding, query};
use pylae_http::{HeadLimits, Name};
use serde::{Deserialize, Serialize};

use super::binding::evidence::SentToken;

/// A part of a request by which its sender is known. In the plan a string: `header:NAME`, `query:NAME`, `cookie:NAME`,
/// `client_certificate`, `bearer` or `target`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum CredentialPart {
    /// All lines of a field.
    Header(String),
    /// All parameters of this name.
    Query(String),
    /// All cookies of this name.
    Cookie(String),
    /// The client's certificate.
    Certificate,
    /// The token in `Authorization`, whether it was sent with a proof or not.
    Bearer,
    /// What the request asks for: method, scheme, host, canonical path and query. That is no credential.
    Target,
}

impl TryFrom<String> for CredentialPart {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("header", name)) if pylae_http::Edits::default().set(name.as_bytes(), b"").is_ok() => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            Some(("cookie", name)) if !name.is_empty() => Ok(Self::Cookie(name.to_owned())),
            None if text == "client_certificate" => Ok(Self::Certificate),
            None if text == "bearer" => Ok(Self::Bearer),
            None if text == "target" => Ok(Self::Target),
            _ => Err(format!(
                "`{text}` is not header:NAME, query:NAME, cookie:NAME, client_certificate, bearer or target"
            )),
        }
    }
}

impl From<CredentialPart> for String {
    fn from(part: CredentialPart) -> Self {
        match part {
            CredentialPart::Header(name) => format!("header:{name}"),
            CredentialPart::Query(name) => format!("query:{name}"),
            CredentialPart::Cookie(name) => format!("cookie:{name}"),
            CredentialPart::Certificate => "client_certificate".into(),
            CredentialPart::Bearer => "bearer".into(),
            CredentialPart::Target => "target".into(),
        }
    }
}

impl CredentialPart {
    /// The name of the field or parameter, which logs do not show.
    pub(super) fn secret_name(&self) -> Option<&str> {
        match self {
            Self::Header(name) | Self::Query(name) => Some(name),
            Self::Cookie(_) | Self::Certificate | Self::Bearer | Self::Target => None,
        }
    }

    /// Keeps the credential from the instance.
    pub(super) fn strip(&self, exchange: &mut Exchange) {
        match self {
            Self::Header(name) => strip_field(exchange, name),
            Self::Query(name) => strip_parameter(exchange, name),
            // The plan has none of them where credentials are not forwarded, or their kind strips them.
            Self::Cookie(_) | Self::Certificate | Self::Bearer | Self::Target => {}
        }
    }
}

/// The parts of a request that are credentials, and nothing else of it but what it asks for.
pub(super) struct SentCredentials {
    /// A request head with them. It differs if they do.
    head: Vec<u8>,
    certificate: Option<Arc<Certificate>>,
    /// Whether what is asked for is asked for over TLS.
    secure: bool,
    /// Whether there is any credential.
    pub(super) present: bool,
}

impl SentCredentials {
    /// Takes the parts out of a request.
    pub(super) fn of(exchange: &Exchange, parts: &[CredentialPart]) -> Self {
        let (mut parameters, mut fields, mut cookies) = (Vec::new(), Vec::new(), Vec::new());
        let mut certificate = None;
        for part in parts {
            match part {
                CredentialPart::Header(name) => {
                    for value in sent_values(exchange, name) {
                        fields.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
                    }
                }
                CredentialPart::Query(name) => {
                    let sent = exchange.request.query().unwrap_or_default().split(|byte| *byte == b'&');
                    for part in sent.filter(|part| is_named(query::pair(part).0, name)) {
                        parameters.extend_from_slice(if parameters.is_empty() { b"?" } else { b"&" });
                        parameters.extend_from_slice(part);
                    }
                }
                CredentialPart::Cookie(name) => {
                    for (_, value) in cookie::all(exchange).filter(|(sent, _)| *sent == name.as_bytes()) {
                        cookies.extend_from_slice(if cookies.is_empty() { b"cookie: " } else { b"; " });
                        cookies.extend_from_slice(&[name.as_bytes(), b"=", value].concat());
                    }
                }
                CredentialPart::Certificate => certificate.clone_from(&exchange.request.origin.certificate),
                CredentialPart::Bearer => {
                    if let Some(token) = SentToken::of(exchange) {
                        fields.extend_from_slice(&[b"authorization: Bearer ", token.text, b"\r\n"].concat());
                    }
                }
                CredentialPart::Target => {}
            }
        }
        let present = !(parameters.is_empty() && fields.is_empty() && cookies.is_empty() && certificate.is_none());
        let end: &[u8] = if cookies.is_empty() { b"\r\n" } else { b"\r\n\r\n" };
        let mut head = Vec::new();
        let targeted = parts.contains(&CredentialPart::Target);
        if targeted {
            write_target(exchange, &mut head);
        } else {
            head.extend_from_slice(&[b"GET /".as_slice(), &parameters, b" HTTP/1.1\r\n"].concat());
        }
        head.extend_from_slice(&[&fields, &cookies, end].concat());
        Self { head, certificate, secure: targeted && exchange.request.origin.secure, present }
    }

    /// Returns what identifies them: other credentials never give the same bytes.
    pub(super) fn identity(&self) -> Vec<u8> {
        let certificate = self.certificate.as_ref().map(|certificate| format!("{certificate:?}"));
        let scheme: &[u8] = if self.secure { b"s" } else { b"" };
        [&self.head, scheme, certificate.unwrap_or_default().as_bytes()].concat()
    }

    /// Returns a request that has them and nothing else of `exchange` but its id, its times
    /// and whether a trusted proxy has sent it.
    pub(super) fn request(self, exchange: &Exchange) -> Option<Box<Exchange>> {
        let mut masked = Box::new(Exchange::new(0));
        let request = &mut masked.request;
        let limits = HeadLimits { head: self.head.len(), target: self.head.len(), fields: self.head.len() };
        request.buffer = self.head;
        request.head.parse(&request.buffer, &limits).ok().filter(|whole| *whole)?;
        request.target.read_with_slashes(request.head.target.of(&request.buffer), request.head.method).ok()?;
        if let Some(host) = request.head.fields.get(&request.buffer, Name::Host) {
            request.host.extend_from_slice(host);
            request.host_len = exchange.request.host_len;
        }
        request.origin.secure = self.secure;
        request.origin.certificate = self.certificate;
        request.origin.peer_trusted = exchange.request.origin.peer_trusted;
        request.id.clone_from(&exchange.request.id);
        masked.times.started = exchange.times.started;
        (masked.times.now, masked.times.wall) = (exchange.times.now, exchange.times.wall);
        Some(masked)
    }
}

/// Writes the line and the Host of a request that asks for the same.
fn write_target(exchange: &Exchange, head: &mut Vec<u8>) {
    let request = &exchange.request;
    head.extend_from_slice(request.head.method_span.of(&request.buffer));
    head.push(b' ');
    head.extend_from_slice(&request.target.path);
    if let Some(query) = request.query() {
        head.push(b'?');
        head.extend_from_slice(query);
    }
    head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    head.extend_from_slice(&request.host);
    head.extend_from_slice(b"\r\n");
    if request.origin.peer_trusted {
        // The address that the client knows is made of them.
        for name in ["x-forwarded-proto", "x-forwarded-host"] {
            for value in request.values(name) {
                head.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
            }
        }
    }
}

/// Returns the values of a field as the client has sent it, if the client can be believed.
fn sent_values<'e>(exchange: &'e Exchange, name: &'e str) -> impl Iterator<Item = &'e [u8]> {
    let believed = !forwarding::is_unbelievable(exchange, name.as_bytes());
    exchange.request.values(name).filter(move |_| believed)
}

/// Returns true if the percent-decoded parameter name is `name`.
pub(super) fn is_named(sent: &[u8], name: &str) -> bool {
    *query::decoded(sent) == *name.as_bytes()
}

/// Keeps a field from the instance.
pub(super) fn strip_field(exchange: &mut Exchange, name: &str) {
    exchange.request.edits.remove(name.as_bytes());
    exchange.request.edits.remove_known(Name::classify(name.as_bytes()));
}

/// Keeps the cookies from the instance whose names `is_own` knows. Others stay as they are, byte for byte.
pub(super) fn strip_cookies(exchange: &mut Exchange, is_own: impl Fn(&[u8]) -> bool) {
    let Request { head, buffer, edits, .. } = &mut exchange.request;
    let names = |line: &[u8]| line.split(|byte| *byte == b';').any(|pair| is_own(cookie_name(pair)));
    // An early hook may have set others.
    let set = edits.added().filter(|(name, _)| Name::classify(name) == Name::Cookie).map(|(_, line)| line);
    let sent = head.fields.values(buffer, "cookie").filter(|_| !edits.removes(Name::Cookie, b"Cookie"));
    let lines: Vec<&[u8]> = sent.chain(set).collect();
    if !lines.iter().any(|line| names(line)) {
        return;
    }
    let kept: Vec<Vec<u8>> = lines.iter().map(|line| without_cookies(line, &is_own)).collect();
    edits.remove_known(Name::Cookie);
    for line in kept.iter().filter(|line| !line.is_empty()) {
        // Cannot fail: a part of a valid value.
        let _ = edits.append(b"Cookie", line);
    }
}

/// Returns what of a line of `Cookie` stays.
fn without_cookies(line: &[u8], is_own: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let kept: Vec<&[u8]> = line.split(|byte| *byte == b';').filter(|pair| !is_own(cookie_name(pair))).collect();
    kept.join(&b';').trim_ascii().to_vec()
}

fn cookie_name(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

/// Keeps a parameter of the query from the instance.
pub(super) fn strip_parameter(exchange: &mut Exchange, name: &str) {
    let Some(sent) = exchange.request.sent_query() else { return };
    let kept: Vec<&[u8]> =
        sent.split(|byte| *byte == b'&').filter(|part| !is_named(query::pair(part).0, name)).collect();
    let kept = kept.join(&b'&');
    if kept.len() != sent.len() {
        exchange.request.forward_query = Some(kept);
    }
}
