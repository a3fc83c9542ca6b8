//! A certificate for this machine, for development.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// The authority's certificate, one for `localhost` that it made, and the key of that, in PEM.
#[pyfunction]
pub(crate) fn local_certificate() -> PyResult<(String, String, String)> {
    let made = pylae_proxy::local_certificate().ok_or_else(|| PyOSError::new_err("there is no randomness"))?;
    Ok((made.authority, made.cert, made.key))
}
