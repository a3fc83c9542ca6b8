//! TLS settings towards the instances of a service: trust, and the gateway's client certificate.

use std::io;
use std::sync::Arc;

use pylae_core::Problem;
use pylae_core::plan::{Protocol, ServiceTls};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::net::TcpStream;

use super::certificates::{read_certificates, read_key};
use super::listener::{PROVIDER, versions};
use super::stream::Tls;
use super::trust::Trust;

/// The TLS settings towards the instances of a service.
pub(crate) struct Connector {
    plan: ServiceTls,
    protocol: Option<Protocol>,
    config: Arc<ClientConfig>,
    /// The server name to verify for all instances, if configured.
    name: Option<ServerName<'static>>,
}

impl Connector {
    /// Builds the settings of `plan`. Without a `protocol`, none is negotiated. Returns `previous` with its resumable
    /// sessions if nothing changed. Reports all problems.
    pub(crate) fn build(
        plan: &ServiceTls,
        protocol: Option<Protocol>,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, Vec<Problem>> {
        let same = |previous: &&Arc<Self>| previous.plan == *plan && previous.protocol == protocol;
        if let Some(same) = previous.filter(same) {
            return Ok(Arc::clone(same));
        }
        let mut problems = Vec::new();
        let name = plan.server_name.as_ref().map(|name| ServerName::try_from(name.clone())).transpose();
        let name = name.map_err(|_| problems.push(Problem::at("server_name", "must be a host name or an address")));
        let trust = trust(plan).map_err(|what| problems.push(Problem::at("ca", what)));
        let certificate = client_certificate(plan).map_err(|problem| problems.push(problem.under("certificate")));
        let (Ok(name), Ok(trust), Ok(certificate)) = (name, trust, certificate) else { return Err(problems) };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(versions(plan.min_version))
            .map_err(|error| vec![Problem::at("min_version", error.to_string())])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trust));
        let mut config = match certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match protocol {
            Some(Protocol::Http1) => vec![b"http/1.1".to_vec()],
            Some(Protocol::Http2) => vec![b"h2".to_vec()],
            None => Vec::new(),
        };
        Ok(Arc::new(Self { plan: plan.clone(), protocol, config: Arc::new(config), name }))
    }

    /// Creates the TLS stream of a connection to `host`, before its handshake.
    pub(crate) fn connect(&self, stream: TcpStream, host: &str) -> io::Result<Tls> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
        };
        Tls::connect(stream, &self.config, name)
    }
}

fn trust(plan: &ServiceTls) -> Result<Trust, String> {
    match &plan.ca {
        _ if !plan.verify => Ok(Trust::insecure()),
        Some(ca) => Trust::listed(read_certificates(ca)?),
        None => Trust::system(),
    }
}

fn client_certificate(plan: &ServiceTls) -> Result<Option<CertifiedKey>, Problem> {
    let Some(pair) = &plan.certificate else { return Ok(None) };
    let chain = read_certificates(&pair.cert).map_err(|what| Problem::at("cert", what))?;
    read_key(chain, &pair.key, &PROVIDER).map(Some).map_err(|what| Problem::at("key", what))
}
