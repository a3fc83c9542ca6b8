//! A certificate for this machine, for development.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// The authority's certificate, one for `localhost` that it certificate, and the key of that, in PEM.
#[pyfunction]
pub(crate) fn local_certificate() -> PyResult<(String, String, String)> {
    let certificate = pylae_proxy::local_certificate().ok_or_else(|| PyOSError::new_err("there is no randomness"))?;
    Ok((certificate.authority, certificate.cert, certificate.key))
}
