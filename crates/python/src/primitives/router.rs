//! Router: matches requests to routes.

use std::sync::{Mutex, PoisonError};

use pylae_core::plan;
use pylae_core::route::{self, RouteMatch, RouteQuery, Scratch};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::message::{self, FieldLines};
use crate::errors::plan_error;
use crate::plan::parse_part;

/// Index of the route, its parameters, and the methods that the path allows.
type RouteResult = (Option<usize>, Vec<(String, String)>, String);

/// Compiled routes, and scratch memory for matching.
#[pyclass(name = "Router", frozen)]
pub(super) struct PyRouter {
    router: route::Router,
    scratch: Mutex<Scratch>,
}

#[pymethods]
impl PyRouter {
    /// `routes` are the routes of a plan.
    #[new]
    fn make(routes: &str) -> PyResult<Self> {
        let routes: Vec<plan::RoutePlan> = parse_part(routes)?;
        let router = route::Router::build(&routes).map_err(|problems| plan_error(&problems))?;
        Ok(Self { router, scratch: Mutex::default() })
    }

    /// Returns the paths and messages of all warnings.
    fn warnings(&self) -> Vec<(String, String)> {
        let pair = |problem: &pylae_core::Problem| (problem.path.clone(), problem.message.clone());
        self.router.warnings().iter().map(pair).collect()
    }

    /// Returns the route that matches the request, or else the methods that the path allows.
    fn find(&self, method: &str, target: &str, headers: FieldLines) -> PyResult<RouteResult> {
        let exchange = message::request(method, target, &headers)?;
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.router.find(&RouteQuery::of(&exchange), &mut scratch);
        // All routes count as equally accessible: there are no policies here.
        let judged = self.router.check_slashes(&exchange.request.target, found, |_| RouteMatch::NotFound, |_, _| true);
        judged.map_err(|error| PyValueError::new_err(error.0))?;
        Ok(match found {
            RouteMatch::Route(index) => {
                let values = scratch
                    .captures()
                    .iter()
                    .map(|span| message::text(span.of(exchange.request.target.routing_path())));
                let names = self.router.params(index).iter().map(ToString::to_string);
                (Some(index), names.zip(values).collect(), String::new())
            }
            RouteMatch::MethodNotAllowed => (None, Vec::new(), scratch.allow().to_owned()),
            RouteMatch::NotFound => (None, Vec::new(), String::new()),
        })
    }
}
