//! Calls of HTTP services outside the workers: key sets, token endpoints.

mod addresses;

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use self::addresses::KnownAddresses;

/// Time limit for a call, from the DNS lookup to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of each of the two buffers of a connection. Larger ones are mapped anew for each call.
const BUFFER: usize = 64 * 1024;

/// Creates a client that follows no redirects and trusts these authorities.
pub(super) fn agent(roots: RootCerts) -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(roots)
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent("pylae")
        .tls_config(tls)
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .build();
    Agent::with_parts(config, DefaultConnector::default(), KnownAddresses::default())
}

/// The authorities that the system trusts. Images without system certificates use the roots that browsers ship.
pub(super) fn system_roots() -> RootCerts {
    let system: Vec<Certificate<'static>> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|found| Certificate::from_der(found.as_ref()).to_owned())
        .collect();
    if system.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&system) }
}

/// The authorities of a text in PEM; None if it has none.
pub(super) fn roots_of(pem: &str) -> Option<RootCerts> {
    let certificates: Vec<Certificate<'static>> = parse_pem(pem.as_bytes())
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    (!certificates.is_empty()).then(|| RootCerts::new_with_certs(&certificates))
}

/// Reads a body of at most `most` bytes.
pub(super) fn read_body(mut answer: Response<Body>, most: usize) -> Result<Vec<u8>, String> {
    answer.body_mut().with_config().limit(most as u64).read_to_vec().map_err(|error| describe(error, most))
}

/// Describes the error without the URL, which may hold a secret.
pub(super) fn describe(error: ureq::Error, most: usize) -> String {
    match error {
        ureq::Error::BodyExceedsLimit(_) => format!("the answer is larger than {most} bytes"),
        ureq::Error::Timeout(_) => format!("no answer within {} seconds", TIMEOUT.as_secs()),
        ureq::Error::BadUri(_) => "this is not an address".to_owned(),
        error => error.to_string(),
    }
}
