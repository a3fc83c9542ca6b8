//! What hooks can change of an exchange.

use std::sync::Arc;

use pylae_http::message::host;
use pylae_http::{Edits, Method, Name, Span, Target};

use super::{FlatReader, FlatWriter};
use crate::clock::Instant;
use crate::exchange::Exchange;
use crate::exchange::user::User;
use crate::hook::{BodyForm, OwnSpans, ToldCost};
use crate::trace::{HookHalf, HookPlace, HookStep, StepKind, Trace};

/// Most bytes of the spans that the hooks of an exchange make.
const MOST_SPANS: usize = 64 * 1024;

/// What both sides have already, so that it is not sent again.
#[derive(Debug, Default)]
pub struct Bodies {
    request: Option<Arc<[u8]>>,
    response: Option<Arc<[u8]>>,
    user: Option<Arc<User>>,
}

impl Bodies {
    pub(super) fn knows_request(&mut self, body: &Arc<[u8]>) -> bool {
        let is_known = self.request.as_ref().is_some_and(|known| Arc::ptr_eq(known, body));
        if !is_known {
            self.request = Some(Arc::clone(body));
        }
        is_known
    }

    pub(super) fn take_request(&mut self, body: &[u8]) -> Arc<[u8]> {
        Arc::clone(self.request.insert(body.into()))
    }

    pub(super) fn request(&self) -> Option<Arc<[u8]>> {
        self.request.clone()
    }
}

/// The path and the query of a request on its way to an instance.
type ForwardTarget = (Vec<u8>, Option<Vec<u8>>);

/// What hooks have changed, read and checked.
#[derive(Debug, Default)]
pub struct HookChanges {
    /// Path and query, unless they stay what they are.
    forward: Option<ForwardTarget>,
    request_edits: Edits,
    response_edits: Edits,
    fields: Edits,
    user: Option<Arc<User>>,
    status: u16,
    host: Option<Box<[u8]>>,
    service: Option<Box<str>>,
    path_set: bool,
    response_body: Option<Arc<[u8]>>,
    body_set: bool,
    coded: bool,
    spans: OwnSpans,
    hook_id: u64,
    told: Vec<ToldCost>,
    steps: Vec<(HookStep, u64, Instant, Instant)>,
}

/// Writes what hooks can change. `bodies` are those that the other side has already.
pub fn write_changes(exchange: &Exchange, bodies: &mut Bodies, to: &mut FlatWriter) {
    let request = &exchange.request;
    to.bytes(&request.forward_path);
    to.option(request.forward_query.as_deref(), FlatWriter::bytes);
    write_edits(&request.edits, to);
    write_edits(&exchange.response.edits, to);
    write_kept(request.user.as_ref(), &mut bodies.user, to, write_user);
    to.short(exchange.response.status.into());
    let hooks = exchange.hooks();
    to.flag(hooks.is_some());
    let Some(hooks) = hooks else { return };
    write_edits(&hooks.fields, to);
    to.option(hooks.host.as_deref(), FlatWriter::bytes);
    to.option(hooks.service.as_deref(), |to, name| to.bytes(name.as_bytes()));
    to.flag(hooks.path_set);
    write_kept(hooks.response_body.as_ref(), &mut bodies.response, to, |body, to| to.bytes(body));
    to.flag(hooks.body_set);
    to.flag(hooks.body_form == BodyForm::Coded);
    to.bytes(&hooks.spans.bytes);
    to.long(hooks.spans.count);
    to.long(exchange.trace_context.hook_id);
    let told = hooks.hosted.as_ref().map(|hosted| hosted.take_told()).unwrap_or_default();
    to.size(told.len());
    for told in told {
        write_told(told, to);
    }
    write_steps(exchange, to);
}

/// Writes a true cost that a hook has told.
pub(super) fn write_told((limit, cost): ToldCost, to: &mut FlatWriter) {
    to.option(limit, FlatWriter::size);
    to.short(cost);
}

pub(super) fn read_told(from: &mut FlatReader<'_>) -> Option<ToldCost> {
    Some((from.option(FlatReader::size)?, from.short()?))
}

fn write_steps(exchange: &Exchange, to: &mut FlatWriter) {
    let steps = exchange.trace().map(Trace::steps).unwrap_or_default();
    let calls = || {
        steps.iter().filter_map(|step| match step.kind {
            StepKind::Hook(call) => Some((call, step)),
            _ => None,
        })
    };
    // Those that the gateway has recorded itself are its own affair.
    let is_host = exchange.hooks().is_some_and(|hooks| hooks.hosted.is_some());
    to.size(if is_host { calls().count() } else { 0 });
    for (call, step) in calls().filter(|_| is_host) {
        to.flag(call.place == HookPlace::Early);
        to.flag(call.half == HookHalf::Request);
        to.flag(call.failed);
        to.size(call.index);
        to.long(step.span_id);
        to.long(step.began.as_nanos());
        to.long(step.ended.as_nanos());
    }
}

fn read_step(from: &mut FlatReader<'_>) -> Option<(HookStep, u64, Instant, Instant)> {
    let place = if from.flag()? { HookPlace::Early } else { HookPlace::Route };
    let half = if from.flag()? { HookHalf::Request } else { HookHalf::Response };
    let (failed, index) = (from.flag()?, from.size()?);
    let step = HookStep { place, index, half, failed };
    Some((step, from.long()?, Instant::from_nanos(from.long()?), Instant::from_nanos(from.long()?)))
}

fn write_edits(edits: &Edits, to: &mut FlatWriter) {
    to.size(edits.removed_names().count());
    edits.removed_names().for_each(|name| to.bytes(name));
    to.size(edits.added().count());
    for (name, value) in edits.added() {
        to.bytes(name);
        to.bytes(value);
    }
}

/// Reads edits. All names and values are checked as those of any hook are.
fn read_edits(from: &mut FlatReader<'_>) -> Option<Edits> {
    let mut edits = Edits::default();
    for _ in 0..from.count()? {
        edits.remove(from.bytes()?);
    }
    for _ in 0..from.count()? {
        edits.append(from.bytes()?, from.bytes()?).ok()?;
    }
    Some(edits)
}

/// Writes a value, unless the other side has it.
fn write_kept<T: ?Sized>(
    value: Option<&Arc<T>>,
    known: &mut Option<Arc<T>>,
    to: &mut FlatWriter,
    write: impl FnOnce(&T, &mut FlatWriter),
) {
    match value {
        None => to.byte(0),
        Some(value) if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, value)) => to.byte(1),
        Some(value) => {
            to.byte(2);
            write(value, to);
            *known = Some(Arc::clone(value));
        }
    }
}

#[expect(clippy::option_option, reason = "None is what cannot be read, as everywhere here")]
fn read_kept<T: ?Sized>(
    from: &mut FlatReader<'_>,
    known: &mut Option<Arc<T>>,
    read: impl FnOnce(&mut FlatReader<'_>) -> Option<Arc<T>>,
) -> Option<Option<Arc<T>>> {
    match from.byte()? {
        0 => Some(None),
        1 => Some(Some(Arc::clone(known.as_ref()?))),
        2 => read(from).map(|value| Some(Arc::clone(known.insert(value)))),
        _ => None,
    }
}

fn write_user(user: &User, to: &mut FlatWriter) {
    for text in [&user.id, &user.email, &user.role] {
        to.bytes(text.as_bytes());
    }
    to.bytes(user.via.as_bytes());
    to.size(user.permissions.len());
    user.permissions.iter().for_each(|permission| to.bytes(permission.as_bytes()));
    // Cannot fail: the claims were JSON.
    to.bytes(&serde_json::to_vec(&user.claims).unwrap_or_default());
}

/// Reads a user. In the gateway, a new one is always of a hook; in the host `via` stays what it was.
fn read_user(from: &mut FlatReader<'_>, is_host: bool) -> Option<Arc<User>> {
    let mut sent = Edits::default();
    let mut text = |from: &mut FlatReader<'_>| {
        let text = from.text()?;
        sent.set_known(Name::XUserId, text.as_bytes()).ok()?;
        Some(text.to_owned())
    };
    let (id, email, role) = (text(from)?, text(from)?, text(from)?);
    let via = from.text()?;
    let permissions = from.list(|from| from.text().map(str::to_owned))?;
    let claims = serde_json::from_slice(from.bytes()?).ok()?;
    let via = if is_host { KINDS.iter().find(|kind| **kind == via).copied().unwrap_or("hook") } else { "hook" };
    Some(Arc::new(User { id, email, role, permissions, claims, via }))
}

/// The kinds of authenticators, as users have them.
const KINDS: [&str; 6] = ["jwt", "oidc", "api_key", "basic", "client_certificate", "given"];

impl HookChanges {
    /// Reads changes of `exchange`. Returns None unless a hook may make all of them. `is_host` says whether they come
    /// from the gateway.
    pub fn read(from: &mut FlatReader<'_>, exchange: &Exchange, bodies: &mut Bodies, is_host: bool) -> Option<Self> {
        let mut changes = Self {
            forward: read_forward(from, exchange)?,
            request_edits: read_edits(from)?,
            response_edits: read_edits(from)?,
            user: read_kept(from, &mut bodies.user, |from| read_user(from, is_host))?,
            status: from.short()?.try_into().ok()?,
            ..Self::default()
        };
        let is_status = changes.status == exchange.response.status || (200..600).contains(&changes.status);
        if !is_status && !is_host {
            return None;
        }
        if !from.flag()? {
            return Some(changes);
        }
        changes.fields = read_edits(from)?;
        changes.host = from.option(|from| from.bytes().filter(|host| is_host_name(host)).map(Into::into))?;
        changes.service = from.option(|from| from.text().map(Into::into))?;
        changes.path_set = from.flag()?;
        changes.response_body = read_kept(from, &mut bodies.response, |from| from.bytes().map(Into::into))?;
        (changes.body_set, changes.coded) = (from.flag()?, from.flag()?);
        let spans = from.bytes().filter(|spans| spans.len() <= MOST_SPANS)?;
        changes.spans = OwnSpans { bytes: spans.to_vec(), count: from.long()? };
        changes.hook_id = from.long()?;
        changes.told = from.list(read_told)?;
        changes.steps = from.list(read_step)?;
        Some(changes)
    }

    /// The service that a hook has chosen.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Makes the changes. Returns the true costs that hooks have told.
    pub fn apply(self, exchange: &mut Exchange) -> Vec<ToldCost> {
        let request = &mut exchange.request;
        if let Some(forward) = self.forward {
            (request.forward_path, request.forward_query) = forward;
        }
        request.edits = self.request_edits;
        request.user = self.user;
        let response = &mut exchange.response;
        response.edits = self.response_edits;
        if response.status != self.status {
            response.status = self.status;
            response.head.reason = Span::default();
        }
        if exchange.trace_context.is_known() {
            exchange.trace_context.hook_id = self.hook_id;
        }
        for (step, span_id, began, ended) in self.steps {
            exchange.record_span(span_id, StepKind::Hook(step), began, ended);
        }
        let visit = exchange.hook_visit();
        visit.fields = self.fields;
        visit.host = self.host;
        visit.service = self.service;
        visit.path_set = self.path_set;
        visit.response_body = self.response_body;
        visit.body_set = self.body_set;
        visit.body_form = if self.coded { BodyForm::Coded } else { BodyForm::Plain };
        visit.spans = self.spans;
        self.told
    }
}

/// Reads path and query. Those that stay are not checked once more.
#[expect(clippy::option_option, reason = "None is what cannot be read, as everywhere here")]
fn read_forward(from: &mut FlatReader<'_>, exchange: &Exchange) -> Option<Option<ForwardTarget>> {
    let (path, query) = (from.bytes()?, from.option(FlatReader::bytes)?);
    let request = &exchange.request;
    if path == request.forward_path && query == request.forward_query.as_deref() {
        return Some(None);
    }
    let is_valid = is_path(path, request.target.has_slashes()) && query.is_none_or(is_query);
    is_valid.then(|| Some((path.to_vec(), query.map(<[u8]>::to_vec))))
}

/// Returns true for a canonical path, or none. `slashes` says whether it may have `%2F`.
fn is_path(path: &[u8], slashes: bool) -> bool {
    let mut target = Target::default();
    path.is_empty()
        || path == b"*"
        || target.read_with_slashes(path, Method::Get).is_ok()
            && target.path == path
            && (slashes || !target.has_slashes())
}

fn is_query(query: &[u8]) -> bool {
    let raw = [b"/?", query].concat();
    Target::default().read(&raw, Method::Get).is_ok()
}

fn is_host_name(name: &[u8]) -> bool {
    let mut canonical = Vec::new();
    host::canonical(name, &mut canonical).is_ok() && canonical == name
}
