//! The fields by which an instance learns where a request came from.

use pylae_http::{Edits, InvalidHeader, Name, NameSet};

use crate::exchange::Exchange;
use crate::exchange::request::Request;
use crate::exchange::user::User;

/// Fields that only the gateway may set: they are removed from every client's request, in all their spellings.
pub const IDENTITY: NameSet = NameSet::of(&[Name::XUserId, Name::XUserRole, Name::XUserEmail]);

/// Fields that are removed unless the peer is a trusted proxy.
const FORWARDED: NameSet = NameSet::of(&[
    Name::Forwarded,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XForwardedPrefix,
    Name::XForwardedProto,
    Name::XRealIp,
]);

/// Common prefix of all forwarding fields, including those of other proxies: `dropped_fields` covers the known ones,
/// `remove_untrusted` the others.
const FAMILY: &[u8] = b"X-Forwarded";

/// Removes forwarding fields with unknown names from a request whose peer is not a trusted proxy.
pub(crate) fn remove_untrusted(exchange: &mut Exchange) {
    let Exchange { request: Request { head, buffer, edits, .. }, .. } = exchange;
    for name in head.fields.unknown_with_prefix(buffer, FAMILY) {
        edits.remove(name);
    }
}

/// Returns true for request fields that hooks cannot set: those that say who the user is, and in the early stage also
/// those that say where the request comes from, and its id.
pub fn is_reserved(name: &[u8], early: bool) -> bool {
    let id = Name::classify(name);
    let origin = FORWARDED.with(NameSet::of(&[Name::XRequestId]));
    IDENTITY.has(id)
        || early && (origin.has(id) || id == Name::Other && pylae_http::message::name::starts_with(name, FAMILY))
}

/// Returns the known fields of the client's request that are not forwarded as they came.
pub fn dropped_fields(exchange: &Exchange) -> NameSet {
    if exchange.request.origin.peer_trusted { IDENTITY } else { IDENTITY.with(FORWARDED) }
}

/// Returns true if no client can be believed that sends the field `name`: it may say who the user is, or where the
/// request comes from.
pub fn is_unbelievable(exchange: &Exchange, name: &[u8]) -> bool {
    let id = Name::classify(name);
    let untrusted = !exchange.request.origin.peer_trusted;
    dropped_fields(exchange).has(id)
        || untrusted && id == Name::Other && pylae_http::message::name::starts_with(name, FAMILY)
}

/// Adds the gateway's own fields to the request: request id, forwarding fields, identity. The client's trace context is
/// forwarded unchanged: a context made up here would decide for the services whether they trace.
///
/// `peer` is the connection's peer as text; `scratch` is reused memory.
pub fn add_fields(exchange: &mut Exchange, peer: &str, scratch: &mut Vec<u8>) -> Result<(), InvalidHeader> {
    add_prefix(exchange, scratch)?;
    let Exchange { request: Request { head, buffer, edits, .. }, .. } = exchange;
    let buf = &buffer[..];
    edits.set_known(Name::XRequestId, &exchange.request.id)?;
    if exchange.request.origin.peer_trusted && head.fields.has(Name::XForwardedFor) {
        scratch.clear();
        for line in head.fields.values(buf, "x-forwarded-for") {
            scratch.extend_from_slice(line);
            scratch.extend_from_slice(b", ");
        }
        scratch.extend_from_slice(peer.as_bytes());
        edits.set_known(Name::XForwardedFor, scratch)?;
    } else {
        edits.set_known(Name::XForwardedFor, peer.as_bytes())?;
    }
    if !exchange.request.origin.peer_trusted || !head.fields.has(Name::XForwardedProto) {
        edits.set_known(Name::XForwardedProto, if exchange.request.origin.secure { b"https" } else { b"http" })?;
    }
    if !exchange.request.host.is_empty()
        && (!exchange.request.origin.peer_trusted || !head.fields.has(Name::XForwardedHost))
    {
        edits.set_known(Name::XForwardedHost, &exchange.request.host)?;
    }
    add_identity(edits, exchange.request.user.as_deref())
}

/// Sets X-Forwarded-Prefix, the prefix under which the client sees the service: what a trusted proxy in front has
/// stripped, then what was stripped here. A value set by a policy or hook stays.
fn add_prefix(exchange: &mut Exchange, scratch: &mut Vec<u8>) -> Result<(), InvalidHeader> {
    const NAME: Name = Name::XForwardedPrefix;
    let edits = &exchange.request.edits;
    if stripped(exchange).is_empty() || edits.removes(NAME, b"") || edits.get(NAME.as_str().as_bytes()).is_some() {
        return Ok(());
    }
    scratch.clear();
    if exchange.request.origin.peer_trusted && exchange.request.head.fields.has(NAME) {
        forwarded_prefix(exchange, scratch);
    }
    scratch.extend_from_slice(stripped(exchange));
    exchange.request.edits.set_known(NAME, scratch)
}

/// Appends the prefix that proxies in front have stripped, by their X-Forwarded-Prefix. For a trusted peer.
pub(crate) fn forwarded_prefix(exchange: &Exchange, out: &mut Vec<u8>) {
    let lines = exchange.request.values(Name::XForwardedPrefix.as_str());
    for line in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
        let line = line.trim_ascii();
        let end = line.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        out.extend_from_slice(if line.starts_with(b"/") { &line[..end] } else { b"" });
    }
}

/// Returns the prefix that `strip_prefix` removed from the path, or nothing if a hook has set the path since.
pub(crate) fn stripped(exchange: &Exchange) -> &[u8] {
    let set = exchange.hooks().is_some_and(|hooks| hooks.path_set);
    if set { b"" } else { &exchange.request.stripped }
}

fn add_identity(edits: &mut Edits, user: Option<&User>) -> Result<(), InvalidHeader> {
    let Some(user) = user else { return Ok(()) };
    for name in [Name::XUserId, Name::XUserRole, Name::XUserEmail] {
        if let Some(value) = identity_value(user, name) {
            edits.set_known(name, value.as_bytes())?;
        }
    }
    Ok(())
}

/// Returns the value of the identity field `name` for `user`, if it has one.
pub fn identity_value(user: &User, name: Name) -> Option<&str> {
    let value = match name {
        Name::XUserId => &user.id,
        Name::XUserRole => &user.role,
        Name::XUserEmail => &user.email,
        _ => return None,
    };
    Some(value.as_str()).filter(|value| !value.is_empty())
}
