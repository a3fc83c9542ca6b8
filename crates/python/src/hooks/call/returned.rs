//! Converts what a hook returned. For anything but a response or None, the error says what to return instead.

use std::sync::Arc;

use pylae_core::hook::{Identified, On};
use pylae_core::{Answer, Exchange};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::errors::http_error;
use crate::hooks::message::handle::{ExchangeHandle, PyRequest};
use crate::hooks::message::made::PyResponse;
use crate::hooks::message::mapping;
use crate::hooks::message::user::{PyKnown, PyUser};

/// Maximum number of tuple items whose types the error names.
const MAX_NAMED: usize = 4;

/// Returns the answer that a hook, which is called at `on`, returned or put into the request, if any. Raises
/// `TypeError` for anything but a response, the request or None; an authenticator returns a user in the place of the
/// request.
pub(crate) fn answer_of(
    handle: &ExchangeHandle,
    half: On,
    on: On,
    returned: &Bound<'_, PyAny>,
) -> PyResult<Option<Answer>> {
    if on == On::Authenticate {
        return authenticated(handle, returned);
    }
    let answered = match returned.cast::<PyResponse>() {
        Ok(response) => response.get().answer(),
        Err(_) if returned.is_none() || returned.is_instance_of::<PyRequest>() => None,
        Err(_) => return Err(mistake(returned)?),
    };
    let settled = mapping::settle(handle, returned.py(), half == On::Request)?;
    Ok(answered.or(settled))
}

/// Takes over the user that the function of an authenticator returned. Returns the answer if it gave one, as it must
/// where a path is its own: there is nothing else.
fn authenticated(handle: &ExchangeHandle, returned: &Bound<'_, PyAny>) -> PyResult<Option<Answer>> {
    let py = returned.py();
    let (returned, until) = match returned.cast::<PyKnown>() {
        Ok(known) => (known.get().what.bind(py), Some(known.get().until)),
        Err(_) => (returned, None),
    };
    let (answered, user) = if let Ok(response) = returned.cast::<PyResponse>() {
        (response.get().answer(), None)
    } else if let Ok(user) = returned.cast::<PyUser>() {
        (None, Some(Arc::clone(&user.get().0)))
    } else if returned.is_none() {
        (None, None)
    } else {
        return Err(no_identity(returned)?);
    };
    if user.as_ref().is_some_and(|user| user.id.is_empty()) {
        return Err(PyValueError::new_err("the authenticator has returned a User without an id"));
    }
    let answer = answered.or(mapping::settle(handle, py, true)?);
    if answer.is_none() && handle.about.route.is_some() {
        return Err(http_error(py, 404, "there is nothing at this path")?);
    }
    // Fails only if the exchange is over: nobody waits for the user then.
    let _ = handle.change(|exchange: &mut Exchange| {
        let visit = exchange.hook_visit();
        visit.identified = user.map_or(Identified::Nobody, Identified::User);
        visit.identified_until = until;
    });
    Ok(answer)
}

fn no_identity(returned: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let kind = type_name(returned)?;
    let what = if kind == "coroutine" {
        returned.call_method0("close")?;
        "a coroutine: `await` is missing before the call that made it".to_owned()
    } else {
        format!("{} {kind}: return a User, None if nobody is known, or a Response to answer", article(&kind))
    };
    Ok(PyTypeError::new_err(format!("the authenticator has returned {what}")))
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

fn mistake(returned: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let kind = type_name(returned)?;
    if kind == "coroutine" {
        returned.call_method0("close")?;
    }
    Ok(PyTypeError::new_err(format!("the hook has returned {}", describe_mistake(returned, &kind)?)))
}

/// Describes what was returned and what to return instead. Shows no values, which may be private data.
fn describe_mistake(returned: &Bound<'_, PyAny>, kind: &str) -> PyResult<String> {
    let article = article(kind);
    let what = if returned.is_instance_of::<PyDict>() || returned.is_instance_of::<PyList>() {
        format!("{article} {kind}: return `Response.json(…)` to answer with it, or None to go on")
    } else if returned.is_instance_of::<PyString>() || returned.is_instance_of::<PyBytes>() {
        format!("{article} {kind}: return `Response(body=…)` to answer with it, or None to go on")
    } else if let Ok(items) = returned.cast::<PyTuple>() {
        let kinds = items.iter().take(MAX_NAMED).map(|item| type_name(&item)).collect::<PyResult<Vec<_>>>()?.join(", ");
        format!("{article} {kind} ({kinds}): return `Response.json(…, status=…)` to answer with them, or None to go on")
    } else if kind == "coroutine" {
        "a coroutine: `await` is missing before the call that made it".to_owned()
    } else if kind.ends_with("Response") {
        format!("{article} {kind}, which is not `pylae.Response`: return one of those to answer, or None to go on")
    } else {
        format!("{article} {kind}: return a Response to answer, or None to go on")
    };
    Ok(what)
}

/// Returns the qualified name of a value's type, without the module for builtins.
fn type_name(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let kind = value.get_type();
    let (module, name) = (kind.module()?, kind.qualname()?);
    let (module, name) = (module.to_cow()?, name.to_cow()?);
    Ok(if module == "builtins" { name.into_owned() } else { format!("{module}.{name}") })
}
