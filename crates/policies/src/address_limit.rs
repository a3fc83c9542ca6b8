//! Rate limits that apply before authentication. They protect it, and also count the requests that it refuses.

use pylae_core::limit::Limiter;
use pylae_core::{Exchange, Problem, Verdict};

use crate::rate_limit::{Config, RateLimit};
use crate::{Parts, Policy};

/// A [`RateLimit`] whose keys do not need a user.
pub struct AddressLimit(pub(crate) RateLimit);

impl Policy for AddressLimit {
    type Config = Config;

    fn build(config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let message = "the user is not known before authentication; use `rate_limit` to count by user";
        let mut problems: Vec<Problem> = config.user_key_paths().map(|path| Problem::at(path, message)).collect();
        let message = "attempts are counted here, whatever they cost; use `rate_limit` to settle costs";
        problems.extend(config.settled_paths().map(|path| Problem::at(path, message)));
        if !problems.is_empty() {
            return Err(problems);
        }
        RateLimit::build_as(Limiter::Address, config, parts).map(Self)
    }

    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        self.0.on_request(exchange)
    }

    fn preview(&self, exchange: &Exchange) -> String {
        self.0.preview(exchange)
    }
}
