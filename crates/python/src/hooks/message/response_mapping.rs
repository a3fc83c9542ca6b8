//! The response as a mapping with `status`, `headers` and `body`, for middlewares that are written for one. The body is
//! there while it is in memory and can be read: parsed if it is JSON, as text otherwise.

use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::made::PyResponse;

const STATUS: &str = "status";
const HEADERS: &str = "headers";
const BODY: &str = "body";
const TEXT: &str = "text/plain; charset=utf-8";

/// Returns what is at a key, or None.
pub(super) fn get<'py>(response: &Bound<'py, PyResponse>, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    match key {
        STATUS | HEADERS => response.getattr(key).map(Some),
        BODY => body(response),
        _ => Ok(None),
    }
}

/// Sets what is at a key. Raises `KeyError` for any other key.
pub(super) fn set(response: &Bound<'_, PyResponse>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match key {
        STATUS => response.setattr(key, value),
        HEADERS => set_headers(response, value),
        BODY => set_body(response, value),
        _ => Err(PyKeyError::new_err(format!("a response has `status`, `headers` and `body`, no {key:?}"))),
    }
}

/// Removes the body. Raises `KeyError` for any other key, and if there is none.
pub(super) fn remove(response: &Bound<'_, PyResponse>, key: &str) -> PyResult<()> {
    if key != BODY || get(response, key)?.is_none() {
        return Err(PyKeyError::new_err(key.to_owned()));
    }
    set_body(response, response.py().None().bind(response.py()))
}

/// Returns the keys that have something.
pub(super) fn keys<'py>(response: &Bound<'py, PyResponse>) -> PyResult<Bound<'py, PyList>> {
    let keys = PyList::new(response.py(), [STATUS, HEADERS])?;
    if body(response)?.is_some() {
        keys.append(BODY)?;
    }
    Ok(keys)
}

/// Returns the value of a field, empty if there is none.
fn field(response: &Bound<'_, PyResponse>, name: &str) -> PyResult<String> {
    response
        .getattr(intern!(response.py(), "headers"))?
        .call_method1(intern!(response.py(), "get"), (name, ""))?
        .extract()
}

fn is_json(media_type: &str) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

/// Returns the body if it is in memory and not coded.
fn body<'py>(response: &Bound<'py, PyResponse>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = response.py();
    let Some(bytes) = response.get().body_in_memory(py)? else { return Ok(None) };
    if response.get().is_coded(py)? {
        return Ok(None);
    }
    let bytes = PyBytes::new(py, &bytes);
    if is_json(&field(response, "content-type")?) {
        let loaded = py.import(intern!(py, "json"))?.call_method1(intern!(py, "loads"), (&bytes,));
        match loaded {
            Ok(value) => return Ok(Some(value)),
            // The field may say so only now, of what has been a text.
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyValueError>(py) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.call_method1(intern!(py, "decode"), ("utf-8", "replace")).map(Some)
}

/// Sets the body: a dict or list as JSON, a text as such, bytes as whatever the field says that they are.
fn set_body(response: &Bound<'_, PyResponse>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = response.py();
    let (content, media_type) = if value.is_instance_of::<PyDict>() || value.is_instance_of::<PyList>() {
        let dumped = py.import(intern!(py, "json"))?.call_method1(intern!(py, "dumps"), (value,))?;
        let kept = is_json(&field(response, "content-type")?);
        (dumped, (!kept).then_some("application/json"))
    } else if value.is_instance_of::<PyString>() {
        let kept = field(response, "content-type")?.to_ascii_lowercase().starts_with("text/");
        (value.clone(), (!kept).then_some(TEXT))
    } else if value.is_none() {
        (PyBytes::new(py, &[]).into_any(), None)
    } else {
        (value.clone(), None)
    };
    let coded = response.get().is_coded(py)?;
    response.setattr(intern!(py, "body"), content)?;
    let headers = response.getattr(intern!(py, "headers"))?;
    if coded {
        response.get().forget_coding(py)?;
        headers.call_method1("pop", ("content-encoding", py.None()))?;
    }
    media_type.map_or(Ok(()), |media_type| headers.set_item("Content-Type", media_type))
}

/// Replaces all header fields.
fn set_headers(response: &Bound<'_, PyResponse>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let headers = response.getattr(intern!(response.py(), "headers"))?;
    if value.is(&headers) {
        return Ok(());
    }
    if value.getattr_opt("items")?.is_none() {
        return Err(PyTypeError::new_err("the headers of a response are a mapping"));
    }
    // What cannot be sent is found before anything is removed.
    let items = PyList::new(response.py(), value.call_method0("items")?.try_iter()?.collect::<PyResult<Vec<_>>>()?)?;
    let made = response.py().get_type::<PyResponse>().call1((response.py().None(), 200, &items))?;
    drop(made);
    headers.call_method0("clear")?;
    headers.call_method1("update", (items,)).map(drop)
}
