//! A response object: the response on its way, or one that a hook has made.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use pylae_core::Answer;
use pylae_http::Edits;
use pyo3::prelude::*;

use super::handle::PyRequest;

/// A response. `PyResponse(status, headers, body)` makes one; those that hooks are given are valid while the hook runs.
#[pyclass(name = "Response", frozen, module = "pylae.hooks")]
pub(crate) struct PyResponse(pub(super) ResponseKind);

pub(super) enum ResponseKind {
    /// The response of this request.
    OnItsWay(Py<PyRequest>),
    /// Made by a hook.
    Made(Mutex<Made>),
}

pub(super) struct Made {
    pub(super) status: u16,
    pub(super) edits: Edits,
    pub(super) body: Arc<[u8]>,
}

impl PyResponse {
    /// The response of a request.
    pub(crate) fn of(request: Py<PyRequest>) -> Self {
        Self(ResponseKind::OnItsWay(request))
    }

    /// The answer that it stands for; none if it is the one on its way already.
    pub(crate) fn answer(&self) -> Option<Answer> {
        let ResponseKind::Made(made) = &self.0 else { return None };
        let made = made.lock();
        let owned =
            |(name, value): (&[u8], &[u8])| (Cow::Owned(String::from_utf8_lossy(name).into_owned()), value.to_vec());
        Some(Answer { status: made.status, headers: made.edits.added().map(owned).collect(), body: made.body.clone() })
    }

    /// Looks at the fields of a response that a hook has made. `read` must not run Python code.
    pub(crate) fn with_edits<T>(&self, read: impl FnOnce(&mut Edits) -> T) -> T {
        match &self.0 {
            ResponseKind::Made(made) => read(&mut made.lock().edits),
            ResponseKind::OnItsWay(_) => read(&mut Edits::default()),
        }
    }
}
