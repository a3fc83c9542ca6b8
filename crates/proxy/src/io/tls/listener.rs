//! TLS settings of a listener: certificates, client authentication and session resumption.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pylae_core::Problem;
use pylae_core::plan::{ClientAuth, ClientAuthMode, ListenerTls, TlsVersion};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::certificates::{Certificates, read_certificates};
use crate::io::clock;

/// The cryptographic provider.
pub(super) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Versions from `min` on.
pub(super) fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const SINCE_12: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    match min {
        TlsVersion::V12 => SINCE_12,
        TlsVersion::V13 => &SINCE_12[..1],
    }
}

/// The TLS settings of a listener.
pub(crate) struct Acceptor {
    plan: ListenerTls,
    http2: bool,
    pub(crate) config: Arc<ServerConfig>,
    /// Time limit for the whole handshake.
    pub(crate) handshake_timeout: Duration,
    tickets: Option<Arc<dyn ProducesTickets>>,
    pub(crate) warnings: Vec<Problem>,
}

impl Acceptor {
    /// Builds the settings of `plan`. Tickets issued by `previous` stay valid, unless client authentication changed.
    /// Reports all problems.
    pub(crate) fn build(
        plan: &ListenerTls,
        http2: bool,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, Vec<Problem>> {
        if let Some(same) = previous.filter(|previous| previous.plan == *plan && previous.http2 == http2) {
            return Ok(Arc::clone(same));
        }
        let mut problems = Vec::new();
        let certificates = Certificates::build(&plan.certificates, &PROVIDER, clock::wall())
            .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under("certificates"))))
            .ok();
        let verifier = plan.client_auth.as_ref().map_or_else(
            || Ok(WebPkiClientVerifier::no_client_auth()),
            |auth| verifier(auth).map_err(|what| problems.push(Problem::at("client_auth.ca", what))),
        );
        let kept = previous
            .filter(|previous| previous.plan.client_auth == plan.client_auth)
            .and_then(|previous| previous.tickets.clone());
        let tickets = match kept.filter(|_| plan.session_tickets) {
            Some(tickets) => Some(tickets),
            None if plan.session_tickets => aws_lc_rs::Ticketer::new()
                .map_err(|error| problems.push(Problem::at("session_tickets", error.to_string())))
                .ok(),
            None => None,
        };
        let (Some(mut certificates), Ok(verifier), true) = (certificates, verifier, problems.is_empty()) else {
            return Err(problems);
        };
        let warnings = std::mem::take(&mut certificates.warnings);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(versions(plan.min_version))
            .map_err(|error| vec![Problem::at("min_version", error.to_string())])?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols =
            if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        // Tickets hold the whole session state, so nothing is stored on the server.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match &tickets {
            Some(tickets) => config.ticketer = Arc::clone(tickets),
            None => config.send_tls13_tickets = 0,
        }
        let warnings = warnings.into_iter().map(|problem| problem.under("certificates")).collect();
        let handshake_timeout = plan.handshake_timeout.0;
        Ok(Arc::new(Self { plan: plan.clone(), http2, config: Arc::new(config), handshake_timeout, tickets, warnings }))
    }
}

/// Builds the verifier of client certificates.
fn verifier(plan: &ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(&plan.ca)? {
        roots.add(certificate).map_err(|_| "holds a certificate that cannot be an authority's".to_owned())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER));
    let builder = match plan.mode {
        ClientAuthMode::Required => builder,
        ClientAuthMode::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| error.to_string())
}
