//! Cache: an HTTP cache (RFC 9111) for requests and responses that the program itself exchanges.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pylae_core::cache::{self, CacheOutcome, CacheRules, Purge, Settled, StoredResponse};
use pylae_core::{Exchange, Halt, Instant, Problem, User, Verdict};
use pylae_http::{Framing, Method};
use pylae_policies::cache::Config;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::message::{self, FieldLines};
use crate::errors::plan_error;
use crate::plan::parse_part;

/// Status, fields, and the part of the body to send. None is the body that was passed in.
type CachedReply = (u16, FieldLines, Option<Py<PyBytes>>);

/// The stored responses and the rules of the cache.
#[pyclass(name = "Cache", frozen)]
pub(super) struct PyCache {
    cache: Arc<cache::Cache>,
    rules: Arc<CacheRules>,
}

/// One request to the cache.
#[pyclass(name = "Lookup", frozen)]
pub(super) struct PyLookup {
    cache: Arc<cache::Cache>,
    exchange: Mutex<Exchange>,
    stored: Mutex<Option<StoredResponse>>,
    /// True if the request must not be forwarded.
    #[pyo3(get)]
    refused: bool,
}

#[pymethods]
impl PyCache {
    /// Creates a cache of `size` bytes. `settings` is the `cache` policy of a route in the plan.
    #[new]
    fn make(size: u64, settings: &str) -> PyResult<Self> {
        let settings: Config = parse_part(settings)?;
        Ok(Self { cache: cache::Cache::new(size), rules: Arc::new(settings.rules("")) })
    }

    /// Looks up a request. Times are since the Unix epoch.
    #[pyo3(signature = (now, method, target, headers, user))]
    fn lookup(
        &self,
        now: u64,
        method: &str,
        target: &str,
        headers: FieldLines,
        user: Option<String>,
    ) -> PyResult<PyLookup> {
        let mut exchange = message::request(method, target, &headers)?;
        exchange.request.origin.secure = target.starts_with("https:");
        exchange.request.user = user.map(|id| Arc::new(User { id, ..User::default() }));
        exchange.times.now = Instant::from_nanos(now);
        exchange.times.started = exchange.times.now;
        exchange.times.wall = Duration::from_nanos(now);
        let (stored, refused) = match cache::lookup(&self.cache, &self.rules, &mut exchange) {
            Verdict::Stored(stored) => (Some(stored), false),
            Verdict::Reject(_) => (None, true),
            _ => (None, false),
        };
        let cache = Arc::clone(&self.cache);
        Ok(PyLookup { cache, exchange: Mutex::new(exchange), stored: Mutex::new(stored), refused })
    }

    /// Invalidates all responses stored for the target's host and path, with any query.
    fn invalidate(&self, now: u64, target: &str, headers: FieldLines) -> PyResult<()> {
        let exchange = message::request("GET", target, &headers)?;
        self.cache.invalidate(&exchange.request.host, &exchange.request.target.path, Instant::from_nanos(now));
        Ok(())
    }

    /// Purges the responses that the JSON document selects, and returns their number.
    fn purge(&self, now: u64, purge: &str) -> PyResult<usize> {
        let purge: Purge = parse_part(purge)?;
        let purge = purge.canonicalize().map_err(|message| plan_error(&[Problem::at("", message)]))?;
        Ok(self.cache.purge(&purge, Instant::from_nanos(now)))
    }

    /// Returns the bytes and the number of keys held.
    fn usage(&self) -> (u64, u64) {
        let usage = self.cache.usage();
        (usage.bytes, usage.entries)
    }
}

#[pymethods]
impl PyLookup {
    /// Returns how the request was served so far.
    fn outcome(&self) -> Option<&'static str> {
        self.exchange().cache_visit().outcome.map(|outcome| match outcome {
            CacheOutcome::Hit => "hit",
            CacheOutcome::Stale => "stale",
            CacheOutcome::Revalidated => "revalidated",
            CacheOutcome::Miss => "miss",
            CacheOutcome::Bypass => "bypass",
        })
    }

    /// Returns the stored response, if it answers the request.
    fn reply(&self, py: Python<'_>) -> Option<CachedReply> {
        let stored = self.stored();
        stored.as_ref().map(|stored| reply(py, &self.exchange(), stored))
    }

    /// Returns the request to make in the background to refresh the stored response, if any. Returns it only once.
    fn refresh(&self, now: u64) -> PyResult<Option<PyLookup>> {
        let Some(mut fetch) = self.stored().as_mut().and_then(|stored| stored.refresh.take()) else { return Ok(None) };
        let (bytes, secure, user) = {
            let exchange = self.exchange();
            (exchange.request.buffer.clone(), exchange.request.origin.secure, exchange.request.user.clone())
        };
        let mut exchange = message::parse_request(bytes)?;
        exchange.request.origin.secure = secure;
        exchange.request.user = user;
        exchange.times.wall = Duration::from_nanos(now);
        exchange.times.started = Instant::from_nanos(now);
        fetch.begin_at(Instant::from_nanos(now), &mut exchange);
        exchange.cache_visit().set_fetch(fetch);
        let cache = Arc::clone(&self.cache);
        Ok(Some(Self { cache, exchange: Mutex::new(exchange), stored: Mutex::default(), refused: false }))
    }

    /// Returns the fields of the request to send to the service.
    fn headers(&self) -> FieldLines {
        message::request_lines(&self.exchange())
    }

    /// Takes the response of the service and returns the response for the client.
    fn answered(
        &self,
        py: Python<'_>,
        now: u64,
        status: u16,
        headers: FieldLines,
        body: &[u8],
    ) -> PyResult<CachedReply> {
        let mut exchange = self.exchange();
        let exchange = &mut *exchange;
        exchange.times.now = Instant::from_nanos(now);
        message::set_response(exchange, status, &headers)?;
        let method = exchange.request.head.method;
        cache::invalidate_changed(&self.cache, exchange);
        let bodiless = method == Method::Head || matches!(status, 204 | 304);
        let framing = if bodiless { Framing::None } else { Framing::Length(body.len() as u64) };
        match cache::on_response(exchange, &Arc::from(""), framing) {
            Settled::Relay => {
                let not_modified = exchange.response.status == 304 && status != 304;
                if let Some(cache) = exchange.cache_mut() {
                    cache.copy_body(body);
                }
                if let Some(cache) = exchange.cache_mut() {
                    cache.complete();
                }
                let body = not_modified.then(|| PyBytes::new(py, b"").unbind());
                Ok((exchange.response.status, message::response_lines(exchange), body))
            }
            Settled::Serve(stored) => Ok(reply(py, exchange, &stored)),
            Settled::Invalid => Err(PyValueError::new_err("304 answers a question that was not asked")),
        }
    }

    /// Returns the stored response to use instead if the service has failed, if any.
    fn failed(&self, py: Python<'_>, now: u64) -> Option<CachedReply> {
        let mut exchange = self.exchange();
        exchange.times.now = Instant::from_nanos(now);
        let stored = cache::on_failure(&mut exchange, &Halt::ConnectFailed)?;
        Some(reply(py, &exchange, &stored))
    }
}

impl PyLookup {
    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self) -> MutexGuard<'_, Option<StoredResponse>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Converts a stored response, whose head is in `exchange`.
fn reply(py: Python<'_>, exchange: &Exchange, stored: &StoredResponse) -> CachedReply {
    let has_body = exchange.request.head.method != Method::Head && exchange.response.status != 304;
    let body = if has_body { &stored.entry.body[stored.part.clone()] } else { &[] };
    (exchange.response.status, message::response_lines(exchange), Some(PyBytes::new(py, body).unbind()))
}
