//! The Python hooks of a route. The proxy calls them; only the native module knows the Python callables.

use pylae_core::hook::{HookCall, On};
use pylae_core::{Exchange, Problem};
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The hooks, in request order.
    calls: Vec<HookCall>,
}

/// The hooks of a route.
#[derive(Debug)]
pub struct Hooked(Config);

impl Policy for Hooked {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        Ok(Self(config))
    }

    fn body_limit(&self) -> Option<usize> {
        self.body_limit_for(&[On::Request, On::Around, On::Authenticate])
    }

    fn preview(&self, _exchange: &Exchange) -> String {
        let names = |before: bool| {
            let is_before = |on: On| matches!(on, On::Request | On::Around | On::Authenticate);
            let is_after = |on: On| !matches!(on, On::Request | On::Authenticate);
            let called = self.0.calls.iter().filter(|call| if before { is_before(call.on) } else { is_after(call.on) });
            called.map(|call| &*call.name).collect::<Vec<_>>().join(", ")
        };
        match (names(true), names(false)) {
            (before, after) if after.is_empty() => format!("calls {before}"),
            (before, after) if before.is_empty() => format!("calls {after} with the response"),
            (before, after) => format!("calls {before}, and with the response {after}"),
        }
    }
}

impl Hooked {
    /// Returns how many bytes of the response body the hooks need in memory, or None if no hook reads it.
    pub fn response_limit(&self) -> Option<usize> {
        self.body_limit_for(&[On::Response, On::Around])
    }

    /// Returns how many bytes of the body of an error the hooks look at, or None if no hook does.
    pub fn error_limit(&self) -> Option<u64> {
        self.0.calls.iter().filter_map(|call| call.error_body).max()
    }

    /// Returns true if any hook reads the response body, as a whole or in pieces.
    pub fn reads_response_body(&self) -> bool {
        self.response_limit().is_some() || self.0.calls.iter().any(|call| matches!(call.on, On::Chunks | On::Events))
    }

    fn body_limit_for(&self, on: &[On]) -> Option<usize> {
        let limit = self.0.calls.iter().filter(|call| on.contains(&call.on)).filter_map(|call| call.body).max()?;
        Some(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// The hooks, in request order.
    pub fn calls(&self) -> &[HookCall] {
        &self.0.calls
    }
}
