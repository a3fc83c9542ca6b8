//! Sealing of texts that others keep for the gateway.

use pylae_core::request::session::sealer::{PurposeSealer, SealError, Sealer};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

/// Seals cookies and records: nobody else can read, change or make one.
#[pyclass(name = "Sealer", frozen)]
pub(super) struct PySealer(Sealer);

#[pymethods]
impl PySealer {
    /// The first secret seals, and all open. Raises `ValueError` for none, for too many, and for a short one.
    #[new]
    fn make(secrets: Vec<Vec<u8>>) -> PyResult<Self> {
        Sealer::new(&secrets).map(Self).map_err(raised)
    }

    /// Seals bytes for a purpose. Raises `ValueError` if they are too many.
    fn seal(&self, purpose: &str, plain: &[u8]) -> PyResult<String> {
        self.keys(purpose)?.seal(plain).map_err(raised)
    }

    /// Returns what was sealed for the same purpose, or None if that is no sealed text of these secrets.
    fn open(&self, purpose: &str, text: &str) -> PyResult<Option<Vec<u8>>> {
        Ok(self.keys(purpose)?.open(text.as_bytes()).ok())
    }
}

impl PySealer {
    fn keys(&self, purpose: &str) -> PyResult<PurposeSealer> {
        self.0.for_purpose(purpose).map_err(raised)
    }
}

fn raised(error: SealError) -> PyErr {
    match error {
        SealError::Random => PyOSError::new_err(error.to_string()),
        SealError::Secrets | SealError::Short | SealError::TooLong => PyValueError::new_err(error.to_string()),
    }
}
