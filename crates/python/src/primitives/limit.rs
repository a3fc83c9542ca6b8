//! Token bucket and sliding window, for one key and for many.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pylae_core::Instant;
use pylae_core::limit::{self, Charge, Clocks, LimitAlgorithm, LimitShape, MemoryCounterStore};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Whether the cost was admitted, what is left, nanoseconds until the same cost is admitted (None: never), and
/// nanoseconds until the whole limit is available.
type CheckResult = (bool, u32, Option<u64>, u64);

/// A token bucket. Times are in nanoseconds.
#[pyclass(name = "TokenBucket", frozen)]
pub(super) struct PyTokenBucket(Mutex<limit::TokenBucket>);

#[pymethods]
impl PyTokenBucket {
    #[new]
    fn make(limit: u32, per: u64, burst: Option<u32>) -> PyResult<Self> {
        wrap(limit::TokenBucket::new(limit, Duration::from_nanos(per), burst)).map(Self)
    }

    /// Charges `cost`, or nothing if it is refused.
    fn check(&self, now: u64, cost: u32) -> CheckResult {
        to_result(self.0.lock().unwrap_or_else(PoisonError::into_inner).check(Instant::from_nanos(now), cost))
    }
}

/// A sliding window. Times are in nanoseconds.
#[pyclass(name = "SlidingWindow", frozen)]
pub(super) struct PySlidingWindow(Mutex<limit::SlidingWindow>);

#[pymethods]
impl PySlidingWindow {
    #[new]
    fn make(limit: u32, per: u64) -> PyResult<Self> {
        wrap(limit::SlidingWindow::new(limit, Duration::from_nanos(per))).map(Self)
    }

    /// Charges `cost`, or nothing if it is refused.
    fn check(&self, now: u64, cost: u32) -> CheckResult {
        to_result(self.0.lock().unwrap_or_else(PoisonError::into_inner).check(Instant::from_nanos(now), cost))
    }
}

/// Limits by keys, in the table that the gateway keeps them in. Times are in nanoseconds.
#[pyclass(name = "KeyedLimiter", frozen)]
pub(super) struct PyKeyedLimiter {
    store: MemoryCounterStore,
    algorithm: LimitAlgorithm,
}

#[pymethods]
impl PyKeyedLimiter {
    /// `sliding` chooses the sliding window instead of the token bucket. Holds at most `max_keys` keys.
    #[new]
    fn make(sliding: bool, max_keys: usize) -> Self {
        let algorithm = if sliding { LimitAlgorithm::SlidingWindow } else { LimitAlgorithm::TokenBucket };
        Self { store: MemoryCounterStore::new(max_keys), algorithm }
    }

    /// Charges `cost` to `key`, or nothing if it is refused. Figures that are new to a key keep its used share.
    fn check(&self, key: Vec<u8>, limit: u32, per: u64, now: u64, cost: u32) -> PyResult<CheckResult> {
        let invalid = |error: limit::LimitError| PyValueError::new_err(error.to_string());
        let shape = LimitShape::new(self.algorithm, limit, Duration::from_nanos(per), None).map_err(invalid)?;
        let limit = self.store.register("", shape).map_err(invalid)?;
        let mut charges = [Charge::new(&limit, &key, cost)];
        let at = Clocks { now: Instant::from_nanos(now), wall: Duration::ZERO };
        // The decision says the same.
        let _ = self.store.check_all(&mut charges, at);
        Ok(to_result(charges[0].decision))
    }

    /// Number of keys, including idle ones.
    fn keys(&self) -> usize {
        self.store.keys()
    }
}

fn wrap<T>(result: Result<T, limit::LimitError>) -> PyResult<Mutex<T>> {
    result.map(Mutex::new).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn to_result(decision: limit::Decision) -> CheckResult {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).ok();
    let reset = nanos(decision.reset).unwrap_or(u64::MAX);
    (decision.admitted, decision.remaining, nanos(decision.retry_after), reset)
}
