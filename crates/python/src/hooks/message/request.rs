//! The attributes of the Python request. They read the exchange on access, and work only while a hook of the exchange
//! runs.

use std::sync::atomic::Ordering;

use pylae_core::hook::{AskedFor, HookVisit};
use pylae_core::location;
use pylae_http::{Method, Target};
use pyo3::exceptions::{PyKeyError, PyLookupError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::certificate::PyCertificate;
use super::handle::{LIVE, PyRequest};
use super::headers::{Of, PyHeaders};
use super::mapping;
use super::parsed::{self, PyQueryParams, PyUrl};
use super::ready::Ready;
use super::settle;
use super::text;
use super::user::PyUser;
use crate::errors::hook_error;

impl PyRequest {
    fn visit<T>(&self, py: Python<'_>, read: impl FnOnce(&mut HookVisit) -> T) -> PyResult<T> {
        self.with(py, |exchange| read(exchange.hook_visit()))
    }
}

#[pymethods]
impl PyRequest {
    /// The method, as the client sent it.
    #[getter]
    fn method<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.refuse_hidden(py, "method")?;
        self.with(py, |exchange| text::decode(py, exchange.request.head.method_span.of(&exchange.request.buffer)))
    }

    /// The canonical path of the request without segment parameters, as routes and policies use it, or the path that a
    /// hook has set.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.refuse_hidden(py, "path")?;
        self.with(py, |exchange| {
            let set = exchange.hooks().is_some_and(|hooks| hooks.path_set);
            text::decode(py, if set { &exchange.request.forward_path } else { exchange.request.target.routing_path() })
        })
    }

    /// The canonical path of the request with segment parameters. Hooks do not change it.
    #[getter]
    fn raw_path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.refuse_hidden(py, "raw_path")?;
        self.with(py, |exchange| text::decode(py, &exchange.request.target.path))
    }

    /// Sets the path: in the early stage the one that is routed, otherwise the one that is sent to the instance, to
    /// which `strip_prefix` and `rewrite` no longer apply. It may contain `%2F` only if the client's path does. Raises
    /// `ValueError` for an invalid path.
    #[setter]
    fn set_path(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        let mut target = Target::default();
        let read = path.starts_with('/') && !path.contains('?');
        if !read {
            return Err(PyValueError::new_err("a path starts with `/` and has no `?`"));
        }
        let kept = self.with(py, |exchange| exchange.request.target.has_slashes())?;
        let bytes = path.as_bytes();
        let read = if kept { target.read_with_slashes(bytes, Method::Get) } else { target.read(bytes, Method::Get) };
        read.map_err(|error| PyValueError::new_err(error.0))?;
        self.change(py, |exchange| {
            exchange.request.forward_path = target.path;
            exchange.hook_visit().path_set = true;
        })
    }

    /// The query that is sent to the instance, without `?`; empty if there is none.
    #[getter]
    fn query<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.with(py, |exchange| text::decode(py, exchange.request.sent_query().unwrap_or_default()))
    }

    /// Sets the query that is sent to the instance, without `?`. Raises `ValueError` for an invalid query.
    #[setter]
    fn set_query(&self, py: Python<'_>, query: &str) -> PyResult<()> {
        let raw = format!("/?{query}");
        Target::default().read(raw.as_bytes(), Method::Get).map_err(|error| PyValueError::new_err(error.0))?;
        self.change(py, |exchange| exchange.request.forward_query = Some(query.as_bytes().to_vec()))
    }

    /// The values that the route's match captured, by name, percent-decoded. None in the early stage.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.refuse_hidden(py, "params")?;
        if self.0.about.is_early() {
            return self.with(py, |_| None);
        }
        let values: Vec<Vec<u8>> = self.with(py, |exchange| {
            exchange
                .request
                .params
                .iter()
                .map(|span| text::percent_decode(span.of(exchange.request.target.routing_path())))
                .collect()
        })?;
        let params = PyDict::new(py);
        for (name, value) in self.0.about.params.iter().zip(values) {
            params.set_item(&**name, String::from_utf8_lossy(&value))?;
        }
        Ok(Some(params))
    }

    /// The parameters of the query, decoded.
    #[getter]
    fn query_params(&self, py: Python<'_>) -> PyResult<PyQueryParams> {
        self.with(py, |exchange| PyQueryParams::read(exchange.request.sent_query().unwrap_or_default()))
    }

    /// The cookies that are sent to the instance, by name.
    #[getter]
    fn cookies<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        parsed::cookies(this.py(), &Self::headers(this).get_all(this.py(), "cookie")?)
    }

    /// The URL that the client has asked for. Hooks do not change it.
    #[getter]
    fn url(&self, py: Python<'_>) -> PyResult<PyUrl> {
        self.refuse_hidden(py, "url")?;
        self.with(py, |exchange| PyUrl::new(&location::client_url(exchange)))
    }

    /// The header fields that are sent to the instance.
    #[getter]
    fn headers(this: &Bound<'_, Self>) -> PyHeaders {
        PyHeaders(Of::Request(this.clone().unbind()))
    }

    /// The client's address.
    #[getter]
    fn client_ip(&self, py: Python<'_>) -> PyResult<String> {
        self.refuse_hidden(py, "client_ip")?;
        self.with(py, |exchange| exchange.request.origin.client.to_string())
    }

    /// The certificate that the client has shown in the handshake, verified by the listener, or None.
    #[getter]
    fn client_certificate(&self, py: Python<'_>) -> PyResult<Option<PyCertificate>> {
        self.with(py, |exchange| exchange.request.origin.certificate.clone().map(PyCertificate))
    }

    /// The request id.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.with(py, |exchange| text::decode(py, &exchange.request.id))
    }

    /// The id of the trace that the request belongs to, 32 hex digits, or None if traces are switched off.
    #[getter]
    fn trace_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.with(py, |exchange| {
            let context = &exchange.trace_context;
            context.is_known().then(|| String::from_utf8_lossy(&context.trace_digits()).into_owned())
        })
    }

    /// The trace context for requests that a hook makes itself, as the value of their `traceparent` field (W3C Trace
    /// Context), or None if traces are switched off.
    #[getter]
    fn traceparent(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.with(py, |exchange| {
            let context = &exchange.trace_context;
            let value = context.is_known().then(|| context.traceparent(context.span_id));
            value.map(|value| String::from_utf8_lossy(&value).into_owned())
        })
    }

    /// Name of the route. In the early stage None until the request has one.
    #[getter]
    fn route(&self, py: Python<'_>) -> PyResult<Option<&str>> {
        self.refuse_hidden(py, "route")?;
        let index = self.with(py, |exchange| exchange.route)?;
        let about = &self.0.about;
        Ok(about.route.as_deref().or_else(|| Some(&**about.routes.get(index?)?)))
    }

    /// Why an authenticator of Pylae's own is asked: `check` about a session, `login` to begin one. None for all
    /// others, and for the paths of an authenticator. Nobody but the gateway can set it.
    #[getter]
    fn asked_for(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        self.with(py, |exchange| exchange.hooks().and_then(|hooks| hooks.asked_for).map(AskedFor::name))
    }

    /// The authenticated user, or None.
    #[getter]
    fn user(&self, py: Python<'_>) -> PyResult<Option<PyUser>> {
        self.with(py, |exchange| exchange.request.user.clone().map(PyUser))
    }

    /// Sets the user: an object with `id` and optionally `email`, `role`, `permissions` and `claims`, or None.
    #[setter]
    fn set_user(&self, py: Python<'_>, user: &Bound<'_, PyAny>) -> PyResult<()> {
        let user = PyUser::of(user)?;
        self.change(py, |exchange| exchange.request.user = user)
    }

    /// Name of the service that receives the request, or None if the route has none.
    #[getter]
    fn service(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.refuse_hidden(py, "service")?;
        let chosen = self.with(py, |exchange| {
            let named = exchange.hooks().and_then(|hooks| hooks.service.clone());
            let hosted = exchange.hooks().and_then(|hooks| hooks.hosted.as_ref());
            let chosen = named.or_else(|| hosted.and_then(|hosted| hosted.member.clone()));
            chosen.or_else(|| exchange.member().map(|member| member.service().into()))
        })?;
        Ok(chosen.or_else(|| self.0.about.service.clone()).map(Into::into))
    }

    /// Sends the request to another service. Raises `LookupError` if there is no service of that name, and `HookError`
    /// in the early stage.
    #[setter]
    fn set_service(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        if self.0.about.is_early() {
            return Err(hook_error(
                py,
                "an early hook cannot choose the service: set the path or the Host, which choose the route, or leave out \
                 stage=\"early\"",
            ));
        }
        if !self.0.about.services.contains(name) {
            return Err(PyLookupError::new_err(format!("there is no service {name:?}")));
        }
        self.change(py, |exchange| exchange.hook_visit().service = Some(name.into()))
    }

    /// A dict that all hooks of the exchange share.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.with(py, |_| ())?;
        Ok(self.0.state(py))
    }

    /// The body, for hooks with `body=True`. Raises `HookError` otherwise.
    #[getter]
    fn content<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let body = self.visit(py, |visit| visit.request_body.clone())?;
        let body = body.ok_or_else(|| {
            hook_error(
                py,
                "the body is not in memory: the hook has not asked for it (body=True), or it is over the bound",
            )
        })?;
        Ok(PyBytes::new(py, &body))
    }

    /// Tells what the request has really cost, for the limits of the route that have `settle`: for all of them, or for
    /// the one with this name. Raises `LookupError` if there is no such limit.
    #[pyo3(signature = (cost, *, name = None))]
    fn settle(&self, py: Python<'_>, cost: &Bound<'_, PyAny>, name: Option<&str>) -> PyResult<()> {
        settle::tell(self, py, cost, name)
    }

    /// Returns the body as an awaitable.
    fn body(&self, py: Python<'_>) -> PyResult<Ready> {
        Ok(Ready::new(self.content(py)?.into_any().unbind()))
    }

    /// Returns the body parsed as JSON, as an awaitable. Raises `ValueError` if it is not JSON.
    fn json(&self, py: Python<'_>) -> PyResult<Ready> {
        let loads = py.import(pyo3::intern!(py, "json"))?.getattr(pyo3::intern!(py, "loads"))?;
        Ok(Ready::new(loads.call1((self.content(py)?,))?.unbind()))
    }

    /// What is at a key of the request as a mapping. Raises `KeyError` if there is nothing.
    fn __getitem__<'py>(this: &Bound<'py, Self>, key: &str) -> PyResult<Bound<'py, PyAny>> {
        mapping::get(this, key)?.ok_or_else(|| PyKeyError::new_err(key.to_owned()))
    }

    /// Sets what is at a key. Raises `TypeError` for what cannot be set.
    fn __setitem__(this: &Bound<'_, Self>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        mapping::set(this, key, value)
    }

    /// Removes what is at a key. Raises `KeyError` if nothing is there that can be removed.
    fn __delitem__(this: &Bound<'_, Self>, key: &str) -> PyResult<()> {
        mapping::remove(this, key)
    }

    fn __contains__(this: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some(key) = mapping::key_of(key) else { return Ok(false) };
        Ok(mapping::get(this, &key)?.is_some())
    }

    fn __iter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        mapping::keys(this)?.call_method0("__iter__")
    }

    fn __len__(this: &Bound<'_, Self>) -> PyResult<usize> {
        Ok(mapping::keys(this)?.len())
    }

    /// The keys that have something.
    fn keys<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        mapping::keys(this)
    }

    /// What is at a key, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        this: &Bound<'py, Self>,
        key: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(mapping::get(this, key)?.or(default))
    }

    /// What is at a key. If there is nothing, sets it to `default` first.
    #[pyo3(signature = (key, default = None))]
    fn setdefault<'py>(
        this: &Bound<'py, Self>,
        key: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(found) = mapping::get(this, key)? {
            return Ok(Some(found));
        }
        let default = default.unwrap_or_else(|| this.py().None().into_bound(this.py()));
        mapping::set(this, key, &default)?;
        Ok(Some(default))
    }

    /// Sets what is at each key of a mapping.
    fn update(this: &Bound<'_, Self>, values: &Bound<'_, PyDict>) -> PyResult<()> {
        values.iter().try_for_each(|(key, value)| mapping::set(this, &key.extract::<String>()?, &value))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let shown = self.with(py, |exchange| {
            let method =
                String::from_utf8_lossy(exchange.request.head.method_span.of(&exchange.request.buffer)).into_owned();
            format!("<Request {method} {}>", String::from_utf8_lossy(&exchange.request.target.path))
        });
        shown.unwrap_or_else(|_| "<Request (over)>".to_owned())
    }
}

/// Returns the number of requests that Python holds in the whole process.
#[pyfunction]
pub(crate) fn live_requests() -> usize {
    LIVE.load(Ordering::Relaxed)
}
