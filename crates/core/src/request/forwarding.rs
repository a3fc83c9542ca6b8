//! The fields that tell an instance where a request came from.

use pylae_http::{Edits, InvalidHeader, Name, NameSet};

use crate::exchange::Exchange;
use crate::exchange::request::Request;
use crate::exchange::user::User;

/// Names that only the gateway may say: removed from every client's request, whichever way they are spelt.
pub const IDENTITY: NameSet = NameSet::of(&[Name::XUserId, Name::XUserRole, Name::XUserEmail]);

/// Names that are removed unless the peer is a trusted proxy.
const FORWARDED: NameSet = NameSet::of(&[
    Name::Forwarded,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XForwardedPrefix,
    Name::XForwardedProto,
    Name::XRealIp,
]);

/// What all names of forwarding fields begin with, whatever proxies call them: known ones are dropped, the others disowned.
const FAMILY: &[u8] = b"X-Forwarded";

/// Takes forwarding fields that are not known by name out of the request: its peer is no trusted proxy.
pub(crate) fn disown(exchange: &mut Exchange) {
    let Exchange { request: Request { head, buffer, edits, .. }, .. } = exchange;
    for name in head.fields.others_like(buffer, FAMILY) {
        edits.remove(name);
    }
}

/// Known names of the client's request that do not reach the instance as they came.
pub fn dropped(exchange: &Exchange) -> NameSet {
    if exchange.request.origin.peer_trusted { IDENTITY } else { IDENTITY.with(FORWARDED) }
}

/// Adds the gateway's own fields to the request: request id, forwarding fields, identity. The client's trace context passes as it came:
/// one that is made up here would decide for the services whether they trace.
///
/// `peer` is the connection's peer as text; `scratch` is memory that is used again.
pub fn announce(exchange: &mut Exchange, peer: &str, scratch: &mut Vec<u8>) -> Result<(), InvalidHeader> {
    announce_prefix(exchange, scratch)?;
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
    identify(edits, exchange.request.user.as_deref())
}

/// Tells under which prefix the client sees the service: what a trusted proxy in front has stripped, and behind it what was stripped
/// here. What a policy or hook says stays.
fn announce_prefix(exchange: &mut Exchange, scratch: &mut Vec<u8>) -> Result<(), InvalidHeader> {
    const NAME: Name = Name::XForwardedPrefix;
    let edits = &exchange.request.edits;
    if stripped(exchange).is_empty() || edits.removes(NAME, b"") || edits.get(NAME.as_str().as_bytes()).is_some() {
        return Ok(());
    }
    scratch.clear();
    if exchange.request.origin.peer_trusted && exchange.request.head.fields.has(NAME) {
        for told in exchange.request.values(NAME.as_str()).flat_map(|line| line.split(|byte| *byte == b',')) {
            let told = told.trim_ascii();
            let end = told.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            scratch.extend_from_slice(if told.starts_with(b"/") { &told[..end] } else { b"" });
        }
    }
    scratch.extend_from_slice(stripped(exchange));
    exchange.request.edits.set_known(NAME, scratch)
}

/// What `strip_prefix` has taken off the path that the instance gets; nothing if a hook has set that path since.
pub(crate) fn stripped(exchange: &Exchange) -> &[u8] {
    let set = exchange.hooks().is_some_and(|hooks| hooks.path_set);
    if set { b"" } else { &exchange.request.stripped }
}

fn identify(edits: &mut Edits, user: Option<&User>) -> Result<(), InvalidHeader> {
    let Some(user) = user else { return Ok(()) };
    for name in [Name::XUserId, Name::XUserRole, Name::XUserEmail] {
        if let Some(value) = identity(user, name) {
            edits.set_known(name, value.as_bytes())?;
        }
    }
    Ok(())
}

/// What instances are told of `user` in the field `name`, if anything.
pub fn identity(user: &User, name: Name) -> Option<&str> {
    let value = match name {
        Name::XUserId => &user.id,
        Name::XUserRole => &user.role,
        Name::XUserEmail => &user.email,
        _ => return None,
    };
    Some(value.as_str()).filter(|value| !value.is_empty())
}
