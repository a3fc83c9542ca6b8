//! The Python user.

use std::sync::Arc;
use std::time::Duration;

use pylae_http::{Edits, Name};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Attributes of a user.
const USER_KEYS: &[&str] = &["id", "email", "role", "permissions", "claims", "via"];

/// An authenticated user.
#[pyclass(name = "User", frozen, eq, from_py_object, module = "pylae.hooks")]
#[derive(Clone, PartialEq)]
pub(crate) struct PyUser(pub(crate) Arc<pylae_core::User>);

impl PyUser {
    /// Converts the user that a hook sets: a `User`, or any object with the same attributes or a dict with such keys.
    pub(crate) fn of(given: &Bound<'_, PyAny>) -> PyResult<Option<Arc<pylae_core::User>>> {
        if given.is_none() {
            return Ok(None);
        }
        if let Ok(user) = given.cast::<Self>() {
            return Ok(Some(Arc::clone(&user.get().0)));
        }
        let field = |name: &str| match given.cast::<PyDict>() {
            Ok(given) => given.get_item(name),
            Err(_) => given.getattr_opt(name),
        };
        let text = |name: &str| match field(name)? {
            Some(value) if !value.is_none() => value.extract::<String>(),
            _ => Ok(String::new()),
        };
        let id = field("id")?.ok_or_else(|| PyValueError::new_err("a user needs an `id`"))?.str()?.to_string();
        let permissions = match field("permissions")? {
            Some(value) if !value.is_none() => {
                value.try_iter()?.map(|permission| permission?.extract()).collect::<PyResult<_>>()?
            }
            _ => Vec::new(),
        };
        let claims = field("claims")?;
        Self::make(id, text("email")?, text("role")?, permissions, claims).map(|user| Some(user.0))
    }
}

#[pymethods]
impl PyUser {
    /// Creates a user. Raises `ValueError` for a text that cannot be sent in a header.
    #[new]
    #[pyo3(signature = (id, email = String::new(), role = String::new(), permissions = Vec::new(), claims = None))]
    fn make(
        id: String,
        email: String,
        role: String,
        permissions: Vec<String>,
        claims: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut sent = Edits::default();
        for text in [&id, &email, &role] {
            sent.set_known(Name::XUserId, text.as_bytes()).map_err(|error| PyValueError::new_err(error.0))?;
        }
        let claims = match claims.filter(|claims| !claims.is_none()) {
            None => serde_json::Map::new(),
            Some(claims) => {
                let dict = claims.py().import("builtins")?.getattr("dict")?.call1((claims,))?;
                let json: String = dict.py().import("json")?.call_method1("dumps", (dict,))?.extract()?;
                serde_json::from_str(&json).map_err(|error| PyValueError::new_err(error.to_string()))?
            }
        };
        Ok(Self(Arc::new(pylae_core::User { id, email, role, permissions, claims, via: "hook" })))
    }

    /// Stable identifier.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Mail address, possibly empty.
    #[getter]
    fn email(&self) -> &str {
        &self.0.email
    }

    /// Role, possibly empty. Several roles are separated by commas.
    #[getter]
    fn role(&self) -> &str {
        &self.0.role
    }

    /// Permissions of the user.
    #[getter]
    fn permissions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.0.permissions)
    }

    /// All other claims of the credential, as a new dict.
    #[getter]
    fn claims<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let json = serde_json::to_string(&self.0.claims).map_err(|error| PyValueError::new_err(error.to_string()))?;
        py.import("json")?.call_method1("loads", (json,))
    }

    /// Kind of the authenticator that identified the user, or `hook`.
    #[getter]
    fn via(&self) -> &str {
        self.0.via
    }

    /// What an attribute is, for those who take a user for a mapping. Raises `KeyError` for any other name.
    fn __getitem__<'py>(this: &Bound<'py, Self>, key: &str) -> PyResult<Bound<'py, PyAny>> {
        if USER_KEYS.contains(&key) { this.getattr(key) } else { Err(PyKeyError::new_err(key.to_owned())) }
    }

    /// The same, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        this: &Bound<'py, Self>,
        key: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if USER_KEYS.contains(&key) { this.getattr(key).map(Some) } else { Ok(default) }
    }

    fn __repr__(&self) -> String {
        format!("User(id={:?}, role={:?})", self.0.id, self.0.role)
    }
}

/// What the function of an authenticator says, and how long that may be remembered.
#[pyclass(name = "Known", frozen, module = "pylae.hooks")]
pub(crate) struct PyKnown {
    /// A user, a response, or None.
    pub(crate) what: Py<PyAny>,
    /// Since the Unix epoch.
    pub(crate) until: Duration,
}

#[pymethods]
impl PyKnown {
    /// `what` is all that such a function may return; `until` is in seconds since the Unix epoch.
    #[new]
    fn make(what: Py<PyAny>, until: f64) -> PyResult<Self> {
        let until = Duration::try_from_secs_f64(until).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { what, until })
    }
}
