//! The exchange as a host gets it: what hooks can read, and what they can change.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pylae_http::{Framing, HeadLimits, Span};

use super::changes::{Bodies, HookChanges, write_changes};
use super::{FlatReader, FlatWriter};
use crate::connection::certificate::Certificate;
use crate::exchange::Exchange;
use crate::exchange::request::RequestOrigin;
use crate::hook::{BodyForm, HostedVisit};
use crate::trace::context::{TraceContext, TraceFlags};

/// The gateway has applied its own limits to the heads.
const LIMITS: HeadLimits = HeadLimits { head: usize::MAX, target: usize::MAX, fields: usize::MAX };

/// Writes all that hooks see of an exchange. `bodies` are those that the host has already.
pub fn write_exchange(exchange: &Exchange, bodies: &mut Bodies, to: &mut FlatWriter) {
    let request = &exchange.request;
    to.bytes(&request.buffer[..request.head.len]);
    write_framing(request.framing, to);
    to.bytes(&request.host);
    to.size(request.host_len);
    write_origin(&request.origin, to);
    to.bytes(&request.client_path);
    to.bytes(&request.id);
    to.size(request.params.len());
    for span in &request.params {
        to.short(span.start);
        to.short(span.len);
    }
    to.option(exchange.route, FlatWriter::size);
    to.option(exchange.member(), |to, member| to.bytes(member.service().as_bytes()));
    write_trace(&exchange.trace_context, to);
    to.flag(exchange.recorded);
    to.long(exchange.times.wall.as_nanos() as u64);
    to.bytes(&exchange.response.buffer[..exchange.response.head.len]);
    to.flag(exchange.hooks().is_some_and(|hooks| hooks.body_form == BodyForm::Coded));
    to.option(exchange.hooks().and_then(|hooks| hooks.request_body.as_ref()), |to, body| {
        let is_known = bodies.knows_request(body);
        to.option((!is_known).then_some(body), |to, body| to.bytes(body));
    });
    write_changes(exchange, bodies, to);
}

/// Reads what [`write_exchange`] has written. Returns None if nobody can have written it.
pub fn read_exchange(from: &mut FlatReader<'_>, bodies: &mut Bodies) -> Option<Box<Exchange>> {
    let mut exchange = Box::new(Exchange::new(0));
    let request = &mut exchange.request;
    request.buffer.extend_from_slice(from.bytes()?);
    // The head of what is no request cannot be read; the gateway has not read it either.
    let _ = request.head.parse(&request.buffer, &LIMITS);
    if request.head.len > 0 {
        let _ = request.target.read_with_slashes(request.head.target.of(&request.buffer), request.head.method);
    }
    request.framing = read_framing(from)?;
    request.host.extend_from_slice(from.bytes()?);
    request.host_len = from.size().filter(|len| *len <= request.host.len())?;
    request.origin = read_origin(from)?;
    request.client_path.extend_from_slice(from.bytes()?);
    request.id.extend_from_slice(from.bytes()?);
    let end = request.target.routing_path().len();
    request.params = from.list(|from| {
        let span = Span { start: from.short()?, len: from.short()? };
        (span.end() <= end).then_some(span)
    })?;
    exchange.route = from.option(FlatReader::size)?;
    let member = from.option(|from| from.text().map(Into::into))?;
    exchange.trace_context = read_trace(from)?;
    exchange.recorded = from.flag()?;
    exchange.times.wall = Duration::from_nanos(from.long()?);
    let response = &mut exchange.response;
    response.buffer.extend_from_slice(from.bytes()?);
    if !response.buffer.is_empty() {
        let _ = response.head.parse(&response.buffer, &LIMITS);
    }
    let coded = from.flag()?;
    let body = from.option(|from| {
        Some(match from.option(FlatReader::bytes)? {
            Some(body) => bodies.take_request(body),
            None => bodies.request()?,
        })
    })?;
    let visit = exchange.hook_visit();
    visit.body_form = if coded { BodyForm::Coded } else { BodyForm::Plain };
    visit.request_body = body;
    visit.hosted = Some(Box::new(HostedVisit::new(member)));
    HookChanges::read(from, &exchange, bodies, true)?.apply(&mut exchange);
    Some(exchange)
}

fn write_framing(framing: Framing, to: &mut FlatWriter) {
    let (kind, length) = match framing {
        Framing::None => (0, 0),
        Framing::Length(length) => (1, length),
        Framing::Chunked => (2, 0),
        Framing::Close => (3, 0),
    };
    to.byte(kind);
    to.long(length);
}

fn read_framing(from: &mut FlatReader<'_>) -> Option<Framing> {
    let (kind, length) = (from.byte()?, from.long()?);
    Some(match kind {
        0 => Framing::None,
        1 => Framing::Length(length),
        2 => Framing::Chunked,
        3 => Framing::Close,
        _ => return None,
    })
}

fn write_address(address: IpAddr, to: &mut FlatWriter) {
    match address {
        IpAddr::V4(address) => to.bytes(&address.octets()),
        IpAddr::V6(address) => to.bytes(&address.octets()),
    }
}

fn read_address(from: &mut FlatReader<'_>) -> Option<IpAddr> {
    let octets = from.bytes()?;
    let four = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    four.or_else(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from))
}

fn write_origin(origin: &RequestOrigin, to: &mut FlatWriter) {
    write_address(origin.peer.ip(), to);
    to.short(origin.peer.port().into());
    write_address(origin.client, to);
    to.flag(origin.peer_trusted);
    to.flag(origin.secure);
    to.flag(origin.on_stream);
    to.option(origin.certificate.as_deref(), |to, certificate| {
        to.bytes(certificate.common_name.as_bytes());
        for names in [&certificate.dns, &certificate.emails, &certificate.uris] {
            to.size(names.len());
            for name in names {
                to.bytes(name.as_bytes());
            }
        }
        to.size(certificate.addresses.len());
        certificate.addresses.iter().for_each(|address| write_address(*address, to));
        to.long(certificate.not_after.as_nanos() as u64);
        to.bytes(&certificate.thumbprint);
    });
}

fn read_origin(from: &mut FlatReader<'_>) -> Option<RequestOrigin> {
    let names = |from: &mut FlatReader<'_>| from.list(|from| from.text().map(str::to_owned));
    Some(RequestOrigin {
        peer: SocketAddr::new(read_address(from)?, from.short()?.try_into().ok()?),
        client: read_address(from)?,
        peer_trusted: from.flag()?,
        secure: from.flag()?,
        on_stream: from.flag()?,
        certificate: from.option(|from| {
            Some(Arc::new(Certificate {
                common_name: from.text()?.to_owned(),
                dns: names(from)?,
                emails: names(from)?,
                uris: names(from)?,
                addresses: from.list(read_address)?,
                not_after: Duration::from_nanos(from.long()?),
                thumbprint: from.bytes()?.try_into().ok()?,
            }))
        })?,
    })
}

fn write_trace(context: &TraceContext, to: &mut FlatWriter) {
    to.flag(context.is_known());
    if !context.is_known() {
        return;
    }
    to.long((context.trace_id >> 64) as u64);
    to.long(context.trace_id as u64);
    for id in [context.parent_id, context.span_id, context.attempt_id, context.hook_id, context.draw] {
        to.long(id);
    }
    to.byte(context.flags.byte());
    to.flag(context.sampled);
    to.flag(context.drops_state);
}

fn read_trace(from: &mut FlatReader<'_>) -> Option<TraceContext> {
    if !from.flag()? {
        return Some(TraceContext::default());
    }
    let trace_id = u128::from(from.long()?) << 64 | u128::from(from.long()?);
    let (parent_id, span_id) = (from.long()?, from.long()?);
    let (attempt_id, hook_id, draw) = (from.long()?, from.long()?, from.long()?);
    let (flags, sampled, drops_state) = (TraceFlags::of(from.byte()?), from.flag()?, from.flag()?);
    Some(TraceContext { trace_id, parent_id, span_id, attempt_id, hook_id, flags, sampled, drops_state, draw })
}
