//! What a request says, in parts: its URL, query parameters and cookies.

use std::collections::HashSet;

use pylae_core::request::query;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// The URL that a client has asked for.
#[pyclass(name = "Url", frozen, eq, hash, module = "pylae.hooks")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct PyUrl(String);

impl PyUrl {
    pub(crate) fn new(text: &[u8]) -> Self {
        Self(text.iter().map(|&byte| char::from(byte)).collect())
    }

    /// Splits into scheme, host with port, and path with query.
    fn parts(&self) -> (&str, &str, &str) {
        let Some((scheme, rest)) = self.0.split_once("://") else { return ("", "", &self.0) };
        let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
        (scheme, authority, &rest[authority.len()..])
    }

    fn port_at(authority: &str) -> Option<(&str, &str)> {
        authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'))
    }
}

#[pymethods]
impl PyUrl {
    /// `http` or `https`; empty if the client names no host.
    #[getter]
    fn scheme(&self) -> &str {
        self.parts().0
    }

    /// Host and port, as they stand in the URL.
    #[getter]
    fn netloc(&self) -> &str {
        self.parts().1
    }

    /// The host without port and brackets, or None.
    #[getter]
    fn hostname(&self) -> Option<&str> {
        let authority = self.parts().1;
        let host = Self::port_at(authority).map_or(authority, |(host, _)| host);
        Some(host.trim_matches(['[', ']'])).filter(|host| !host.is_empty())
    }

    /// The port, or None if none is written.
    #[getter]
    fn port(&self) -> Option<u16> {
        Self::port_at(self.parts().1).and_then(|(_, port)| port.parse().ok())
    }

    /// The path.
    #[getter]
    fn path(&self) -> &str {
        let rest = self.parts().2;
        rest.split_once('?').map_or(rest, |(path, _)| path)
    }

    /// The query without `?`; empty if there is none.
    #[getter]
    fn query(&self) -> &str {
        self.parts().2.split_once('?').map_or("", |(_, query)| query)
    }

    fn __str__(&self) -> &str {
        &self.0
    }

    fn __repr__(&self) -> String {
        // Shows no query, which may have secrets.
        let shown = self.0.split_once('?').map_or(&self.0[..], |(before, _)| before);
        format!("<Url {shown}>")
    }
}

/// The parameters of a query, decoded: a mapping of names to values that keeps repeated ones.
#[pyclass(name = "QueryParams", frozen, mapping, module = "pylae.hooks")]
pub(crate) struct PyQueryParams(Vec<(String, String)>);

impl PyQueryParams {
    pub(crate) fn read(text: &[u8]) -> Self {
        let decoded = |part| String::from_utf8_lossy(&query::decoded(part)).into_owned();
        Self(query::pairs(text).map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    /// Returns each name once, with its last value, in the order of these.
    fn last(&self) -> impl Iterator<Item = &(String, String)> {
        let mut seen = HashSet::new();
        let mut last: Vec<_> = self.0.iter().rev().filter(|(name, _)| seen.insert(&name[..])).collect();
        last.reverse();
        last.into_iter()
    }

    fn value(&self, wanted: &str) -> Option<&str> {
        self.0.iter().rfind(|(name, _)| name == wanted).map(|(_, value)| &value[..])
    }
}

#[pymethods]
impl PyQueryParams {
    /// The last value of a parameter. Raises `KeyError` if there is none.
    fn __getitem__(&self, name: &str) -> PyResult<&str> {
        self.value(name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> bool {
        name.extract::<&str>().is_ok_and(|name| self.value(name).is_some())
    }

    fn __len__(&self) -> usize {
        self.last().count()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.keys().into_pyobject(py)?.call_method0("__iter__")
    }

    /// The last value of a parameter, or `default`.
    #[pyo3(signature = (name, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match self.value(name) {
            Some(value) => Some(value.into_pyobject(py)?.into_any()),
            None => default,
        })
    }

    /// All values of a parameter, in order.
    fn get_all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| &value[..]).collect()
    }

    /// Each name once.
    fn keys(&self) -> Vec<&str> {
        self.last().map(|(name, _)| &name[..]).collect()
    }

    /// The last value of each name.
    fn values(&self) -> Vec<&str> {
        self.last().map(|(_, value)| &value[..]).collect()
    }

    /// Each name once, with its last value.
    fn items(&self) -> Vec<(&str, &str)> {
        self.last().map(|(name, value)| (&name[..], &value[..])).collect()
    }

    /// Every parameter as (name, value), including repeated names.
    fn multi_items(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..])).collect()
    }

    fn __repr__(&self) -> String {
        // Shows no values, which may be secrets.
        format!("<QueryParams {}>", self.keys().join(", "))
    }
}

/// Returns the cookies in lines of `Cookie` by name. Of several with one name the first counts, which user agents send
/// for the longest path (RFC 6265 section 5.4).
pub(crate) fn cookies<'py>(py: Python<'py>, lines: &[Bound<'py, PyString>]) -> PyResult<Bound<'py, PyDict>> {
    let cookies = PyDict::new(py);
    for line in lines {
        let line = line.to_cow()?;
        for (name, value) in line.split(';').filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim());
            let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            if !cookies.contains(name)? {
                cookies.set_item(name, plain)?;
            }
        }
    }
    Ok(cookies)
}
