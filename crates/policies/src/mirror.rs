//! Copies a share of the requests to another service and discards its responses.

use pylae_core::plan::Seconds;
use pylae_core::{Exchange, Problem};
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the service that receives the copies.
    service: String,
    /// Share of the requests that are copied (0–1).
    share: f64,
    /// Requests with a body of more bytes are not copied.
    max_body: u64,
    /// Copies in flight per worker; further requests are not copied.
    max_in_flight: usize,
    /// Time within which a copy must be sent and answered.
    timeout: Seconds,
}

/// Selects the requests to copy. The proxy sends the copies.
#[derive(Debug)]
pub struct Mirror(Config);

impl Policy for Mirror {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        if (0.0..=1.0).contains(&config.share) {
            Ok(Self(config))
        } else {
            Err(vec![Problem::at("share", "must be 0 to 1")])
        }
    }

    fn preview(&self, exchange: &Exchange) -> String {
        let (verb, service) = (if self.samples(exchange) { "copies" } else { "does not copy" }, &self.0.service);
        format!("{verb} the request to {service}")
    }
}

impl Mirror {
    /// Name of the service that receives the copies.
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// Returns how many bytes of the request body to keep until the exchange is over.
    pub fn max_body(&self) -> usize {
        usize::try_from(self.0.max_body).unwrap_or(usize::MAX)
    }

    /// Returns how many copies may be in flight per worker.
    pub fn max_in_flight(&self) -> usize {
        self.0.max_in_flight
    }

    /// Time within which a copy must be sent and answered.
    pub fn timeout(&self) -> std::time::Duration {
        self.0.timeout.0
    }

    /// Returns true if the request is in the mirrored share. Depends only on the request id, so that chained gateways
    /// agree.
    pub fn samples(&self, exchange: &Exchange) -> bool {
        // FNV-1a with a final mix, because similar ids differ in few bits only.
        let hash = exchange
            .request
            .id
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let mixed = ((hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
        f64::from(mixed) < self.0.share * 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::PolicyShared;
    use crate::authentication::Authenticators;

    #[test]
    fn the_share_is_kept() {
        let shared = Arc::new(PolicyShared::new(1));
        let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &Authenticators::default() };
        for share in [0.0, 0.1, 0.5, 1.0] {
            let config = Config {
                service: "shadow".into(),
                share,
                max_body: 0,
                max_in_flight: 1,
                timeout: Seconds(std::time::Duration::ZERO),
            };
            let mirror = Mirror::build(config, &parts).unwrap();
            let mut exchange = Exchange::new(0);
            let mut sampled = 0.0;
            for number in 0..10_000 {
                exchange.request.id = format!("request-{number}").into_bytes();
                sampled += f64::from(u8::from(mirror.samples(&exchange)));
            }
            assert!((sampled / 10_000.0 - share).abs() < 0.02, "{share}: {sampled}");
        }
    }
}
