//! The attributes of the Python response.

use std::sync::Arc;

use parking_lot::Mutex;
use pylae_http::{Edits, Name, Span};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::headers::{self, Of, PyHeaders};
use super::made::{Made, PyResponse, ResponseKind};
use crate::errors::hook_error;

/// Returns true for statuses whose responses have no body.
fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

fn status_of(status: u16) -> PyResult<u16> {
    if (200..600).contains(&status) {
        Ok(status)
    } else {
        Err(PyValueError::new_err("the status of a response is 200 to 599"))
    }
}

/// Converts a body from Python. Also returns true if it is text.
fn body_of(body: &Bound<'_, PyAny>) -> PyResult<(Arc<[u8]>, bool)> {
    if let Ok(text) = body.cast::<PyString>() {
        return Ok((text.to_cow()?.as_bytes().into(), true));
    }
    if let Ok(bytes) = body.cast::<PyBytes>() {
        return Ok((bytes.as_bytes().into(), false));
    }
    let copied: Vec<u8> = body.extract().map_err(|_| PyTypeError::new_err("a body is bytes or text"))?;
    Ok((copied.into(), false))
}

impl PyResponse {
    fn make(
        status: u16,
        given: Option<&Bound<'_, PyAny>>,
        body: Arc<[u8]>,
        media_type: Option<&'static [u8]>,
    ) -> PyResult<Self> {
        let mut edits = Edits::default();
        if let Some(given) = given {
            headers::append_all(&mut edits, given)?;
        }
        if let Some(media_type) = media_type
            && !headers::has(&edits, Name::ContentType)
        {
            // Cannot fail: the value is a literal.
            let _ = edits.set_known(Name::ContentType, media_type);
        }
        Ok(Self(ResponseKind::Made(Mutex::new(Made { status: status_of(status)?, edits, body }))))
    }
}

#[pymethods]
impl PyResponse {
    /// Creates a response. Text is sent as UTF-8. Raises `ValueError` for an invalid status or header.
    #[new]
    #[pyo3(signature = (status = 200, headers = None, body = None))]
    fn new(status: u16, headers: Option<&Bound<'_, PyAny>>, body: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let (body, is_text) = body.map_or_else(|| Ok(([].into(), false)), body_of)?;
        Self::make(status, headers, body, is_text.then_some(b"text/plain; charset=utf-8"))
    }

    /// Creates a response with `value` as its JSON body.
    #[staticmethod]
    #[pyo3(signature = (value, status = 200, headers = None))]
    fn json(value: &Bound<'_, PyAny>, status: u16, headers: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let dumped = value.py().import("json")?.call_method1("dumps", (value,))?;
        let (body, _) = body_of(&dumped)?;
        Self::make(status, headers, body, Some(b"application/json"))
    }

    /// The status.
    #[getter]
    fn status(&self, py: Python<'_>) -> PyResult<u16> {
        match &self.0 {
            ResponseKind::OnItsWay(request) => request.get().with(py, |exchange| exchange.response.status),
            ResponseKind::Made(made) => Ok(made.lock().status),
        }
    }

    /// Sets the status, 200 to 599. Raises `ValueError` for another number, and for a change between statuses with and
    /// without a body.
    #[setter]
    fn set_status(&self, py: Python<'_>, status: u16) -> PyResult<()> {
        let status = status_of(status)?;
        let set = match &self.0 {
            ResponseKind::OnItsWay(request) => request.get().change(py, |exchange| {
                let fits = is_bodiless(exchange.response.status) == is_bodiless(status);
                if fits && exchange.response.status != status {
                    exchange.response.status = status;
                    exchange.response.head.reason = Span::default();
                }
                fits
            })?,
            ResponseKind::Made(made) => {
                made.lock().status = status;
                true
            }
        };
        if set {
            Ok(())
        } else {
            Err(PyValueError::new_err("204 and 304 have no body: return another Response instead"))
        }
    }

    /// The header fields.
    #[getter]
    fn headers(this: &Bound<'_, Self>) -> PyHeaders {
        PyHeaders(match &this.get().0 {
            ResponseKind::OnItsWay(request) => Of::Response(request.clone_ref(this.py())),
            ResponseKind::Made(_) => Of::Made(this.clone().unbind()),
        })
    }

    /// The body. Raises `HookError` if it is not in memory, which needs `body=True` on the hook.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let body = match &self.0 {
            ResponseKind::OnItsWay(request) => {
                request.get().with(py, |exchange| exchange.hooks().and_then(|hooks| hooks.response_body.clone()))?
            }
            ResponseKind::Made(made) => Some(made.lock().body.clone()),
        };
        let body =
            body.ok_or_else(|| hook_error(py, "the body is not in memory: the hook has not asked for it (body=True)"))?;
        Ok(PyBytes::new(py, &body))
    }

    /// Replaces the body.
    #[setter]
    fn set_body(&self, py: Python<'_>, body: &Bound<'_, PyAny>) -> PyResult<()> {
        let (body, _) = body_of(body)?;
        match &self.0 {
            ResponseKind::OnItsWay(request) => request.get().change(py, |exchange| {
                let visit = exchange.hook_visit();
                visit.response_body = Some(body);
                visit.body_set = true;
            }),
            ResponseKind::Made(made) => {
                made.lock().body = body;
                Ok(())
            }
        }
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        self.status(py).map_or_else(|_| "<Response (over)>".to_owned(), |status| format!("<Response {status}>"))
    }
}
