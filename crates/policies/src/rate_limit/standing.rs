//! Reports and resets the state of a limit for one key.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use pylae_core::expression::Expression;
use pylae_core::limit::key::KeyPart;
use pylae_core::limit::{Clocks, KeySource, LimitKey};
use serde::{Deserialize, Serialize};

use super::RateLimit;

/// Identifies a key. Parts that the limit's key does not use are ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    user: Option<String>,
    ip: Option<IpAddr>,
    /// By name in lower case.
    headers: BTreeMap<String, String>,
}

/// The state of a limit for one key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Requests in `per`, or concurrent exchanges.
    pub limit: u32,
    /// Seconds; None for a limit of concurrent exchanges.
    pub per: Option<f64>,
    /// What is left of the limit.
    pub remaining: u32,
    /// Seconds until the whole limit is available again.
    pub reset: f64,
    /// Whether this call has reset the counter.
    pub forgotten: bool,
}

struct Named<'a> {
    holder: &'a Holder,
    route: &'a str,
}

impl KeySource for Named<'_> {
    fn user_id(&self) -> Option<&[u8]> {
        self.holder.user.as_deref().map(str::as_bytes)
    }

    fn client_ip(&self) -> IpAddr {
        // Used only by keys that need an address, and those are refused without one.
        self.holder.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    fn header<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.holder.headers.get(name).map(String::as_bytes)
    }

    fn route(&self) -> &str {
        self.route
    }

    fn write_expression(&self, _expression: &Expression, _out: &mut Vec<u8>) -> bool {
        // Keys with an expression are refused before.
        false
    }
}

impl Holder {
    fn write(&self, key: &LimitKey, route: &str) -> Result<Vec<u8>, String> {
        if key.expressions().next().is_some() {
            return Err(format!("the key of this limit is `{key}`, which takes a request"));
        }
        for part in &key.0 {
            let missing = match part {
                KeyPart::Auto => self.user.is_none() && self.ip.is_none(),
                KeyPart::Ip => self.ip.is_none(),
                _ => false,
            };
            if missing {
                return Err(format!("the key of this limit is `{key}`: give an address or a user"));
            }
        }
        let mut out = Vec::new();
        key.write_key(&Named { holder: self, route }, &mut out);
        Ok(out)
    }
}

impl RateLimit {
    /// Returns the state of limit `name` for `holder`. With `forget`, resets the counter first. Concurrent exchanges
    /// are in flight rather than counted, so `forget` does not affect them.
    pub fn standing(&self, name: &str, holder: &Holder, at: Clocks, forget: bool) -> Result<Standing, String> {
        if let Some(limit) = self.limits.iter().find(|limit| &*limit.name == name) {
            let key = holder.write(&limit.key, &self.route)?;
            let counters = self.counters_of(limit);
            let forgotten = forget && counters.reset(&limit.limit, &key);
            let (shape, known) = (limit.limit.shape(), counters.peek(&limit.limit, &key, at));
            let (remaining, reset) =
                known.map_or((shape.capacity(), 0.0), |decision| (decision.remaining, decision.reset.as_secs_f64()));
            let per = Some(shape.per().as_secs_f64());
            return Ok(Standing { limit: shape.limit(), per, remaining, reset, forgotten });
        }
        let Some(concurrency) = self.concurrency.as_ref().filter(|concurrency| &*concurrency.name == name) else {
            return Err(format!("there is no limit `{name}`"));
        };
        let key = holder.write(&concurrency.key, &self.route)?;
        let remaining = self.places_left(concurrency, &key, at.now).unwrap_or(concurrency.limit);
        Ok(Standing { limit: concurrency.limit, per: None, remaining, reset: 0.0, forgotten: false })
    }
}
