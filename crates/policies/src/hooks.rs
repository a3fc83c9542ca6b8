//! Python hooks: which ones a route has. Calling them is the proxy's, and what they are only the native module knows.

use pylae_core::hook::{Call, On};
use pylae_core::{Exchange, Problem};
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The hooks in the order in which a request meets them.
    calls: Vec<Call>,
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
        let wanted = self.0.calls.iter().filter(|call| call.on != On::Response).filter_map(|call| call.body).max()?;
        Some(usize::try_from(wanted).unwrap_or(usize::MAX))
    }

    fn preview(&self, _exchange: &Exchange) -> String {
        let names = |other: On| {
            let called = self.0.calls.iter().filter(|call| call.on != other);
            called.map(|call| &*call.name).collect::<Vec<_>>().join(", ")
        };
        match (names(On::Response), names(On::Request)) {
            (before, after) if after.is_empty() => format!("calls {before}"),
            (before, after) if before.is_empty() => format!("calls {after} with the response"),
            (before, after) => format!("calls {before}, and with the response {after}"),
        }
    }
}

impl Hooked {
    /// The hooks in the order in which a request meets them.
    pub fn calls(&self) -> &[Call] {
        &self.0.calls
    }
}
