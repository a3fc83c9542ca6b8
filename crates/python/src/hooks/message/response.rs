//! The attributes of the Python response.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use pylae_core::hook::BodyForm;
use pylae_http::{Edits, Name, Span};
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString};

use super::headers::{self, Of, PyHeaders};
use super::made::{Made, PyResponse, ResponseKind};
use super::{mapping, response_mapping};
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
    let copied: Vec<u8> = body.extract().map_err(|_| not_a_body(body))?;
    Ok((copied.into(), false))
}

/// Returns the error for what cannot be a body, with what was probably meant.
fn not_a_body(given: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(if given.is_instance_of::<PyInt>() {
        "a body is bytes or text; a status is given as `Response(status_code=…)`"
    } else if given.is_instance_of::<PyDict>() || given.is_instance_of::<PyList>() {
        "a body is bytes or text; `Response.json(…)` sends a value as JSON"
    } else {
        "a body is bytes or text"
    })
}

/// Returns the one of two names for an argument that was given, if any. Raises `TypeError` if both were.
fn either<T>(one: Option<T>, other: Option<T>, names: &str) -> PyResult<Option<T>> {
    if one.is_some() && other.is_some() {
        return Err(PyTypeError::new_err(format!("{names} are the same: give one of them")));
    }
    Ok(one.or(other))
}

impl PyResponse {
    fn make(
        status: u16,
        given: Option<&Bound<'_, PyAny>>,
        body: Arc<[u8]>,
        media_type: Option<&[u8]>,
    ) -> PyResult<Self> {
        let mut edits = Edits::default();
        if let Some(given) = given {
            headers::append_all(&mut edits, given)?;
        }
        if let Some(media_type) = media_type
            && !headers::has(&edits, Name::ContentType)
        {
            edits.set_known(Name::ContentType, media_type).map_err(|error| PyValueError::new_err(error.0))?;
        }
        Ok(Self(ResponseKind::Made(Mutex::new(Made { status: status_of(status)?, edits, body }))))
    }

    /// Returns true if the body has a content coding.
    pub(super) fn is_coded(&self, py: Python<'_>) -> PyResult<bool> {
        match &self.0 {
            ResponseKind::OnItsWay(request) => request
                .get()
                .with(py, |exchange| exchange.hooks().is_some_and(|hooks| hooks.body_form == BodyForm::Coded)),
            ResponseKind::Made(made) => {
                let coding =
                    made.lock().edits.get(b"content-encoding").map(|coding| !coding.eq_ignore_ascii_case(b"identity"));
                Ok(coding.unwrap_or(false))
            }
        }
    }

    /// Notes that the body has no content coding any more.
    pub(super) fn forget_coding(&self, py: Python<'_>) -> PyResult<()> {
        match &self.0 {
            ResponseKind::OnItsWay(request) => {
                request.get().change(py, |exchange| exchange.hook_visit().body_form = BodyForm::Plain)
            }
            ResponseKind::Made(_) => Ok(()),
        }
    }

    /// Returns the body, or None if it is not in memory.
    pub(super) fn body_in_memory(&self, py: Python<'_>) -> PyResult<Option<Arc<[u8]>>> {
        match &self.0 {
            ResponseKind::OnItsWay(request) => {
                request.get().with(py, |exchange| exchange.hooks().and_then(|hooks| hooks.response_body.clone()))
            }
            ResponseKind::Made(made) => Ok(Some(made.lock().body.clone())),
        }
    }
}

#[pymethods]
impl PyResponse {
    /// Creates a response: `Response("text", status_code=404)`. Text is sent as UTF-8, as `text/plain` unless
    /// `media_type` or `headers` say otherwise. `body` and `status` are other names of `content` and `status_code`.
    /// Raises `ValueError` for an invalid status or header.
    #[new]
    #[pyo3(signature = (
        content = None, status_code = None, headers = None, media_type = None, *, status = None, body = None
    ))]
    fn new(
        content: Option<&Bound<'_, PyAny>>,
        status_code: Option<u16>,
        headers: Option<&Bound<'_, PyAny>>,
        media_type: Option<&str>,
        status: Option<u16>,
        body: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let body = either(content, body, "`content` and `body`")?;
        let status = either(status_code, status, "`status_code` and `status`")?;
        let (body, is_text) = body.map_or_else(|| Ok(([].into(), false)), body_of)?;
        let media_type = match media_type {
            Some(said) if is_text && said.starts_with("text/") && !said.contains("charset=") => {
                Some(Cow::Owned(format!("{said}; charset=utf-8")))
            }
            Some(said) => Some(Cow::Borrowed(said)),
            None => is_text.then_some(Cow::Borrowed("text/plain; charset=utf-8")),
        };
        Self::make(status.unwrap_or(200), headers, body, media_type.as_deref().map(str::as_bytes))
    }

    /// Creates a response with `value` as its JSON body.
    #[staticmethod]
    #[pyo3(signature = (value, status_code = None, headers = None, *, status = None))]
    fn json(
        value: &Bound<'_, PyAny>,
        status_code: Option<u16>,
        headers: Option<&Bound<'_, PyAny>>,
        status: Option<u16>,
    ) -> PyResult<Self> {
        let status = either(status_code, status, "`status_code` and `status`")?;
        let dumped = value.py().import("json")?.call_method1("dumps", (value,))?;
        let (body, _) = body_of(&dumped)?;
        Self::make(status.unwrap_or(200), headers, body, Some(b"application/json"))
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

    /// The status, by its other name.
    #[getter]
    fn status_code(&self, py: Python<'_>) -> PyResult<u16> {
        self.status(py)
    }

    /// Sets the status as `status` does.
    #[setter]
    fn set_status_code(&self, py: Python<'_>, status: u16) -> PyResult<()> {
        self.set_status(py, status)
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
        let body = self.body_in_memory(py)?;
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

    /// What is at a key of the response as a mapping. Raises `KeyError` if there is nothing.
    fn __getitem__<'py>(this: &Bound<'py, Self>, key: &str) -> PyResult<Bound<'py, PyAny>> {
        response_mapping::get(this, key)?.ok_or_else(|| PyKeyError::new_err(key.to_owned()))
    }

    /// Sets what is at a key. Raises `KeyError` for any key but `status`, `headers` and `body`.
    fn __setitem__(this: &Bound<'_, Self>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        response_mapping::set(this, key, value)
    }

    /// Removes the body. Raises `KeyError` for any other key.
    fn __delitem__(this: &Bound<'_, Self>, key: &str) -> PyResult<()> {
        response_mapping::remove(this, key)
    }

    fn __contains__(this: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some(key) = mapping::key_of(key) else { return Ok(false) };
        Ok(response_mapping::get(this, &key)?.is_some())
    }

    fn __iter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        response_mapping::keys(this)?.call_method0("__iter__")
    }

    fn __len__(this: &Bound<'_, Self>) -> PyResult<usize> {
        Ok(response_mapping::keys(this)?.len())
    }

    /// The keys that have something.
    fn keys<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        response_mapping::keys(this)
    }

    /// What is at a key, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        this: &Bound<'py, Self>,
        key: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(response_mapping::get(this, key)?.or(default))
    }

    /// What is at a key. If there is nothing, sets it to `default` first.
    #[pyo3(signature = (key, default = None))]
    fn setdefault<'py>(
        this: &Bound<'py, Self>,
        key: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(found) = response_mapping::get(this, key)? {
            return Ok(Some(found));
        }
        let default = default.unwrap_or_else(|| this.py().None().into_bound(this.py()));
        response_mapping::set(this, key, &default)?;
        Ok(Some(default))
    }

    /// Sets what is at each key of a mapping.
    fn update(this: &Bound<'_, Self>, values: &Bound<'_, PyDict>) -> PyResult<()> {
        values.iter().try_for_each(|(key, value)| response_mapping::set(this, &key.extract::<String>()?, &value))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        self.status(py).map_or_else(|_| "<Response (over)>".to_owned(), |status| format!("<Response {status}>"))
    }
}
