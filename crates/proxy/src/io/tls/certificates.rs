//! The certificates of a listener, and their selection by server name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::connection::certificate::Certificate;
use pylae_core::{Problem, plan};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

/// The certificates of a listener.
pub(super) struct Certificates {
    /// In the order of the plan. A client without a known server name receives the first that it supports.
    all: Vec<Arc<CertifiedKey>>,
    /// Positions in `all` by lower-case name.
    exact: HashMap<String, Vec<usize>>,
    /// Positions in `all` of `*.example.org`, by name without `*.`.
    wildcard: HashMap<String, Vec<usize>>,
    /// Warnings, such as expired certificates.
    pub(super) warnings: Vec<Problem>,
}

impl Certificates {
    /// Reads certificates with their keys. Reports all problems. `wall` is the time since the Unix epoch.
    pub(super) fn build(
        plans: &[plan::CertifiedKey],
        provider: &CryptoProvider,
        wall: Duration,
    ) -> Result<Self, Vec<Problem>> {
        let mut built = Self { all: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new(), warnings: Vec::new() };
        let mut problems = Vec::new();
        if plans.is_empty() {
            problems.push(Problem::at("", "at least one certificate is needed"));
        }
        for (index, plan) in plans.iter().enumerate() {
            match read(plan, provider) {
                Ok((certificate, key)) => built.add(index, &certificate, key, wall),
                Err(problem) => problems.push(problem.under(&format!("[{index}]"))),
            }
        }
        if problems.is_empty() { Ok(built) } else { Err(problems) }
    }

    fn add(&mut self, index: usize, certificate: &Certificate, key: CertifiedKey, wall: Duration) {
        if certificate.not_after < wall {
            self.warnings.push(Problem::at(format!("[{index}].cert"), "the certificate has expired"));
        }
        let position = self.all.len();
        self.all.push(Arc::new(key));
        // Fall back to the common name if there are no alternative names, although current clients ignore it.
        let common = certificate.dns.is_empty().then_some(&certificate.common_name);
        for name in certificate.dns.iter().chain(common) {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(parent) => self.wildcard.entry(parent.to_owned()).or_default().push(position),
                None => self.exact.entry(name).or_default().push(position),
            }
        }
    }

    /// Positions of the certificates for a name: exact matches, or else wildcards for its first label.
    fn named(&self, name: &str) -> Option<&[usize]> {
        let name = name.to_ascii_lowercase();
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(wildcard).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().and_then(|name| self.named(name));
        let found = match named {
            Some(positions) => positions.iter().map(|position| &self.all[*position]).find(fits),
            None => self.all.iter().find(fits),
        };
        // If none fits, return any: rustls then reports what is not in common, instead of `access_denied`.
        found.or(self.all.first()).cloned()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Certificates").field("names", &self.exact.keys()).finish_non_exhaustive()
    }
}

/// Reads certificates from PEM, at least one.
pub(super) fn read_certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("holds no certificate; PEM begins with -----BEGIN CERTIFICATE-----".to_owned()),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

/// Combines a chain with its key, which must match.
pub(super) fn read_key(
    chain: Vec<CertificateDer<'static>>,
    key: &str,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let key = match PrivateKeyDer::from_pem_slice(key.as_bytes()) {
        Ok(key) => key,
        Err(pem::Error::NoItemsFound) if key.contains("ENCRYPTED PRIVATE KEY") => {
            return Err("is encrypted; only keys without a passphrase can be used".to_owned());
        }
        Err(pem::Error::NoItemsFound) => {
            return Err("holds no private key; PEM begins with -----BEGIN PRIVATE KEY-----".to_owned());
        }
        Err(error) => return Err(format!("is not PEM: {error}")),
    };
    let key = provider.key_provider.load_private_key(key).map_err(|_| "is not a key that can be used".to_owned())?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err("is not the key of the certificate".to_owned())
        }
        // Some keys cannot be compared: accept those.
        _ => Ok(certified),
    }
}

fn read(plan: &plan::CertifiedKey, provider: &CryptoProvider) -> Result<(Certificate, CertifiedKey), Problem> {
    let chain = read_certificates(&plan.cert).map_err(|what| Problem::at("cert", what))?;
    let certificate = Certificate::parse(&chain[0])
        .ok_or_else(|| Problem::at("cert", "the first certificate is not one that can be read"))?;
    let key = read_key(chain, &plan.key, provider).map_err(|what| Problem::at("key", what))?;
    Ok((certificate, key))
}

#[cfg(test)]
mod tests;
