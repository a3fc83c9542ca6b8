//! A request, as policies and stages see it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pylae_http::encode::FieldSource;
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Edits, Framing, NameSet, RequestHead, Span, Target};

use super::user::User;
use crate::connection::certificate::Certificate;

/// The client's request, and what the gateway has derived from it.
#[derive(Debug, Default)]
pub struct Request {
    /// The client's bytes: the head, and whatever arrived after it. Its capacity limits how much is read at once.
    pub buffer: Vec<u8>,
    /// The head, as positions in `buffer`.
    pub head: RequestHead,
    /// The options of its Connection field.
    pub options: ConnectionOptions,
    /// Framing of its body.
    pub framing: Framing,
    /// The canonical target.
    pub target: Target,
    /// The canonical authority.
    pub host: Vec<u8>,
    /// Length of the host in `host`, without the port.
    pub host_len: usize,
    /// The client's connection and address.
    pub origin: RequestOrigin,
    /// The client's canonical path, if an early hook has set another; otherwise empty.
    pub client_path: Vec<u8>,
    /// The request id, 1–128 bytes of `[A-Za-z0-9._-]`.
    pub id: Vec<u8>,
    /// Values of the route's path parameters, as spans of the path without parameters of segments, in the order of the
    /// router's parameter names.
    pub params: Vec<Span>,
    /// The path that the instance gets; empty while it is the canonical path of the target.
    pub forward_path: Vec<u8>,
    /// The prefix that `strip_prefix` removed from the path; empty if none.
    pub stripped: Vec<u8>,
    /// The query that the instance gets, possibly empty; None while it is the client's.
    pub forward_query: Option<Vec<u8>>,
    /// The authenticated user.
    pub user: Option<Arc<User>>,
    /// True for a valid WebSocket handshake on a route that allows it.
    pub upgrades: bool,
    /// True if the route's CORS policy lets pages of the request's origin send cookies.
    pub origin_trusted: bool,
    /// Largest allowed body, in bytes.
    pub max_body: u64,
    /// Changes to the head before it is sent to the instance.
    pub edits: Edits,
}

/// Where a request comes from: the client's connection, and what a proxy in front says about it.
#[derive(Clone, Debug)]
pub struct RequestOrigin {
    /// The connection's peer.
    pub peer: SocketAddr,
    /// Whether the peer is a trusted proxy.
    pub peer_trusted: bool,
    /// The client's address: the peer's, or the one that a trusted proxy reports.
    pub client: IpAddr,
    /// Whether the client speaks TLS to the gateway.
    pub secure: bool,
    /// Whether the request is a stream of an HTTP/2 connection.
    pub on_stream: bool,
    /// The client's certificate, issued by an authority that the listener trusts.
    pub certificate: Option<Arc<Certificate>>,
}

impl Default for RequestOrigin {
    fn default() -> Self {
        let client = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let peer = SocketAddr::new(client, 0);
        Self { peer, peer_trusted: false, client, secure: false, on_stream: false, certificate: None }
    }
}

impl Request {
    /// Prepares for the next request and keeps the memory. The bytes in `buffer` stay: the next request may have begun.
    pub(super) fn reset(&mut self) {
        let Self { buffer: _, head, options, framing, target, host, host_len, origin: _, .. } = self;
        head.clear();
        options.clear();
        *framing = Framing::None;
        // A request that is refused before its target is read must not show the target of the last one.
        target.clear();
        host.clear();
        *host_len = 0;
        let Self { client_path, id, params, .. } = self;
        client_path.clear();
        id.clear();
        params.clear();
        let Self { forward_path, stripped, forward_query, user, upgrades, origin_trusted, max_body: _, edits, .. } =
            self;
        forward_path.clear();
        stripped.clear();
        *forward_query = None;
        *user = None;
        *upgrades = false;
        *origin_trusted = false;
        edits.clear();
    }

    /// The host in lower case, without port.
    pub fn host_name(&self) -> &[u8] {
        &self.host[..self.host_len]
    }

    /// The canonical path that the client has asked for, whatever an early hook has made of it.
    pub fn asked_path(&self) -> &[u8] {
        if self.client_path.is_empty() { &self.target.path } else { &self.client_path }
    }

    /// The client's query, without `?`.
    pub fn query(&self) -> Option<&[u8]> {
        let raw = self.head.target.of(&self.buffer);
        self.target.query.map(|span| span.of(raw))
    }

    /// The query that the instance gets, without `?`.
    pub fn sent_query(&self) -> Option<&[u8]> {
        match &self.forward_query {
            Some(query) => Some(&query[..]).filter(|query| !query.is_empty()),
            None => self.query(),
        }
    }

    /// Returns all values of a field as the client sent them.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.head.fields.values(&self.buffer, name)
    }

    /// The fields to send to the instance: those of the client but for `drop`, with the edits applied.
    pub fn fields(&self, drop: NameSet) -> FieldSource<'_> {
        let Self { head, buffer, options, edits, .. } = self;
        FieldSource { fields: &head.fields, buf: buffer, options, drop, edits }
    }
}
