//! A cost that is charged in a store.

use std::sync::Arc;

use pylae_core::limit::{Charge, Clocks, Decision, Limit, Reservation};
use pylae_proxy::SharedLimits;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::primitives::limit::{CheckResult, PyReservation, to_result};

/// A cost that was charged, or is about to be.
pub(super) struct StoreCharge {
    pub(super) limits: Arc<SharedLimits>,
    pub(super) limit: Limit,
    pub(super) key: Vec<u8>,
    pub(super) cost: u32,
    pub(super) at: Clocks,
}

impl StoreCharge {
    /// What Python gets.
    pub(super) fn decided(self, decision: Decision) -> (CheckResult, PyReservation) {
        let mut charge = Charge::new(&self.limit, &self.key, self.cost);
        charge.decision = decision;
        let reservation = charge.reservation(self.at);
        let settled = PyReservation::fallible(reservation, move |_, reservation, cost| self.settle(reservation, cost));
        (to_result(decision), settled)
    }

    fn settle(&self, reservation: &Reservation, cost: u32) -> PyResult<()> {
        if cost == reservation.cost() {
            // As it was charged.
            return Ok(());
        }
        if self.limits.is_inherited() {
            return Err(PyValueError::new_err(
                "it belongs to the process that has reserved it, which has forked this one",
            ));
        }
        self.limits.counters().settle(&self.limit, &self.key, reservation, cost, self.limits.clocks());
        Ok(())
    }
}
