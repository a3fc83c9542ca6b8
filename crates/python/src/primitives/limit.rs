//! Token bucket and sliding window, for one key and for many.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pylae_core::Instant;
use pylae_core::limit::{self, Charge, Clocks, LimitAlgorithm, LimitShape, MemoryCounterStore};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Whether the cost was admitted, what is left, nanoseconds until the same cost is admitted (None: never), and
/// nanoseconds until the whole limit is available.
pub(super) type CheckResult = (bool, u32, Option<u64>, u64);

/// What was charged by an estimate, and what settles it.
#[pyclass(name = "Reservation", frozen)]
pub(super) struct PyReservation {
    estimate: u32,
    settle: Mutex<Option<SettleCall>>,
}

/// Settles a reservation at a time by the true cost.
type SettleCall = Box<dyn FnOnce(u64, u32) -> PyResult<()> + Send>;

impl PyReservation {
    fn new(
        reservation: limit::Reservation,
        settle: impl FnOnce(u64, &limit::Reservation, u32) + Send + 'static,
    ) -> Self {
        Self::fallible(reservation, move |now, reservation, cost| {
            settle(now, reservation, cost);
            Ok(())
        })
    }

    /// A reservation that perhaps cannot be settled.
    pub(super) fn fallible(
        reservation: limit::Reservation,
        settle: impl FnOnce(u64, &limit::Reservation, u32) -> PyResult<()> + Send + 'static,
    ) -> Self {
        let estimate = reservation.cost();
        let settle: SettleCall = Box::new(move |now, cost| settle(now, &reservation, cost));
        Self { estimate, settle: Mutex::new(Some(settle)) }
    }

    fn take(&self) -> Option<SettleCall> {
        self.settle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl PyReservation {
    /// Replaces the estimate by the true cost. Returns False if it was settled before.
    fn settle(&self, now: u64, cost: u32) -> PyResult<bool> {
        self.take().map(|settle| settle(now, cost)).transpose().map(|settled| settled.is_some())
    }
}

impl Drop for PyReservation {
    /// A reservation that nobody settles is settled by its estimate.
    fn drop(&mut self) {
        if let Some(settle) = self.take() {
            // The limiter's clock does not go back. An estimate can be settled anywhere.
            let _ = settle(0, self.estimate);
        }
    }
}

/// A token bucket. Times are in nanoseconds.
#[pyclass(name = "TokenBucket", frozen)]
pub(super) struct PyTokenBucket(Arc<Mutex<limit::TokenBucket>>);

#[pymethods]
impl PyTokenBucket {
    #[new]
    fn make(limit: u32, per: u64, burst: Option<u32>) -> PyResult<Self> {
        wrap(limit::TokenBucket::new(limit, Duration::from_nanos(per), burst)).map(Self)
    }

    /// Charges `cost`, or nothing if it is refused.
    fn check(&self, now: u64, cost: u32) -> CheckResult {
        to_result(lock(&self.0).check(Instant::from_nanos(now), cost))
    }

    /// Charges `cost` as an estimate, or nothing if it is refused.
    fn reserve(&self, now: u64, cost: u32) -> (CheckResult, PyReservation) {
        let (decision, reservation) = lock(&self.0).reserve(Instant::from_nanos(now), cost);
        let limiter = Arc::clone(&self.0);
        let settle = move |now, reservation: &limit::Reservation, cost| {
            lock(&limiter).settle(Instant::from_nanos(now), reservation, cost);
        };
        (to_result(decision), PyReservation::new(reservation, settle))
    }
}

/// A sliding window. Times are in nanoseconds.
#[pyclass(name = "SlidingWindow", frozen)]
pub(super) struct PySlidingWindow(Arc<Mutex<limit::SlidingWindow>>);

#[pymethods]
impl PySlidingWindow {
    #[new]
    fn make(limit: u32, per: u64) -> PyResult<Self> {
        wrap(limit::SlidingWindow::new(limit, Duration::from_nanos(per))).map(Self)
    }

    /// Charges `cost`, or nothing if it is refused.
    fn check(&self, now: u64, cost: u32) -> CheckResult {
        to_result(lock(&self.0).check(Instant::from_nanos(now), cost))
    }

    /// Charges `cost` as an estimate, or nothing if it is refused.
    fn reserve(&self, now: u64, cost: u32) -> (CheckResult, PyReservation) {
        let (decision, reservation) = lock(&self.0).reserve(Instant::from_nanos(now), cost);
        let limiter = Arc::clone(&self.0);
        let settle = move |now, reservation: &limit::Reservation, cost| {
            lock(&limiter).settle(Instant::from_nanos(now), reservation, cost);
        };
        (to_result(decision), PyReservation::new(reservation, settle))
    }
}

/// Limits by keys, in the table that the gateway keeps them in. Times are in nanoseconds.
#[pyclass(name = "KeyedLimiter", frozen)]
pub(super) struct PyKeyedLimiter {
    store: Arc<MemoryCounterStore>,
    algorithm: LimitAlgorithm,
    /// Set by the first reservation: what is needed to settle is kept for each key from then on.
    settled: AtomicBool,
}

#[pymethods]
impl PyKeyedLimiter {
    /// `sliding` chooses the sliding window instead of the token bucket. Holds at most `max_keys` keys.
    #[new]
    fn make(sliding: bool, max_keys: usize) -> Self {
        let algorithm = if sliding { LimitAlgorithm::SlidingWindow } else { LimitAlgorithm::TokenBucket };
        Self { store: Arc::new(MemoryCounterStore::new(max_keys)), algorithm, settled: AtomicBool::new(false) }
    }

    /// Charges `cost` to `key`, or nothing if it is refused. Figures that are new to a key keep its used share.
    fn check(&self, key: Vec<u8>, limit: u32, per: u64, now: u64, cost: u32) -> PyResult<CheckResult> {
        let (result, reserved) = self.charge(key, limit, per, now, cost)?;
        // What is taken is settled: it is no estimate.
        drop(reserved);
        Ok(result)
    }

    /// Like `check`, as an estimate.
    fn reserve(
        &self,
        key: Vec<u8>,
        limit: u32,
        per: u64,
        now: u64,
        cost: u32,
    ) -> PyResult<(CheckResult, PyReservation)> {
        self.settled.store(true, Ordering::Relaxed);
        let (result, reserved) = self.charge(key, limit, per, now, cost)?;
        Ok((result, reserved.unwrap_or_else(|| PyReservation::new(limit::Reservation::default(), |_, _, _| ()))))
    }

    /// Number of keys, including idle ones.
    fn keys(&self) -> usize {
        self.store.keys()
    }
}

impl PyKeyedLimiter {
    /// Charges `cost` to `key`. Returns a reservation if there are any.
    fn charge(
        &self,
        key: Vec<u8>,
        limit: u32,
        per: u64,
        now: u64,
        cost: u32,
    ) -> PyResult<(CheckResult, Option<PyReservation>)> {
        let shape = LimitShape::new(self.algorithm, limit, Duration::from_nanos(per), None).map_err(invalid)?;
        let settled = self.settled.load(Ordering::Relaxed);
        let shape = if settled { shape.with_settlement() } else { shape };
        let (limit, at) = (self.store.register("", shape).map_err(invalid)?, at(now));
        let mut charges = [Charge::new(&limit, &key, cost)];
        // The decision says the same.
        let _ = self.store.check_all(&mut charges, at);
        let (result, reservation) = (to_result(charges[0].decision), charges[0].reservation(at));
        let reserved = settled.then(|| {
            let store = Arc::clone(&self.store);
            PyReservation::new(reservation, move |now, reservation, cost| {
                store.settle(&limit, &key, reservation, cost, self::at(now));
            })
        });
        Ok((result, reserved))
    }
}

fn at(now: u64) -> Clocks {
    Clocks { now: Instant::from_nanos(now), wall: Duration::ZERO }
}

pub(super) fn invalid(error: limit::LimitError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn lock<T>(limiter: &Mutex<T>) -> MutexGuard<'_, T> {
    limiter.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wrap<T>(result: Result<T, limit::LimitError>) -> PyResult<Arc<Mutex<T>>> {
    result.map(|limiter| Arc::new(Mutex::new(limiter))).map_err(invalid)
}

pub(super) fn to_result(decision: limit::Decision) -> CheckResult {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).ok();
    let reset = nanos(decision.reset).unwrap_or(u64::MAX);
    (decision.admitted, decision.remaining, nanos(decision.retry_after), reset)
}
