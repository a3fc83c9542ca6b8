//! The request as a mapping, for middlewares that are written for one: `request["method"]`,
//! `request.setdefault("response_headers", {})`. A few keys stand for the answer; unknown ones live in `state`.

use pylae_core::{Answer, Exchange};
use pylae_http::{Edits, Name};
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use super::handle::{ExchangeHandle, PyRequest, RequestAccess};
use super::made::PyResponse;
use super::text;
use crate::errors::http_error;

/// Keys that are attributes, and what each is called there.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("method", "method"),
    ("path", "path"),
    ("query", "query"),
    ("query_params", "query_params"),
    ("params", "params"),
    ("headers", "headers"),
    ("client_ip", "client_ip"),
    ("request_id", "id"),
    ("route", "route"),
    ("user", "user"),
    ("service", "service"),
];
/// Keys that are attributes and can be set.
const SETTABLE: &[&str] = &["path", "query", "user", "service"];
/// Keys that nothing is at for an authenticator that sees only credentials.
const HIDDEN: &[&str] = &["method", "path", "params", "client_ip", "route", "service"];
/// Keys that stand for the answer: fields of whatever answer comes, the text of an error, and a whole answer.
const ANSWER: &[&str] = &["response_headers", "error", "response"];
const TIMESTAMP: &str = "timestamp";
const BODY: &str = "body";
/// Status of an answer under `error`.
const ERROR_STATUS: u16 = 400;
/// Response fields besides those that frame the message that nobody can set.
const REFUSED: &[Name] = &[Name::Date, Name::Via];

/// Returns what is at a key, or None.
pub(super) fn get<'py>(request: &Bound<'py, PyRequest>, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = request.py();
    if let Some((_, attribute)) = ATTRIBUTES.iter().find(|(known, _)| *known == key) {
        if request.get().0.about.access == RequestAccess::Key && HIDDEN.contains(&key) {
            return Ok(None);
        }
        return Ok(Some(request.getattr(*attribute)?).filter(|value| !value.is_none()));
    }
    let this = request.get();
    if key == TIMESTAMP {
        let wall = this.with(py, |exchange| exchange.times.wall.as_secs_f64())?;
        return Ok(Some(wall.into_pyobject(py)?.into_any()));
    }
    this.with(py, |_| ())?;
    if ANSWER.contains(&key) || key == BODY {
        if let Some(set) = this.0.answer(py, false).map(|answer| answer.get_item(key)).transpose()?.flatten() {
            return Ok(Some(set));
        }
        return if key == BODY { body(this, py) } else { Ok(None) };
    }
    this.0.state(py).get_item(key)
}

/// Returns the body as text if it is in memory.
fn body<'py>(request: &PyRequest, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let body = request.with(py, |exchange| exchange.hooks().and_then(|hooks| hooks.request_body.clone()))?;
    let text = |body: &[u8]| PyBytes::new(py, body).call_method1(intern!(py, "decode"), ("utf-8", "replace"));
    body.filter(|body| !body.is_empty()).map(|body| text(&body)).transpose()
}

/// Sets what is at a key.
pub(super) fn set(request: &Bound<'_, PyRequest>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (request.py(), request.get());
    if SETTABLE.contains(&key) {
        return request.setattr(key, value);
    }
    if key == TIMESTAMP || ATTRIBUTES.iter().any(|(known, _)| *known == key) {
        return Err(PyTypeError::new_err(format!("request[{key:?}] cannot be set")));
    }
    this.with(py, |_| ())?;
    match this.0.answer(py, ANSWER.contains(&key) || key == BODY) {
        Some(answer) if ANSWER.contains(&key) || key == BODY => answer.set_item(key, value),
        _ => this.0.state(py).set_item(key, value),
    }
}

/// Removes what is at a key. Raises `KeyError` if nothing is there that can be removed.
pub(super) fn remove(request: &Bound<'_, PyRequest>, key: &str) -> PyResult<()> {
    let (py, this) = (request.py(), request.get());
    this.with(py, |_| ())?;
    let answer = this.0.answer(py, false).filter(|_| ANSWER.contains(&key) || key == BODY);
    let place = answer.unwrap_or_else(|| this.0.state(py));
    if place.contains(key)? { place.del_item(key) } else { Err(PyKeyError::new_err(key.to_owned())) }
}

/// Returns the keys that have something.
pub(super) fn keys<'py>(request: &Bound<'py, PyRequest>) -> PyResult<Bound<'py, PyList>> {
    let (py, found) = (request.py(), PyList::empty(request.py()));
    let known = ATTRIBUTES.iter().map(|(key, _)| *key).chain([TIMESTAMP, BODY]).chain(ANSWER.iter().copied());
    for key in known {
        if get(request, key)?.is_some() {
            found.append(key)?;
        }
    }
    for key in request.get().0.state(py).keys() {
        found.append(key)?;
    }
    Ok(found)
}

/// Takes over what a hook has put under the keys that stand for the answer. Returns the answer, if there is one.
/// Raises `HTTPError` for one under `error`, and `ValueError` or `TypeError` for what cannot be sent.
pub(crate) fn settle(handle: &ExchangeHandle, py: Python<'_>, request_half: bool) -> PyResult<Option<Answer>> {
    let Some(set) = handle.answer(py, false) else { return Ok(None) };
    if let Some(given) = set.get_item(ANSWER[0])? {
        let mut fields = Edits::default();
        read_fields(&given, &mut fields)?;
        // Fails only if the exchange is over: nobody waits for the fields then.
        let _ = handle.change(|exchange: &mut Exchange| exchange.hook_visit().fields = fields);
    }
    if !request_half {
        return Ok(None);
    }
    if let Some(error) = set.get_item(ANSWER[1])? {
        return Err(http_error(py, ERROR_STATUS, error.str()?.to_str()?)?);
    }
    set.get_item(ANSWER[2])?.map(|response| read_response(&response)).transpose()
}

/// Reads fields, of which a list repeats one.
fn read_fields(given: &Bound<'_, PyAny>, fields: &mut Edits) -> PyResult<()> {
    for pair in given.call_method0("items")?.try_iter()? {
        let (name, value): (String, Bound<'_, PyAny>) = pair?.extract()?;
        if REFUSED.contains(&Name::classify(name.as_bytes())) {
            return Err(PyValueError::new_err(format!("{name} is set by the gateway itself")));
        }
        let several = value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>();
        let lines = if several { value.extract()? } else { vec![value] };
        for line in lines {
            let line = line.str()?;
            let line = text::encode(line.to_str()?)?.into_owned();
            fields.append(name.as_bytes(), &line).map_err(|error| PyValueError::new_err(error.0))?;
        }
    }
    Ok(())
}

/// Reads a whole answer: a `Response`, or a mapping with `status`, `headers` and `body`.
fn read_response(given: &Bound<'_, PyAny>) -> PyResult<Answer> {
    if let Ok(response) = given.cast::<PyResponse>() {
        return response.get().answer().ok_or_else(|| PyTypeError::new_err("this response is on its way already"));
    }
    let py = given.py();
    let given = given.cast::<PyDict>().map_err(|_| {
        PyTypeError::new_err("request[\"response\"] is a Response, or a dict with `status`, `headers` and `body`")
    })?;
    let mut fields = Edits::default();
    if let Some(headers) = given.get_item("headers")?.filter(|headers| !headers.is_none()) {
        read_fields(&headers, &mut fields)?;
    }
    let status: u16 = given.get_item("status")?.map_or(Ok(200), |status| status.extract())?;
    let body = given.get_item("body")?.filter(|body| !body.is_none());
    let is_data = body.as_ref().is_some_and(|body| body.is_instance_of::<PyDict>() || body.is_instance_of::<PyList>());
    let lines: Vec<(String, String)> = fields
        .added()
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), text::decode(py, value).to_string()))
        .collect();
    let kind = py.get_type::<PyResponse>();
    let made = match body {
        Some(data) if is_data => kind.call_method1("json", (data, status, lines))?,
        text => kind.call1((text, status, lines))?,
    };
    let made = made.cast::<PyResponse>()?.get().answer();
    made.ok_or_else(|| PyTypeError::new_err("this response is on its way already"))
}

/// Returns the value as text where it is a key; mappings are asked for other things too.
pub(super) fn key_of<'a>(key: &'a Bound<'_, PyAny>) -> Option<std::borrow::Cow<'a, str>> {
    key.cast::<PyString>().ok().and_then(|key| key.to_cow().ok())
}
