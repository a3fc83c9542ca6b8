//! The table of all policies: the one list of them, and their order.

use pylae_core::{Exchange, Problem, Verdict};
use serde_json::Value;

use crate::config;
use crate::policy::{Parts, Policy};

/// Declares [`AnyPolicy`], whose variants are the rows of the table, and how a row is found by name.
macro_rules! policy_table {
    ($($(#[$why:meta])* $name:ident: $policy:ty),+ $(,)?) => {
        /// Names of all policies in order of execution.
        pub const TABLE: &[&str] = &[$(stringify!($name)),+];

        /// Any policy of the table, ready to run.
        #[allow(non_camel_case_types)] // the variant is the policy's name, spelt as everywhere else
        pub(crate) enum AnyPolicy {
            $($(#[$why])* $name($policy)),+
        }

        impl AnyPolicy {
            /// Position in the table, which is the position in every chain.
            pub(crate) fn position(name: &str) -> Option<usize> {
                TABLE.iter().position(|row| *row == name)
            }

            /// Builds the policy called `name`. Problems carry paths relative to `config`.
            pub(crate) fn build(name: &str, config: &Value, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
                match name {
                    $(stringify!($name) => config::read(config)
                        .and_then(|config| <$policy as Policy>::build(config, parts)).map(Self::$name),)+
                    _ => Err(vec![Problem::at("", format!("unknown policy; known are {}", TABLE.join(", ")))]),
                }
            }

            /// The configuration of the policy called `name` as the native side understands it.
            pub(crate) fn echo(name: &str, config: &Value) -> Result<Value, Vec<Problem>> {
                match name {
                    $(stringify!($name) => config::read::<<$policy as Policy>::Config>(config).and_then(config::write),)+
                    _ => Err(vec![Problem::at("", format!("unknown policy; known are {}", TABLE.join(", ")))]),
                }
            }

            pub(crate) fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),+ }
            }

            #[inline]
            pub(crate) fn on_request(&self, exchange: &mut Exchange) -> Verdict {
                match self { $(Self::$name(policy) => policy.on_request(exchange)),+ }
            }

            #[inline]
            pub(crate) fn on_response(&self, exchange: &mut Exchange) {
                match self { $(Self::$name(policy) => policy.on_response(exchange)),+ }
            }

            pub(crate) fn body_limit(&self) -> Option<usize> {
                match self { $(Self::$name(policy) => policy.body_limit()),+ }
            }

            pub(crate) fn on_body(&self, exchange: &mut Exchange, body: &[u8], complete: bool) -> Verdict {
                match self { $(Self::$name(policy) => policy.on_body(exchange, body, complete)),+ }
            }

            pub(crate) fn answers_preflights(&self) -> bool {
                match self { $(Self::$name(policy) => policy.answers_preflights()),+ }
            }

            pub(crate) fn apply_preview(&self, exchange: &mut Exchange) {
                match self { $(Self::$name(policy) => policy.apply_preview(exchange)),+ }
            }

            pub(crate) fn preview(&self, exchange: &Exchange) -> String {
                match self { $(Self::$name(policy) => policy.preview(exchange)),+ }
            }
        }
    };
}

// The table: position is the order in which request halves run; response halves run the other way round.
policy_table! {
    /// Outermost; it decides nothing and is asked when the exchange is over.
    access_log: crate::access_log::AccessLog,
    /// Outermost, so that every answer carries the headers, whoever gave it.
    security_headers: crate::security_headers::SecurityHeaders,
    /// Behind everything that changes bodies: its response half runs after theirs.
    compression: crate::compression::Compression,
    /// Its response half sees every answer that is made behind it.
    transform: crate::transform::Transform,
    /// Before everything else that decides: whom it refuses learns nothing.
    ip_access: crate::ip_access::IpAccess,
    /// Before everything that may refuse a page's request: refusals must be readable, and preflights carry no credentials.
    cors: crate::cors::Cors,
    /// Before authentication, which it protects: what it counts by is known without a user.
    address_limit: crate::address_limit::AddressLimit,
    /// Before everything that asks who the user is.
    authentication: crate::authentication::Authentication,
    /// As soon as the user is known.
    authorization: crate::authorization::Authorization,
    /// Behind authentication: its keys may be users, and `auto` is the user wherever there is one. All its limits stand
    /// here together, because a refusal by one takes nothing from the others.
    rate_limit: crate::rate_limit::RateLimit,
    /// Behind authentication and limits: a route that requires a user does so whoever answers.
    redirect: crate::redirect::Redirect,
    /// Likewise.
    static_response: crate::static_response::StaticResponse,
    /// Behind whatever asks who it is: strangers learn nothing about what is valid.
    validation: crate::validation::Validation,
    /// Behind everything that may refuse a request, so that what is stored is for those who may have it.
    cache: crate::cache::Caching,
    /// Behind everything else that decides: Python sees only requests that would be forwarded.
    hooks: crate::hooks::Hooked,
    /// Decides nothing; what is copied has passed all others.
    mirror: crate::mirror::Mirror,
}
