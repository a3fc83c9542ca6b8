//! What runs before a route is looked for, and around everything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use pylae_core::Problem;
use pylae_core::hook::Hooks;
use pylae_policies::{Chain, Parts};
use serde_json::Value;

use crate::telemetry::metrics::Series;

/// The policies that may stand there: they decide by the address alone.
const ALLOWED: &[&str] = &["ip_access", "address_limit", "hooks"];

/// The early stage, ready to serve.
pub(crate) struct EarlyStage {
    pub(crate) chain: Chain,
    /// The early hooks, in a running engine.
    pub(crate) hooks: Option<Arc<dyn Hooks>>,
    /// What its policies cost, in a running engine.
    pub(crate) series: Option<Arc<Series>>,
}

impl EarlyStage {
    /// Returns None if there is nothing to do. Reports all problems.
    pub(super) fn build(policies: &BTreeMap<String, Value>, parts: &Parts<'_>) -> Result<Option<Self>, Vec<Problem>> {
        if policies.is_empty() {
            return Ok(None);
        }
        let strange: Vec<Problem> = policies
            .keys()
            .filter(|name| !ALLOWED.contains(&name.as_str()))
            .map(|name| Problem::at(name, format!("only {} run early", ALLOWED.join(", "))))
            .collect();
        if !strange.is_empty() {
            return Err(strange);
        }
        Chain::build(policies, parts).map(|chain| Some(Self { chain, hooks: None, series: None }))
    }
}
