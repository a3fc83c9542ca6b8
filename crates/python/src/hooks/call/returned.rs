//! Converts what a hook returned. For anything but a response or None, the error says what to return instead.

use pylae_core::Answer;
use pylae_core::hook::On;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::hooks::message::handle::{ExchangeHandle, PyRequest};
use crate::hooks::message::made::PyResponse;
use crate::hooks::message::mapping;

/// Maximum number of tuple items whose types the error names.
const MAX_NAMED: usize = 4;

/// Returns the answer that a hook returned or put into the request, if any. Raises `TypeError` for anything but a
/// response, the request or None.
pub(crate) fn answer_of(handle: &ExchangeHandle, half: On, returned: &Bound<'_, PyAny>) -> PyResult<Option<Answer>> {
    let answered = match returned.cast::<PyResponse>() {
        Ok(response) => response.get().answer(),
        Err(_) if returned.is_none() || returned.is_instance_of::<PyRequest>() => None,
        Err(_) => return Err(mistake(returned)?),
    };
    let settled = mapping::settle(handle, returned.py(), half == On::Request)?;
    Ok(answered.or(settled))
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
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
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
