//! The Python certificate of a client.

use std::sync::Arc;

use pylae_core::connection::certificate::Certificate;
use pyo3::prelude::*;

/// What a client's certificate says about its owner (RFC 5280). The listener has verified it.
#[pyclass(name = "Certificate", frozen, module = "pylae.hooks")]
pub(crate) struct PyCertificate(pub(super) Arc<Certificate>);

#[pymethods]
impl PyCertificate {
    /// The common name of the subject, possibly empty.
    #[getter]
    fn common_name(&self) -> &str {
        &self.0.common_name
    }

    /// Host names among the alternative names.
    #[getter]
    fn dns(&self) -> Vec<&str> {
        self.0.dns.iter().map(String::as_str).collect()
    }

    /// Mail addresses among the alternative names.
    #[getter]
    fn emails(&self) -> Vec<&str> {
        self.0.emails.iter().map(String::as_str).collect()
    }

    /// URIs among the alternative names.
    #[getter]
    fn uris(&self) -> Vec<&str> {
        self.0.uris.iter().map(String::as_str).collect()
    }

    /// IP addresses among the alternative names, as text.
    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.0.addresses.iter().map(ToString::to_string).collect()
    }

    /// End of its validity, in seconds since the Unix epoch.
    #[getter]
    fn not_after(&self) -> f64 {
        self.0.not_after.as_secs_f64()
    }

    fn __repr__(&self) -> String {
        format!("<Certificate {:?}>", self.0.common_name)
    }
}
