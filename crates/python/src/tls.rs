//! A local certificate for development.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// Returns a new authority's certificate, a certificate for `localhost` that it signed, and the key of the latter, in
/// PEM.
#[pyfunction]
pub(crate) fn local_certificate() -> PyResult<(String, String, String)> {
    let certificate = pylae_proxy::local_certificate().ok_or_else(|| PyOSError::new_err("there is no randomness"))?;
    Ok((certificate.authority, certificate.cert, certificate.key))
}
