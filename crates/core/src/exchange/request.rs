//! A request, as policies and stages see it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pylae_http::encode::FieldSource;
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Edits, Framing, NameSet, RequestHead, Span, Target};

use super::user::User;
use crate::connection::certificate::Certificate;

/// What a client asks, and what was settled about it.
#[derive(Debug, Default)]
pub struct Request {
    /// The client's bytes: the head, and what came behind it. Its capacity is the bound on what is read at once.
    pub buffer: Vec<u8>,
    /// The head, as positions in `buffer`.
    pub head: RequestHead,
    /// What its Connection field said.
    pub options: ConnectionOptions,
    /// How long its body is.
    pub framing: Framing,
    /// The canonical target.
    pub target: Target,
    /// The canonical authority that it is for.
    pub host: Vec<u8>,
    /// Length of the host in `host`, without the port.
    pub host_len: usize,
    /// Where it comes from.
    pub origin: RequestOrigin,
    /// The request id, 1–128 bytes of `[A-Za-z0-9._-]`.
    pub id: Vec<u8>,
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
    /// Whether it is a valid WebSocket handshake on a route that allows it.
    pub upgrades: bool,
    /// Bytes that its body may have.
    pub max_body: u64,
    /// Changes to it on its way to the instance.
    pub edits: Edits,
}

/// Where a request comes from: a client's connection, and what a proxy in front says of it.
#[derive(Clone, Debug)]
pub struct RequestOrigin {
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
}

impl Default for RequestOrigin {
    fn default() -> Self {
        let client = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let peer = SocketAddr::new(client, 0);
        Self { peer, peer_trusted: false, client, secure: false, on_stream: false, certificate: None }
    }
}

impl Request {
    /// Forgets everything but the bytes in `buffer` that no request has claimed yet, and keeps the memory.
    pub(super) fn reset(&mut self) {
        let Self { buffer: _, head, options, framing, target, host, host_len, origin: _, id, params, .. } = self;
        head.clear();
        options.clear();
        *framing = Framing::None;
        // A request that is refused before its target is read must not show another one's.
        target.clear();
        host.clear();
        *host_len = 0;
        id.clear();
        params.clear();
        let Self { forward_path, stripped, forward_query, user, upgrades, max_body: _, edits, .. } = self;
        forward_path.clear();
        stripped.clear();
        *forward_query = None;
        *user = None;
        *upgrades = false;
        edits.clear();
    }

    /// The host that it is for, in lower case, without port.
    pub fn host_name(&self) -> &[u8] {
        &self.host[..self.host_len]
    }

    /// Its query, without `?`.
    pub fn query(&self) -> Option<&[u8]> {
        let raw = self.head.target.of(&self.buffer);
        self.target.query.map(|span| span.of(raw))
    }

    /// The query that goes to the instance, without `?`.
    pub fn sent_query(&self) -> Option<&[u8]> {
        match &self.forward_query {
            Some(query) => Some(&query[..]).filter(|query| !query.is_empty()),
            None => self.query(),
        }
    }

    /// All values of a field as the client sent it.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.fields.values(&self.buffer, name)
    }

    /// The fields as they go on, without those in `drop`.
    pub fn fields(&self, drop: NameSet) -> FieldSource<'_> {
        let Self { head, buffer, options, edits, .. } = self;
        FieldSource { fields: &head.fields, buf: buffer, options, drop, edits }
    }
}
