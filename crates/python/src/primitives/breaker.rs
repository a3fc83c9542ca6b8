//! Circuit breaker.

use std::sync::{Arc, Mutex, PoisonError};

use pylae_core::Instant;
use pylae_core::service::breaker::{self, Breaker, BreakerRules, BreakerState};
use pyo3::prelude::*;

use super::time::nanos;
use crate::plan::parse_part;

/// A breaker and its rules.
#[pyclass(name = "CircuitBreaker", frozen)]
pub(super) struct PyCircuitBreaker(Arc<State>);

struct State {
    rules: BreakerRules,
    breaker: Breaker,
}

/// Permission for one attempt. It ends once.
#[pyclass(name = "Permit", frozen)]
pub(super) struct PyPermit {
    state: Arc<State>,
    permit: Mutex<Option<breaker::BreakerPermit>>,
}

#[pymethods]
impl PyCircuitBreaker {
    /// `settings` is the `circuit_breaker` of a service in the plan.
    #[new]
    fn make(settings: &str) -> PyResult<Self> {
        let rules = BreakerRules::from_plan(&parse_part(settings)?);
        Ok(Self(Arc::new(State { rules, breaker: Breaker::default() })))
    }

    /// Returns a permit, or how many nanoseconds to wait before the next try (0: until a probe has ended).
    fn admit(&self, now: u64) -> (Option<PyPermit>, u64) {
        let State { rules, breaker } = &*self.0;
        match breaker.admit(rules, Instant::from_nanos(now)) {
            Ok(permit) => (Some(PyPermit { state: Arc::clone(&self.0), permit: Mutex::new(Some(permit)) }), 0),
            Err(wait) => (None, nanos(wait)),
        }
    }

    /// Returns the state, and for how many nanoseconds the breaker still refuses all attempts.
    fn position(&self, now: u64) -> (&'static str, u64) {
        let (position, left) = self.0.breaker.position(Instant::from_nanos(now));
        let name = match position {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        };
        (name, nanos(left))
    }

    /// Returns True if a response with `status` counts as a failure.
    fn is_failure(&self, status: u16) -> bool {
        self.0.rules.is_failure(status)
    }
}

impl PyPermit {
    fn take_permit(&self) -> Option<breaker::BreakerPermit> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl PyPermit {
    /// Reports success or failure and ends the attempt. Returns False if it was over already.
    fn report(&self, now: u64, ok: bool) -> bool {
        let State { rules, breaker } = &*self.state;
        let permit = self.take_permit();
        if let Some(permit) = &permit {
            breaker.record(rules, permit, Instant::from_nanos(now), ok);
        }
        permit.is_some()
    }

    /// Ends the attempt without an outcome. Returns False if it was over already.
    fn release(&self) -> bool {
        let permit = self.take_permit();
        if let Some(permit) = &permit {
            self.state.breaker.release(permit);
        }
        permit.is_some()
    }
}

impl Drop for PyPermit {
    fn drop(&mut self) {
        self.release();
    }
}
