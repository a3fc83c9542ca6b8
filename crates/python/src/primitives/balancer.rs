//! Load balancer: a service with its instances, their health and breakers, but without connections.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use pylae_core::Instant;
use pylae_core::service::{AttemptOutcome, PickInput, ServiceState, SuspendedPick, Tried, Unavailable, hash, sticky};
use pyo3::exceptions::{PyLookupError, PyValueError};
use pyo3::prelude::*;

use super::time::nanos;
use crate::errors::plan_error;
use crate::plan::parse_part;

/// A service with its instances.
#[pyclass(name = "LoadBalancer", frozen)]
pub(super) struct PyLoadBalancer(RwLock<Arc<ServiceState>>);

/// An instance in use until `end` is called.
#[pyclass(frozen)]
pub(super) struct Pick {
    service: Arc<ServiceState>,
    held: Mutex<Option<SuspendedPick>>,
    /// URL of the instance.
    #[pyo3(get)]
    url: String,
    /// Value for the sticky cookie.
    #[pyo3(get)]
    cookie: Option<String>,
}

fn build(service: &str, previous: Option<&ServiceState>, now: u64) -> PyResult<Arc<ServiceState>> {
    let state = ServiceState::build(&parse_part(service)?, previous, Instant::from_nanos(now));
    state.map(Arc::new).map_err(|problems| plan_error(&problems))
}

#[pymethods]
impl PyLoadBalancer {
    /// `service` is a service of the plan.
    #[new]
    fn make(service: &str, now: u64) -> PyResult<Self> {
        build(service, None, now).map(RwLock::new).map(Self)
    }

    /// Replaces settings and instances. Instances in both keep their state.
    fn apply(&self, service: &str, now: u64) -> PyResult<()> {
        let next = build(service, Some(&self.state()), now)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Picks an instance. If there is none, returns why, and how many nanoseconds to wait before the next try.
    #[pyo3(signature = (now, random, key, cookie, avoid))]
    fn pick(
        &self,
        now: u64,
        random: u64,
        key: Option<Vec<u8>>,
        cookie: Option<&str>,
        avoid: Vec<String>,
    ) -> (Option<Pick>, String, u64) {
        let service = self.state();
        let mut tried = Tried::default();
        for url in avoid {
            if let Some(index) = service.instances().position(|instance| instance.url() == url) {
                tried.insert(index);
            }
        }
        let input = PickInput {
            now: Instant::from_nanos(now),
            hash: key.as_deref().map(hash),
            sticky: cookie.and_then(|cookie| sticky::parse(cookie.as_bytes())),
            avoid: &tried,
            random,
        };
        let picked = match service.pick(&input) {
            Ok(picked) => picked,
            Err(reason) => {
                let wait =
                    if let Unavailable::BreakerOpen { retry_after } = reason { retry_after } else { Duration::ZERO };
                return (None, reason.to_string(), nanos(wait));
            }
        };
        let url = picked.instance().url().to_owned();
        let cookie = picked.sticky().map(|id| sticky::format(id).map(char::from).iter().collect());
        let held = Mutex::new(Some(picked.suspend()));
        (Some(Pick { service, held, url, cookie }), String::new(), 0)
    }

    /// Reports a health check of an instance. Returns what it changed, if anything.
    fn check(&self, url: &str, now: u64, ok: bool) -> PyResult<Option<String>> {
        let service = self.state();
        let reason = if ok { "success" } else { "failure" };
        let change = service.active_result(find(&service, url)?, Instant::from_nanos(now), ok, reason);
        Ok(change.map(|change| change.to_string()))
    }

    /// Drains an instance, or uses it again. Returns what that changed, if anything.
    fn set_draining(&self, url: &str, now: u64, draining: bool) -> PyResult<Option<String>> {
        let service = self.state();
        let change = service.set_draining(find(&service, url)?, Instant::from_nanos(now), draining);
        Ok(change.map(|change| change.to_string()))
    }

    /// Returns the state of the service and its instances as JSON.
    fn stats(&self, now: u64) -> String {
        serde_json::json!(self.state().snapshot(Instant::from_nanos(now))).to_string()
    }
}

impl PyLoadBalancer {
    fn state(&self) -> Arc<ServiceState> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn find(service: &ServiceState, url: &str) -> PyResult<usize> {
    let position = service.instances().position(|instance| instance.url() == url);
    position.ok_or_else(|| PyLookupError::new_err(format!("there is no instance {url}")))
}

impl Pick {
    fn take_pick(&self) -> Option<SuspendedPick> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl Pick {
    /// Reports the outcome of the attempt: a status, or one of the words. Returns the changes as the gateway logs them.
    #[pyo3(signature = (now, latency, status, word))]
    fn report(&self, now: u64, latency: u64, status: Option<u16>, word: &str) -> PyResult<Vec<String>> {
        let outcome = match (status, word) {
            (Some(status), _) => AttemptOutcome::Status(status),
            (None, "connect_failed") => AttemptOutcome::ConnectFailed,
            (None, "timeout") => AttemptOutcome::Timeout,
            (None, "reset") => AttemptOutcome::Reset,
            (None, "cancelled") => AttemptOutcome::Cancelled,
            (None, other) => return Err(PyValueError::new_err(format!("`{other}` is not an outcome"))),
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pick) = held.take() else { return Err(PyValueError::new_err("the attempt is over")) };
        let mut picked = self.service.resume(pick);
        let changes = picked.report(Instant::from_nanos(now), outcome, Duration::from_nanos(latency));
        *held = Some(picked.suspend());
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    /// Ends the attempt. Returns False if it was over already.
    fn end(&self) -> bool {
        self.take_pick().map(|pick| self.service.resume(pick)).is_some()
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.end();
    }
}
