//! Header fields for hooks: a mapping with case-insensitive names that keeps repeated values. Changes go through the
//! engine's own edits, which validate them.

use pylae_core::request::forwarding;
use pylae_http::message::host;
use pylae_http::{Edits, Fields, InvalidHeader, Name, NameSet};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::handle::PyRequest;
use super::made::PyResponse;
use super::text;

/// The message that fields belong to.
pub(crate) enum Of {
    /// The request, with the fields that are sent to the instance.
    Request(Py<PyRequest>),
    /// The response, with the fields that are sent to the client.
    Response(Py<PyRequest>),
    /// A response that a hook has created.
    Made(Py<PyResponse>),
}

/// Header fields of a request or response.
#[pyclass(name = "Headers", frozen, mapping, module = "pylae.hooks")]
pub(crate) struct PyHeaders(pub(crate) Of);

/// The original fields of one head, and the edits.
struct Head<'e> {
    fields: Option<(&'e Fields, &'e [u8])>,
    edits: &'e Edits,
    hidden: NameSet,
    /// The Host that an early hook has set, in the place of the original one.
    host: Option<&'e [u8]>,
}

impl Head<'_> {
    /// Returns every line as it is sent.
    fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let original = self
            .fields
            .into_iter()
            .flat_map(|(fields, buf)| fields.iter().map(move |field| (field, field.name.of(buf), field.value.of(buf))));
        let kept = original
            .filter(|(field, name, _)| !self.hidden.has(field.id) && !self.edits.removes(field.id, name))
            .map(|(_, name, value)| (name, value));
        let host = self.host.map(|host| (Name::Host.as_str().as_bytes(), host));
        host.into_iter().chain(kept).chain(self.edits.added())
    }

    fn values<'s>(&'s self, name: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
        self.lines().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl PyHeaders {
    fn with<T>(&self, py: Python<'_>, read: impl FnOnce(Head<'_>) -> T) -> PyResult<T> {
        match &self.0 {
            Of::Request(request) => request.get().with(py, |exchange| {
                let mut hidden = forwarding::dropped_fields(exchange);
                let host = exchange.hooks().and_then(|hooks| hooks.host.as_deref());
                if host.is_some() {
                    hidden.add(Name::Host);
                }
                let request = &exchange.request;
                let fields = Some((&request.head.fields, &request.buffer[..]));
                read(Head { fields, edits: &request.edits, hidden, host })
            }),
            Of::Response(request) => request.get().with(py, |exchange| {
                let response = &exchange.response;
                let fields = Some((&response.head.fields, &response.buffer[..]));
                read(Head { fields, edits: &response.edits, hidden: NameSet::EMPTY, host: None })
            }),
            Of::Made(response) => {
                let hidden = NameSet::EMPTY;
                Ok(response.get().with_edits(|edits| read(Head { fields: None, edits, hidden, host: None })))
            }
        }
    }

    fn edit(&self, py: Python<'_>, edit: impl FnOnce(&mut Edits) -> Result<(), InvalidHeader>) -> PyResult<()> {
        let edited = match &self.0 {
            Of::Request(request) => request.get().change(py, |exchange| edit(&mut exchange.request.edits))?,
            Of::Response(request) => request.get().change(py, |exchange| edit(&mut exchange.response.edits))?,
            Of::Made(response) => response.get().with_edits(edit),
        };
        edited.map_err(|error| PyValueError::new_err(error.0))
    }

    /// Refuses names of request fields that are the gateway's own: no hook can say who the user is, and none before
    /// routing where the request comes from.
    fn check(&self, name: &[u8]) -> PyResult<()> {
        let Of::Request(request) = &self.0 else { return Ok(()) };
        if forwarding::is_reserved(name, request.get().0.about.is_early()) {
            let name = String::from_utf8_lossy(name);
            return Err(PyValueError::new_err(format!(
                "{name} is set by the gateway itself; for the user set request.user"
            )));
        }
        Ok(())
    }

    /// Sets the Host that is routed, in the early stage.
    fn set_host(py: Python<'_>, request: &Py<PyRequest>, value: &str) -> PyResult<()> {
        let mut canonical = Vec::new();
        host::canonical(value.as_bytes(), &mut canonical).map_err(|error| PyValueError::new_err(error.0))?;
        request.get().change(py, |exchange| exchange.hook_visit().host = Some(canonical.into()))
    }

    fn first<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyString>>> {
        self.with(py, |head| head.values(name.as_bytes()).next().map(|value| text::decode(py, value)))
    }

    /// Returns each name once, in the spelling of its first line.
    fn names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.with(py, |head| {
            let mut names: Vec<String> = Vec::new();
            for (name, _) in head.lines() {
                let name = String::from_utf8_lossy(name);
                if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                    names.push(name.into_owned());
                }
            }
            names
        })
    }
}

#[pymethods]
impl PyHeaders {
    /// The first value of a field. Raises `KeyError` if there is none.
    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyString>> {
        self.first(py, name)?.ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }

    /// Replaces every line of a field with this one. Raises `ValueError` for an invalid name or value.
    fn __setitem__(&self, py: Python<'_>, name: &str, value: &str) -> PyResult<()> {
        self.check(name.as_bytes())?;
        if let Of::Request(request) = &self.0
            && request.get().0.about.is_early()
            && name.eq_ignore_ascii_case("host")
        {
            return Self::set_host(py, request, value);
        }
        let value = text::encode(value)?;
        self.edit(py, |edits| edits.set(name.as_bytes(), &value))
    }

    /// Removes every line of a field. Raises `KeyError` if there is none.
    fn __delitem__(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        if !self.__contains__(py, name)? {
            return Err(PyKeyError::new_err(name.to_owned()));
        }
        if matches!(self.0, Of::Request(_)) && name.eq_ignore_ascii_case("host") {
            return Err(PyValueError::new_err("a request needs a Host"));
        }
        self.edit(py, |edits| {
            edits.remove(name.as_bytes());
            Ok(())
        })
    }

    fn __contains__(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        self.with(py, |head| head.values(name.as_bytes()).next().is_some())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.names(py)?.len())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.names(py)?.into_pyobject(py)?.call_method0("__iter__")
    }

    /// The first value of a field, or `default`.
    #[pyo3(signature = (name, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.first(py, name)?.map(Bound::into_any).or(default))
    }

    /// All values of a field, in order.
    pub(super) fn get_all<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Vec<Bound<'py, PyString>>> {
        self.with(py, |head| head.values(name.as_bytes()).map(|value| text::decode(py, value)).collect())
    }

    /// Adds a line and keeps the existing ones. Raises `ValueError` for an invalid name or value.
    fn append(&self, py: Python<'_>, name: &str, value: &str) -> PyResult<()> {
        self.check(name.as_bytes())?;
        let value = text::encode(value)?;
        self.edit(py, |edits| edits.append(name.as_bytes(), &value))
    }

    /// Removes every line of a field and returns the first value, or `default`. Raises `KeyError` if there is neither.
    #[pyo3(signature = (name, *default))]
    fn pop<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        default: &Bound<'py, pyo3::types::PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.first(py, name)? {
            Some(value) => {
                self.__delitem__(py, name)?;
                Ok(value.into_any())
            }
            None => default.get_item(0).map_err(|_| PyKeyError::new_err(name.to_owned())),
        }
    }

    /// The first value of a field. If there is none, sets the field to `default` first. Raises `ValueError` for an
    /// invalid name or value.
    fn setdefault<'py>(&self, py: Python<'py>, name: &str, default: &str) -> PyResult<Bound<'py, PyString>> {
        if self.first(py, name)?.is_none() {
            self.__setitem__(py, name, default)?;
        }
        self.__getitem__(py, name)
    }

    /// Replaces every field named in `headers`, a mapping or an iterable of (name, value). A repeated name gets several
    /// lines. Raises `ValueError` for an invalid name or value, and changes nothing then.
    #[pyo3(signature = (headers, /))]
    fn update(&self, py: Python<'_>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut lines = Edits::default();
        append_all(&mut lines, headers)?;
        lines.added().try_for_each(|(name, _)| self.check(name))?;
        self.edit(py, |edits| {
            for (name, _) in lines.added() {
                edits.remove(name);
            }
            lines.added().try_for_each(|(name, value)| edits.append(name, value))
        })
    }

    /// Removes every field but a request's Host.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let mut names = self.names(py)?;
        if matches!(self.0, Of::Request(_)) {
            names.retain(|name| !name.eq_ignore_ascii_case("host"));
        }
        self.edit(py, |edits| {
            for name in &names {
                edits.remove(name.as_bytes());
            }
            Ok(())
        })
    }

    /// Removes the last field and returns its name and first value. Raises `KeyError` if there is none.
    fn popitem<'py>(&self, py: Python<'py>) -> PyResult<(String, Bound<'py, PyString>)> {
        let name = self.names(py)?.pop().ok_or_else(|| PyKeyError::new_err("there are no fields"))?;
        let value = self.__getitem__(py, &name)?;
        self.__delitem__(py, &name)?;
        Ok((name, value))
    }

    /// Each name once.
    fn keys(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.names(py)
    }

    /// Every line as (name, value), including repeated names.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>> {
        self.with(py, |head| {
            head.lines().map(|(name, value)| (text::decode(py, name), text::decode(py, value))).collect()
        })
    }

    /// The value of every line.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyString>>> {
        self.with(py, |head| head.lines().map(|(_, value)| text::decode(py, value)).collect())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        // Shows no values, which may be secrets.
        Ok(format!("<Headers {}>", self.names(py)?.join(", ")))
    }
}

/// Appends the lines of a mapping, or of an iterable of (name, value).
pub(crate) fn append_all(edits: &mut Edits, headers: &Bound<'_, PyAny>) -> PyResult<()> {
    let pairs = match headers.getattr_opt("items")? {
        Some(items) => items.call0()?,
        None => headers.clone(),
    };
    for pair in pairs.try_iter()? {
        let (name, value): (String, String) = pair?.extract()?;
        let value = text::encode(&value)?;
        edits.append(name.as_bytes(), &value).map_err(|error| PyValueError::new_err(error.0))?;
    }
    Ok(())
}

/// Returns true if the edits set this field.
pub(crate) fn has(edits: &Edits, name: Name) -> bool {
    edits.get(name.as_str().as_bytes()).is_some()
}
