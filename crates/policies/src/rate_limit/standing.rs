//! How a limit stands for one key, for those who ask and those who reset it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use pylae_core::limit::key::KeyPart;
use pylae_core::limit::{Charge, Clocks, KeySource, LimitKey};
use serde::{Deserialize, Serialize};

use super::RateLimit;

/// Whose key is meant. What the key of the limit does not depend on is ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    user: Option<String>,
    ip: Option<IpAddr>,
    /// By name in lower case.
    headers: BTreeMap<String, String>,
}

/// How a limit stands for one key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Requests in `per`, or at once.
    pub limit: u32,
    /// Seconds; none for exchanges at once.
    pub per: Option<f64>,
    /// What is left now.
    pub remaining: u32,
    /// Seconds until all of it is.
    pub reset: f64,
    /// Whether something was forgotten just now.
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
        // Keys that need an address are only written if there is one.
        self.holder.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    fn header<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.holder.headers.get(name).map(String::as_bytes)
    }

    fn route(&self) -> &str {
        self.route
    }
}

impl Holder {
    fn write(&self, key: &LimitKey, route: &str) -> Result<Vec<u8>, String> {
        for part in &key.0 {
            let missing = match part {
                KeyPart::Auto => self.user.is_none() && self.ip.is_none(),
                KeyPart::Ip => self.ip.is_none(),
                _ => false,
            };
            if missing {
                return Err(format!("the key of this limit is `{key}`: an address or a user is needed"));
            }
        }
        let mut out = Vec::new();
        key.write_key(&Named { holder: self, route }, &mut out);
        Ok(out)
    }
}

impl RateLimit {
    /// How the limit called `name` stands for `holder`; with `forget`, after what was counted was forgotten. Exchanges
    /// at once are not counted but under way, so there is nothing to forget of them.
    pub fn standing(&self, name: &str, holder: &Holder, at: Clocks, forget: bool) -> Result<Standing, String> {
        if let Some(limit) = self.limits.iter().find(|limit| &*limit.name == name) {
            let key = holder.write(&limit.key, &self.route)?;
            let forgotten = forget && self.shared.counters.forget(&limit.limit, &key);
            let mut charges = [Charge::new(&limit.limit, &key, 0)];
            let _ = self.shared.counters.check_all(&mut charges, at);
            let (shape, decision) = (limit.limit.shape(), charges[0].decision);
            let reset = decision.reset.as_secs_f64();
            let per = Some(shape.per().as_secs_f64());
            return Ok(Standing { limit: shape.limit(), per, remaining: decision.remaining, reset, forgotten });
        }
        let Some(concurrency) = self.concurrency.as_ref().filter(|one| &*one.name == name) else {
            return Err(format!("there is no limit `{name}`"));
        };
        let key = holder.write(&concurrency.key, &self.route)?;
        let held = self.shared.in_flight.count(concurrency.salt, &key);
        let remaining = concurrency.limit.saturating_sub(held);
        Ok(Standing { limit: concurrency.limit, per: None, remaining, reset: 0.0, forgotten: false })
    }
}
