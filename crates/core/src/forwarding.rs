//! The fields that tell an instance where a request came from.

use pylae_http::{Edits, InvalidHeader, Name, NameSet};

use crate::exchange::{Exchange, User};

/// Names that only the gateway may say: removed from every client's request, whichever way they are spelt.
pub const IDENTITY: NameSet = NameSet::of(&[Name::XUserId, Name::XUserRole, Name::XUserEmail]);

/// Names that are removed unless the peer is a trusted proxy.
const FORWARDED: NameSet = NameSet::of(&[
    Name::Forwarded,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XForwardedProto,
    Name::XRealIp,
]);

/// What all names of forwarding fields begin with, whatever proxies call them: known ones are dropped, the others disowned.
const FAMILY: &[u8] = b"X-Forwarded";

/// Takes forwarding fields that are not known by name out of the request: its peer is no trusted proxy.
pub(crate) fn disown(exchange: &mut Exchange) {
    let Exchange { head, buffer, request_edits: edits, .. } = exchange;
    for name in head.fields.others_like(buffer, FAMILY) {
        edits.remove(name);
    }
}

/// Known names of the client's request that do not reach the instance as they came.
pub fn dropped(exchange: &Exchange) -> NameSet {
    if exchange.peer_trusted { IDENTITY } else { IDENTITY.with(FORWARDED) }
}

/// Adds the gateway's own fields to the request: request id, forwarding fields, identity. The client's trace context passes as it came:
/// one that is made up here would decide for the services whether they trace.
///
/// `peer` is the connection's peer as text; `scratch` is memory that is used again.
pub fn announce(exchange: &mut Exchange, peer: &str, scratch: &mut Vec<u8>) -> Result<(), InvalidHeader> {
    let Exchange { head, buffer, request_edits: edits, .. } = exchange;
    let buf = &buffer[..];
    edits.set_known(Name::XRequestId, &exchange.id)?;
    if exchange.peer_trusted && head.fields.has(Name::XForwardedFor) {
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
    if !exchange.peer_trusted || !head.fields.has(Name::XForwardedProto) {
        edits.set_known(Name::XForwardedProto, if exchange.secure { b"https" } else { b"http" })?;
    }
    if !exchange.host.is_empty() && (!exchange.peer_trusted || !head.fields.has(Name::XForwardedHost)) {
        edits.set_known(Name::XForwardedHost, &exchange.host)?;
    }
    identify(edits, exchange.user.as_deref())
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
