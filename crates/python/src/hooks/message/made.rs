//! The Python response: the exchange's own, or one that a hook has created.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use pylae_core::Answer;
use pylae_http::Edits;
use pyo3::prelude::*;

use super::handle::PyRequest;

/// A response. `Response(content, status_code)` creates one. A response that a hook receives is valid only while it
/// runs.
#[pyclass(name = "Response", frozen, module = "pylae.hooks")]
pub(crate) struct PyResponse(pub(super) ResponseKind);

pub(super) enum ResponseKind {
    /// The response to this request, on its way to the client.
    OnItsWay(Py<PyRequest>),
    /// A response that a hook has created.
    Made(Mutex<Made>),
}

pub(super) struct Made {
    pub(super) status: u16,
    pub(super) edits: Edits,
    pub(super) body: Arc<[u8]>,
}

impl PyResponse {
    /// Returns the response to a request.
    pub(crate) fn of(request: Py<PyRequest>) -> Self {
        Self(ResponseKind::OnItsWay(request))
    }

    /// Returns a created response as an answer, or None for the response that is already on its way.
    pub(crate) fn answer(&self) -> Option<Answer> {
        let ResponseKind::Made(made) = &self.0 else { return None };
        let made = made.lock();
        let owned =
            |(name, value): (&[u8], &[u8])| (Cow::Owned(String::from_utf8_lossy(name).into_owned()), value.to_vec());
        Some(Answer { status: made.status, headers: made.edits.added().map(owned).collect(), body: made.body.clone() })
    }

    /// Reads or edits the fields of a created response. `read` must not run Python code.
    pub(crate) fn with_edits<T>(&self, read: impl FnOnce(&mut Edits) -> T) -> T {
        match &self.0 {
            ResponseKind::Made(made) => read(&mut made.lock().edits),
            ResponseKind::OnItsWay(_) => read(&mut Edits::default()),
        }
    }
}
