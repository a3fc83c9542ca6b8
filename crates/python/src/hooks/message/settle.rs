//! Hooks tell what a request has really cost.

use pyo3::exceptions::{PyLookupError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

use super::handle::{PyRequest, RequestAccess};
use crate::errors::hook_error;

/// Tells the true cost to the limits of the request's route that are settled: all of them, or the one with this name.
/// Works while the body passes too: nothing of the exchange changes.
pub(super) fn tell(request: &PyRequest, py: Python<'_>, cost: &Bound<'_, PyAny>, name: Option<&str>) -> PyResult<()> {
    let about = &request.0.about;
    if about.is_early() || about.access != RequestAccess::Change {
        let why = "only a hook of a route settles a cost: limits are charged after early hooks and authenticators";
        return Err(hook_error(py, why));
    }
    let cost = read_cost(cost)?;
    let known = about.settled.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let index = name.map(|name| about.settled.iter().position(|settled| **settled == *name));
    let route = about.route.as_deref().unwrap_or_default();
    if known.is_empty() {
        let why = format!("no limit of route {route:?} has `settle`: give one of its rate limits `settle: hook`");
        return Err(PyLookupError::new_err(why));
    }
    if index == Some(None) {
        let name = name.unwrap_or_default();
        let why = format!("route {route:?} has no limit {name:?} with `settle`; with it are {known}");
        return Err(PyLookupError::new_err(why));
    }
    request.with(py, |exchange| {
        // In a host, the gateway has what is reserved.
        if let Some(hosted) = exchange.hooks().and_then(|hooks| hooks.hosted.as_deref()) {
            hosted.tell(index.flatten(), cost);
        }
        // Nothing is reserved for a fetch of the cache in the background.
        if let Some(reserved) = exchange.admitted().and_then(|admitted| admitted.reserved.as_ref()) {
            reserved.tell(index.flatten(), cost);
        }
    })
}

/// Reads a cost. Beyond what can be counted it is the largest.
fn read_cost(cost: &Bound<'_, PyAny>) -> PyResult<u32> {
    if !cost.is_instance_of::<PyInt>() || cost.is_instance_of::<PyBool>() {
        let kind = cost.get_type().name()?;
        return Err(PyTypeError::new_err(format!("a cost is an int, not {kind}")));
    }
    if cost.lt(0)? {
        return Err(PyValueError::new_err("a cost must not be negative"));
    }
    Ok(cost.extract().unwrap_or(u32::MAX))
}
