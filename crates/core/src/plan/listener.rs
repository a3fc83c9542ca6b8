//! Where the gateway listens, and how it speaks TLS there.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::seconds::Seconds;

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerPlan {
    /// `host:port`; the host is an IP address. Port 0 takes a free one.
    pub address: std::net::SocketAddr,
    /// Whether HTTP/2 is spoken: to clients that choose it in the handshake of TLS, or without TLS to those that begin with it.
    pub http2: bool,
    /// How it speaks TLS; without, it does not.
    pub tls: Option<ListenerTls>,
    /// Proxies in front, each connection of which begins with a header of the PROXY protocol; nobody else may connect. None:
    /// there is no such header.
    pub proxy_protocol: Option<Vec<IpNet>>,
}

/// TLS towards clients. Certificates and keys are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Chosen by the name that a client asks for; the first one is shown to clients that ask for no known name.
    pub certificates: Vec<CertifiedKey>,
    /// Oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether clients are asked for certificates.
    pub client_auth: Option<ClientAuth>,
    /// Whether clients may resume sessions. Tickets are good for this listener alone.
    pub session_tickets: bool,
    /// Total time for a handshake.
    pub handshake_timeout: Seconds,
}

/// A certificate chain and the key of its first certificate.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedKey {
    /// The certificate and those between it and its authority.
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
    /// Certificates of the authorities that are believed.
    pub ca: String,
    /// Whether a client without a certificate is let in.
    pub mode: ClientAuthMode,
}

/// Whether a client without a certificate is let in. One with a bad certificate never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// No.
    Required,
    /// Yes.
    Optional,
}
