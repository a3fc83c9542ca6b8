//! An exchange: one request and its response, as policies and stages see them.
//!
//! The object is used again and again; nothing in it is allocated per request once it is warm.

pub mod answer;
pub mod halt;
pub mod slots;
pub mod transform;
pub mod user;
pub mod verdict;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pylae_http::encode::{FieldSource, Via};
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Edits, Framing, NameSet, RequestHead, ResponseHead, Span, Target};

use self::slots::Slots;
use self::transform::Transforms;
use self::user::User;
use crate::clock::Instant;
use crate::connection::certificate::Certificate;

/// One request and its response.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Exchange {
    /// The client's bytes: the request head, and what came behind it. Its capacity is the bound on what is read at once.
    pub buffer: Vec<u8>,
    /// The request head, as positions in `buffer`.
    pub head: RequestHead,
    /// What its Connection field said.
    pub options: ConnectionOptions,
    /// How long its body is.
    pub framing: Framing,
    /// The canonical target.
    pub target: Target,
    /// The canonical authority that the request is for.
    pub host: Vec<u8>,
    /// Length of the host in `host`, without the port.
    pub host_len: usize,
    /// The connection's peer.
    pub peer: SocketAddr,
    /// Whether the peer is a trusted proxy.
    pub peer_trusted: bool,
    /// The client's address: the peer, or what a trusted proxy says.
    pub client: IpAddr,
    /// Whether the client speaks TLS to the gateway.
    pub secure: bool,
    /// Whether it came on a stream of an HTTP/2 connection.
    pub on_stream: bool,
    /// The certificate that the client has shown, of an authority that the listener believes.
    pub certificate: Option<Arc<Certificate>>,
    /// The request id, 1–128 bytes of `[A-Za-z0-9._-]`.
    pub id: Vec<u8>,
    /// Index of the route in the plan, once there is one.
    pub route: Option<usize>,
    /// Values of the route's path parameters, as spans of the path without parameters of segments, in the order of the
    /// router's names.
    pub params: Vec<Span>,
    /// The path that goes to the instance; empty while it is the canonical one.
    pub forward_path: Vec<u8>,
    /// What `strip_prefix` has taken off the path; empty if nothing.
    pub stripped: Vec<u8>,
    /// The query that goes to the instance, possibly empty; none while it is the client's.
    pub forward_query: Option<Vec<u8>>,
    /// Who is asking, once that is known.
    pub user: Option<Arc<User>>,
    /// Whether the request is a valid WebSocket handshake on a route that allows it.
    pub upgrades: bool,
    /// Bytes that the request body may have.
    pub max_body: u64,
    /// Changes to the request on its way to the instance.
    pub request_edits: Edits,
    /// Changes to the response on its way to the client, whoever makes it.
    pub response_edits: Edits,
    /// Status of the response, once there is one.
    pub status: u16,
    /// The instance's bytes: the response head, and what came behind it.
    pub response_buffer: Vec<u8>,
    /// The instance's response head, as positions in `response_buffer`. Empty when the gateway itself answers.
    pub response_head: ResponseHead,
    /// What the response's Connection field said.
    pub response_options: ConnectionOptions,
    /// In which protocol the instance's response came.
    pub response_via: Via,
    /// When the request head was complete.
    pub started: Instant,
    /// Now, as far as decisions of this stage are concerned.
    pub now: Instant,
    /// When the request head was complete, since the Unix epoch.
    pub wall: Duration,
    /// How many policies of the route's chain were entered.
    pub entered: usize,
    /// Length of the response's body as it comes, if that is known and there is one.
    pub body_length: Option<u64>,
    /// What the response's body passes on its way to the client.
    pub transforms: Transforms,
    /// Why the gateway itself answered, if it was an early exit: [`Halt::code`](crate::Halt::code).
    pub code: Option<&'static str>,
    /// How often an instance was asked.
    pub attempts: u32,
    /// Place of the instance asked last among those of its service.
    pub instance: Option<usize>,
    /// Time spent on asking instances, until the head of the answer.
    pub upstream: Duration,
    /// What features remember of it.
    pub slots: Slots,
    /// Memory for the bytes of a moment. What it holds means nothing to anyone else.
    pub scratch: Vec<u8>,
}

impl Exchange {
    /// An exchange with buffers of `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self {
            buffer: Vec::with_capacity(capacity),
            head: RequestHead::default(),
            options: ConnectionOptions::default(),
            framing: Framing::None,
            target: Target::default(),
            host: Vec::new(),
            host_len: 0,
            peer: nobody,
            peer_trusted: false,
            client: nobody.ip(),
            secure: false,
            on_stream: false,
            certificate: None,
            id: Vec::with_capacity(36),
            route: None,
            params: Vec::new(),
            forward_path: Vec::new(),
            stripped: Vec::new(),
            forward_query: None,
            user: None,
            upgrades: false,
            max_body: 0,
            request_edits: Edits::default(),
            response_edits: Edits::default(),
            status: 0,
            response_buffer: Vec::with_capacity(capacity),
            response_head: ResponseHead::default(),
            response_options: ConnectionOptions::default(),
            response_via: Via::default(),
            started: Instant::default(),
            now: Instant::default(),
            wall: Duration::ZERO,
            entered: 0,
            body_length: None,
            transforms: Transforms::default(),
            code: None,
            attempts: 0,
            instance: None,
            upstream: Duration::ZERO,
            slots: Slots::default(),
            scratch: Vec::new(),
        }
    }

    /// Forgets everything but the bytes in `buffer` that no request has claimed yet, and keeps the memory.
    pub fn reset(&mut self) {
        self.head.clear();
        self.options.clear();
        self.framing = Framing::None;
        // A request that is refused before its target is read must not show another one's.
        self.target.clear();
        self.host.clear();
        self.host_len = 0;
        self.id.clear();
        self.route = None;
        self.params.clear();
        self.forward_path.clear();
        self.stripped.clear();
        self.forward_query = None;
        self.user = None;
        self.upgrades = false;
        self.request_edits.clear();
        self.response_edits.clear();
        self.status = 0;
        self.clear_response();
        self.entered = 0;
        self.body_length = None;
        self.transforms.clear();
        self.code = None;
        self.attempts = 0;
        self.instance = None;
        self.upstream = Duration::ZERO;
        self.slots.reset();
    }

    /// Forgets what an instance answered: its bytes, and all that lies in them.
    pub fn clear_response(&mut self) {
        self.slots.forget_response();
        self.response_buffer.clear();
        self.response_head.clear();
        self.response_options.clear();
        self.response_via = Via::default();
    }

    /// The host that the request is for, in lower case, without port.
    pub fn host_name(&self) -> &[u8] {
        &self.host[..self.host_len]
    }

    /// The query of the request, without `?`.
    pub fn query(&self) -> Option<&[u8]> {
        let raw = self.head.target.of(&self.buffer);
        self.target.query.map(|span| span.of(raw))
    }

    /// Whether the response is an instance's, not the gateway's own.
    pub fn is_relayed(&self) -> bool {
        self.response_head.len > 0
    }

    /// Whether the instance's answer is a stream of events for a page to listen to (`text/event-stream`, HTML section 9.2).
    pub fn is_event_stream(&self) -> bool {
        let media =
            self.response_head.fields.get(&self.response_buffer, pylae_http::Name::ContentType).unwrap_or_default();
        let essence = media.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii_end().eq_ignore_ascii_case(b"text/event-stream")
    }

    /// The value of a response field as the client will see it: an edit's, or else the first that the instance sent.
    pub fn response_value<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.response_edits.get(name.as_bytes()).or_else(|| self.kept_values(name).next())
    }

    /// All values of a response field as the client will see them: those of the instance that are kept, then those of edits.
    pub fn response_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let added = self.response_edits.added().filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
        self.kept_values(name).chain(added.map(|(_, value)| value))
    }

    /// Values of a response field that the instance sent, if they go on.
    fn kept_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let bytes = name.as_bytes();
        let kept = !self.response_edits.removes(pylae_http::Name::classify(bytes), bytes)
            && !self.response_options.nominates(&self.response_buffer, bytes);
        self.response_head.fields.values(&self.response_buffer, name).filter(move |_| kept)
    }

    /// The query that goes to the instance, without `?`.
    pub fn sent_query(&self) -> Option<&[u8]> {
        match &self.forward_query {
            Some(query) => Some(&query[..]).filter(|query| !query.is_empty()),
            None => self.query(),
        }
    }

    /// All values of a request field as the client sent it.
    pub fn request_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.fields.values(&self.buffer, name)
    }

    /// The fields of the request as they go on, without those in `drop`.
    pub fn request_fields(&self, drop: NameSet) -> FieldSource<'_> {
        let Self { head, buffer, options, request_edits, .. } = self;
        FieldSource { fields: &head.fields, buf: buffer, options, drop, edits: request_edits }
    }

    /// The fields of the response as they go on.
    pub fn response_fields(&self) -> FieldSource<'_> {
        let Self { response_head: response, response_buffer, response_options, response_edits, .. } = self;
        FieldSource {
            fields: &response.fields,
            buf: response_buffer,
            options: response_options,
            drop: NameSet::EMPTY,
            edits: response_edits,
        }
    }
}
