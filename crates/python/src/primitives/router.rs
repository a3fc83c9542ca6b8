//! Router: which route takes a request.

use std::sync::{Mutex, PoisonError};

use pylae_core::plan;
use pylae_core::route::{self, Found, Lookup, Scratch};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::message::{self, Lines};
use crate::errors::to_python;
use crate::plan::part;

/// The place of the route, its parameters, and the methods that the path has.
type Told = (Option<usize>, Vec<(String, String)>, String);

/// Compiled routes, and memory for lookups.
#[pyclass(frozen)]
pub(super) struct Router {
    router: route::Router,
    scratch: Mutex<Scratch>,
}

#[pymethods]
impl Router {
    /// `routes` are the routes of a plan.
    #[new]
    fn make(routes: &str) -> PyResult<Self> {
        let routes: Vec<plan::Route> = part(routes)?;
        let router = route::Router::build(&routes).map_err(|problems| to_python(&problems))?;
        Ok(Self { router, scratch: Mutex::default() })
    }

    /// Paths and messages of what is doubtful.
    fn warnings(&self) -> Vec<(String, String)> {
        let pair = |problem: &pylae_core::Problem| (problem.path.clone(), problem.message.clone());
        self.router.warnings().iter().map(pair).collect()
    }

    /// The route that takes the request, if any; otherwise the methods that would have been taken there.
    fn find(&self, method: &str, target: &str, headers: Lines) -> PyResult<Told> {
        let exchange = message::request(method, target, &headers)?;
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.router.find(&Lookup::of(&exchange), &mut scratch);
        // Whom routes let in is not asked here.
        let judged = self.router.judge_slashes(&exchange.request.target, found, |_| Found::NotFound, |_, _| true);
        judged.map_err(|error| PyValueError::new_err(error.0))?;
        Ok(match found {
            Found::Route(index) => {
                let values =
                    scratch.captures().iter().map(|span| message::text(span.of(exchange.request.target.judged())));
                let names = self.router.params(index).iter().map(ToString::to_string);
                (Some(index), names.zip(values).collect(), String::new())
            }
            Found::MethodNotAllowed => (None, Vec::new(), scratch.allow().to_owned()),
            Found::NotFound => (None, Vec::new(), String::new()),
        })
    }
}
