//! Limits in a store that several processes share.

mod charge;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use pylae_core::limit::{Charge, ChargeOutcome, Decision, LimitAlgorithm, LimitMode, LimitShape};
use pylae_core::plan::ClusterPlan;
use pylae_proxy::SharedLimits;
use pyo3::prelude::*;

use self::charge::StoreCharge;
pub(super) use self::wait::{PyStoreWait, PyStoreWakes};
use super::limit::{invalid, to_result};
use crate::errors::plan_error;
use crate::{gil, plan};

/// The limit, the nanoseconds in which it is used up, and the burst of a token bucket.
type LimitFigures = (u32, u64, Option<u32>);

/// A store, and the thread that drives it.
#[pyclass(name = "Store", frozen)]
pub(super) struct PyStore(Arc<SharedLimits>);

#[pymethods]
impl PyStore {
    /// Starts the thread. `plan` is that of a cluster. Knows at most `max_keys` keys.
    #[new]
    fn start(py: Python<'_>, plan: &str, max_keys: usize) -> PyResult<Self> {
        let plan: ClusterPlan = plan::parse_part(plan)?;
        let started = gil::detached(py, || SharedLimits::start(&plan, max_keys));
        started.map(|limits| Self(Arc::new(limits))).map_err(|problems| plan_error(&problems))
    }

    /// Raises `PlanError` with what can be seen to be wrong without the servers.
    #[staticmethod]
    fn check(py: Python<'_>, plan: &str) -> PyResult<()> {
        let plan: ClusterPlan = plan::parse_part(plan)?;
        gil::detached(py, || SharedLimits::check(&plan)).map_err(|problems| plan_error(&problems))
    }

    /// Whether the store answers.
    #[getter]
    fn available(&self) -> bool {
        self.0.is_available()
    }

    /// Why it does not, or None.
    #[getter]
    fn problem(&self) -> Option<String> {
        self.0.problem()
    }

    /// How many processes share the limits.
    #[getter]
    fn nodes(&self) -> usize {
        self.0.nodes()
    }

    /// Number of keys that are known here, including idle ones.
    fn keys(&self) -> usize {
        self.0.keys()
    }

    /// Waits up to `patience` seconds for records of the log. Returns them as JSON, or None after the end.
    fn read_log(&self, py: Python<'_>, patience: f64) -> Option<String> {
        let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
        let records = gil::detached(py, || self.0.read_log(patience))?;
        Some(serde_json::json!(records).to_string())
    }

    /// Tells the store the rest, and ends the thread.
    fn close(&self, py: Python<'_>) {
        gil::detached(py, || self.0.close());
    }
}

/// A limit in a store, for many keys.
#[pyclass(name = "StoreLimit", frozen)]
pub(super) struct PyStoreLimit {
    limits: Arc<SharedLimits>,
    identity: String,
    algorithm: LimitAlgorithm,
    mode: LimitMode,
}

#[pymethods]
impl PyStoreLimit {
    /// `identity` is that of the limit in the store. `sliding` chooses the sliding window instead of the token bucket.
    #[new]
    fn make(store: &PyStore, identity: String, sliding: bool, exact: bool) -> Self {
        let algorithm = if sliding { LimitAlgorithm::SlidingWindow } else { LimitAlgorithm::TokenBucket };
        let mode = if exact { LimitMode::Exact } else { LimitMode::Fast };
        Self { limits: Arc::clone(&store.0), identity, algorithm, mode }
    }

    /// Charges `cost` to `key`, or nothing if it is refused. Returns what is decided, or a `StoreWait`.
    fn check<'py>(
        &self,
        py: Python<'py>,
        key: Vec<u8>,
        figures: LimitFigures,
        cost: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.charge(key, figures, cost)? {
            Ok((_, decision)) => Ok(to_result(decision).into_pyobject(py)?.into_any()),
            Err(wait) => Ok(Bound::new(py, wait)?.into_any()),
        }
    }

    /// Like `check`, as an estimate. Returns what is decided with a `Reservation`, or a `StoreWait`.
    fn reserve<'py>(
        &self,
        py: Python<'py>,
        key: Vec<u8>,
        figures: LimitFigures,
        cost: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.charge(key, figures, cost)? {
            Ok((charged, decision)) => Ok(charged.decided(decision).into_pyobject(py)?.into_any()),
            Err(wait) => Ok(Bound::new(py, wait)?.into_any()),
        }
    }
}

impl PyStoreLimit {
    fn charge(
        &self,
        key: Vec<u8>,
        (limit, per, burst): LimitFigures,
        cost: u32,
    ) -> PyResult<Result<(StoreCharge, Decision), PyStoreWait>> {
        let shape = LimitShape::new(self.algorithm, limit, Duration::from_nanos(per), burst).map_err(invalid)?;
        let limit = self.limits.counters().register(&self.identity, shape, self.mode).map_err(invalid)?;
        let charged = StoreCharge { limits: Arc::clone(&self.limits), limit, key, cost, at: self.limits.clocks() };
        let mut charges = [Charge::new(&charged.limit, &charged.key, cost)];
        match self.limits.counters().check_all(&mut charges, charged.at) {
            // The decision says the same.
            ChargeOutcome::Decided(_) => {
                let decision = charges[0].decision;
                Ok(Ok((charged, decision)))
            }
            ChargeOutcome::Pending(pending) => Ok(Err(PyStoreWait::new(charged, pending))),
        }
    }
}
