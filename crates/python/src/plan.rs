//! Parses, checks and explains plans without running them.

use pylae_core::Problem;
use pylae_policies::Chain;
use pyo3::prelude::*;
use serde::de::DeserializeOwned;

use crate::errors::plan_error;
use crate::gil;

/// Parses a plan. Problems carry the path of the invalid part.
pub(crate) fn parse(json: &str) -> Result<pylae_core::Plan, Vec<Problem>> {
    deserialize(json)
}

/// Parses a part of a plan as Python compiled it.
pub(crate) fn parse_part<T: DeserializeOwned>(json: &str) -> PyResult<T> {
    deserialize(json).map_err(|problems| plan_error(&problems))
}

fn deserialize<T: DeserializeOwned>(json: &str) -> Result<T, Vec<Problem>> {
    // To know the path at every step costs as much as all the rest: only for what is wrong.
    if let Ok(found) = serde_json::from_str(json) {
        return Ok(found);
    }
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json))
        .map_err(|error| vec![Problem::at(error.path().to_string(), error.inner().to_string())])
}

/// Returns all problems and warnings of a plan: `{"problems": [...], "warnings": [...]}`.
#[pyfunction]
pub(crate) fn check(py: Python<'_>, plan: &str) -> String {
    gil::detached(py, || {
        let checked = parse(plan).and_then(pylae_proxy::check);
        let (problems, warnings) = match checked {
            Ok(warnings) => (Vec::new(), warnings),
            Err(problems) => (problems, Vec::new()),
        };
        serde_json::json!({ "problems": problems, "warnings": warnings }).to_string()
    })
}

/// Explains what the plan would do with a request, without opening a socket. `request` is
/// `{"method", "target", "headers": [[name, value], ...], "client", "secure"}`.
#[pyfunction]
pub(crate) fn explain(py: Python<'_>, plan: &str, request: &str) -> PyResult<String> {
    gil::detached(py, || {
        let question = serde_json::from_str(request).map_err(|error| vec![Problem::at("", error.to_string())])?;
        let explanation = pylae_proxy::explain(parse(plan)?, &question)?;
        Ok(serde_json::json!(explanation).to_string())
    })
    .map_err(|problems: Vec<Problem>| plan_error(&problems))
}

/// Decides requests as the gateway would, without opening a socket. `requests` is a list of requests as `explain` takes
/// them. Returns a list with what was decided for each, or with its problems.
#[pyfunction]
pub(crate) fn decide(py: Python<'_>, plan: &str, requests: &str) -> PyResult<String> {
    gil::detached(py, || {
        let questions: Vec<_> =
            serde_json::from_str(requests).map_err(|error| vec![Problem::at("", error.to_string())])?;
        let decided = pylae_proxy::decide_all(&parse(plan)?, &questions)?;
        let told = decided.into_iter().map(|one| match one {
            Ok(decided) => serde_json::json!({ "decided": decided }),
            Err(problems) => serde_json::json!({ "problems": problems }),
        });
        Ok(told.collect::<serde_json::Value>().to_string())
    })
    .map_err(|problems: Vec<Problem>| plan_error(&problems))
}

/// Deserializes the configuration of a policy and serializes it again, to compare both sides.
#[pyfunction]
pub(crate) fn echo_policy(name: &str, config: &str) -> PyResult<String> {
    let config = serde_json::from_str(config).map_err(|error| plan_error(&[Problem::at("", error.to_string())]))?;
    Chain::echo(name, &config).map(|echo| echo.to_string()).map_err(|problems| plan_error(&problems))
}
