//! Listeners, the admin address, and their TLS settings.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::seconds::Seconds;

/// An address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerPlan {
    /// `host:port`; the host is an IP address. Port 0 picks a free one.
    pub address: std::net::SocketAddr,
    /// True to support HTTP/2: for clients that negotiate it in the TLS handshake, or without TLS for those that begin
    /// with it.
    pub http2: bool,
    /// TLS settings; null disables TLS.
    pub tls: Option<ListenerTls>,
    /// Proxies in front, each connection of which begins with a PROXY protocol header; no other peer may connect. Null
    /// disables the PROXY protocol.
    pub proxy_protocol: Option<Vec<IpNet>>,
}

/// The address of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminPlan {
    /// `host:port`, or `unix:` with a path.
    pub address: String,
    /// TLS settings; null disables TLS.
    pub tls: Option<ListenerTls>,
}

/// TLS towards clients. Certificates and keys are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates, selected by the server name that a client asks for; the first one is the default.
    pub certificates: Vec<CertifiedKey>,
    /// Oldest supported version.
    pub min_version: TlsVersion,
    /// Whether to ask clients for certificates.
    pub client_auth: Option<ClientAuth>,
    /// True if clients may resume sessions. Tickets are valid for this listener alone.
    pub session_tickets: bool,
    /// Timeout of the whole handshake.
    pub handshake_timeout: Seconds,
}

/// A certificate chain and the key of its first certificate.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedKey {
    /// The certificate, followed by the intermediate ones.
    pub cert: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for CertifiedKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CertifiedKey").field("cert", &self.cert).finish_non_exhaustive()
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V13,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// Certificates of the trusted authorities.
    pub ca: String,
    /// Whether a client without a certificate is accepted.
    pub mode: ClientAuthMode,
}

/// Whether a client without a certificate is accepted. One with an invalid certificate never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// It is not accepted.
    Required,
    /// It is accepted.
    Optional,
}
