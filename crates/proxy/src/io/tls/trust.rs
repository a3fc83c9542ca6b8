//! Verification of instances' certificates.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pylae_core::connection::certificate::Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::listener::PROVIDER;

/// The system's authorities, or those of browsers in an image that has none.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Arc::new(roots)
});

/// Trusts certificates signed by an authority, and certificates that are listed themselves, such as self-signed ones.
#[derive(Debug)]
pub(super) struct Trust {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    listed: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Trusts the system's authorities.
    pub(super) fn system() -> Result<Self, String> {
        Ok(Self { authorities: Some(verifier(Arc::clone(&SYSTEM))?), listed: Vec::new() })
    }

    /// Trusts these authorities and certificates.
    pub(super) fn listed(listed: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let (known, _) = roots.add_parsable_certificates(listed.iter().cloned());
        if known == 0 {
            return Err("holds no certificate that can be an authority's".to_owned());
        }
        Ok(Self { authorities: Some(verifier(Arc::new(roots))?), listed })
    }

    /// Accepts every certificate.
    pub(super) fn insecure() -> Self {
        Self { authorities: None, listed: Vec::new() }
    }

    /// Returns true if the certificate itself is listed, valid for this name and not expired.
    fn is_pinned(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        self.listed.contains(certificate)
            && ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
            && Certificate::parse(certificate)
                .is_some_and(|certificate| certificate.not_after > Duration::from_secs(now.as_secs()))
    }
}

fn verifier(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER)).build().map_err(|error| error.to_string())
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(_) if self.is_pinned(end_entity, server_name, now) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
