//! TLS: settings of listeners and services, and the encrypted stream.

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

/// The negotiated protocol (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlpnProtocol {
    /// HTTP/1.1, also if ALPN was not used.
    Http1,
    /// HTTP/2.
    Http2,
}

impl AlpnProtocol {
    fn of(alpn: Option<&[u8]>) -> Self {
        if alpn == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }
}
