//! The spans of an exchange: its own, by the semantic conventions of HTTP servers, and one for each step.

use pylae_core::plan::{PathMatch, RoutePlan, ServicePlan};
use pylae_core::request::grpc;
use pylae_core::service::ServiceState;
use pylae_core::trace::Trace;
use pylae_core::{Exchange, Instant};
use pylae_http::{Method, Name, Version};
use pylae_policies::access_log::Completion;
use pylae_policies::hooks::Hooked;

use super::span::{SpanHead, SpanKind, put_span};
use crate::io::clock;
use crate::telemetry::otlp::attributes::{Attributes, MOST_TEXT};

/// What the first span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanRoot {
    /// A client's request.
    Request,
    /// A revalidation in the background, for the exchange that served the stale answer.
    Revalidation,
}

/// A recorded exchange that is over, and what its spans say about it.
pub(crate) struct SpanScope<'a> {
    pub(crate) root: SpanRoot,
    pub(crate) exchange: &'a Exchange,
    pub(crate) completion: &'a Completion<'a>,
    /// Address of the other side of the client's connection.
    pub(crate) peer: &'a str,
    pub(crate) route: Option<&'a RoutePlan>,
    /// The service that it went to.
    pub(crate) service: Option<(&'a ServicePlan, &'a ServiceState)>,
    /// The hooks of the route and those of the early stage.
    pub(crate) hooks: Option<&'a Hooked>,
    pub(crate) early_hooks: Option<&'a Hooked>,
}

/// What is the same for all spans of an exchange.
pub(super) struct SpanFrame<'a> {
    pub(super) head: SpanHead<'a>,
    /// What must be added to the time of the engine to get the time since the Unix epoch, in nanoseconds.
    pub(super) offset: u64,
}

impl SpanFrame<'_> {
    /// A span below that of the exchange.
    pub(super) fn below(&self, span_id: u64, kind: SpanKind, began: Instant, ended: Instant) -> SpanHead<'_> {
        let (start, end) = (self.at(began), self.at(ended));
        SpanHead { span_id, parent_id: self.head.span_id, remote: false, kind, start, end, ..self.head }
    }

    fn at(&self, instant: Instant) -> u64 {
        instant.as_nanos().wrapping_add(self.offset)
    }
}

impl SpanScope<'_> {
    /// Appends all spans: that of the exchange, then those of its steps. `random` makes ids.
    pub(crate) fn write(&self, out: &mut Vec<u8>, mut random: impl FnMut() -> u64) {
        let (context, times) = (&self.exchange.trace_context, &self.exchange.times);
        let state = self.state();
        let offset = clock::wall_offset();
        let start = times.started.as_nanos().wrapping_add(offset);
        let head = SpanHead {
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent_id: context.parent_id,
            remote: self.root == SpanRoot::Request && context.parent_id != 0,
            flags: context.sent_flags().byte(),
            state: &state,
            kind: if self.root == SpanRoot::Request { SpanKind::Server } else { SpanKind::Internal },
            start,
            end: start.saturating_add(self.completion.duration.as_nanos() as u64),
        };
        let failure = failure(self.exchange, self.completion);
        put_span(out, head, &self.name(), failure.is_some(), |to| self.describe(to, failure));
        let frame = SpanFrame { head, offset };
        for step in self.exchange.trace().map_or(&[][..], |trace| trace.steps()) {
            self.write_step(out, &frame, step, &mut random);
        }
    }

    /// The `tracestate` of the request, if it goes on.
    fn state(&self) -> String {
        let exchange = self.exchange;
        if exchange.trace_context.drops_state || !exchange.request.head.fields.has(Name::Tracestate) {
            return String::new();
        }
        let lines = exchange.request.values(Name::Tracestate.as_str()).filter(|line| !line.is_empty());
        let joined = lines.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",");
        // Half of it would be another one.
        if joined.len() > MOST_TEXT { String::new() } else { joined }
    }

    /// The method as span names and attributes have it: one that nobody knows is no name of its own.
    pub(super) fn method(&self) -> Option<&'static str> {
        let method = self.exchange.request.head.method;
        (method != Method::Other).then(|| method.as_str())
    }

    /// What the route matches, as the configuration has it.
    fn pattern(&self) -> Option<&str> {
        self.route.map(|route| match &route.matches.path {
            PathMatch::Exact(path) | PathMatch::Template(path) | PathMatch::Prefix(path) | PathMatch::Pattern(path) => {
                path.as_str()
            }
        })
    }

    /// The name of the first span, in parts.
    fn name(&self) -> [&str; 3] {
        if self.root == SpanRoot::Revalidation {
            return ["revalidate", "", ""];
        }
        let method = self.method().unwrap_or("HTTP");
        self.pattern().map_or([method, "", ""], |pattern| [method, " ", pattern])
    }

    fn describe(&self, to: &mut Attributes<'_>, failure: Option<&str>) {
        let Self { exchange, completion, .. } = self;
        let (request, response) = (&exchange.request, &exchange.response);
        self.describe_request(to);
        if response.status > 0 {
            to.int("http.response.status_code", response.status.into());
        }
        match failure {
            Some("") => to.text("error.type", &itoa(response.status)),
            Some(failure) => to.text("error.type", failure),
            None => {}
        }
        if let Some(pattern) = self.pattern() {
            to.text("http.route", pattern);
        }
        for (key, value) in [("pylae.route", completion.route), ("pylae.service", completion.service)] {
            if let Some(value) = value {
                to.text(key, value);
            }
        }
        to.bytes("pylae.request_id", &request.id);
        if let Some(code) = response.code {
            to.text("pylae.code", code);
        }
        if let Some(cache) = exchange.cache_outcome() {
            to.text("pylae.cache", cache.name());
        }
        to.int("pylae.bytes_in", completion.bytes_in.cast_signed());
        to.int("pylae.bytes_out", completion.bytes_out.cast_signed());
        if exchange.attempts > 0 {
            to.int("pylae.attempts", exchange.attempts.into());
        }
        if let Some(missed) = exchange.trace().map(Trace::missed).filter(|missed| *missed > 0) {
            to.int("pylae.missed_steps", missed.into());
        }
    }

    /// What the conventions say about requests. The query is left out: it may have credentials.
    fn describe_request(&self, to: &mut Attributes<'_>) {
        let request = &self.exchange.request;
        let sent = request.head.method_span.of(&request.buffer);
        match self.method() {
            Some(method) => to.text("http.request.method", method),
            None if sent.is_empty() => {}
            None => {
                to.text("http.request.method", "_OTHER");
                to.bytes("http.request.method_original", sent);
            }
        }
        if !request.target.path.is_empty() {
            to.bytes("url.path", request.asked_path());
        }
        to.text("url.scheme", if request.origin.secure { "https" } else { "http" });
        if !request.host.is_empty() {
            to.bytes("server.address", request.host_name());
            let port = request.host.get(request.host_len + 1..).and_then(|port| std::str::from_utf8(port).ok());
            if let Some(port) = port.and_then(|port| port.parse().ok()) {
                to.int("server.port", port);
            }
        }
        let origin = &request.origin;
        if origin.client == origin.peer.ip().to_canonical() {
            to.text("client.address", self.peer);
        } else {
            to.text("client.address", &origin.client.to_string());
        }
        to.text("network.peer.address", self.peer);
        let version = match request.head.version {
            _ if request.origin.on_stream => "2",
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        to.text("network.protocol.version", version);
        if let Some(agent) = request.head.fields.get(&request.buffer, Name::UserAgent) {
            to.bytes("user_agent.original", agent);
        }
        if self.exchange.is_call() {
            to.text("rpc.system", "grpc");
            if let Some(status) = self.exchange.call_status() {
                to.int("rpc.grpc.status_code", status.into());
            }
        }
    }
}

/// Why an exchange failed, for `error.type`, where nothing stands for its status; None if it did not.
pub(crate) fn failure(exchange: &Exchange, completion: &Completion<'_>) -> Option<&'static str> {
    let response = &exchange.response;
    match (response.status, response.code) {
        (_, Some(code)) if response.status >= 500 || !completion.complete => Some(code),
        (500.., None) => Some(""),
        (_, None) if !completion.complete => Some("incomplete"),
        (_, None) => exchange.call_status().and_then(grpc::server_error),
        _ => None,
    }
}

/// A number as text.
pub(super) fn itoa(number: u16) -> String {
    number.to_string()
}
