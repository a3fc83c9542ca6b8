//! Encryption: listeners and services that speak TLS, and the stream that a connection becomes.

mod certificates;
mod listener;
mod local;
mod records;
mod service;
mod stream;
mod trust;

pub(crate) use listener::Acceptor;
pub use local::{LocalCertificate, local_certificate};
pub(crate) use service::Connector;
pub(crate) use stream::Tls;

/// What a client and a listener agreed to speak (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlpnProtocol {
    /// HTTP/1.1; also where nothing was said.
    Http1,
    /// HTTP/2.
    Http2,
}

impl AlpnProtocol {
    fn of(alpn: Option<&[u8]>) -> Self {
        if alpn == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }
}
