//! The policies: one file each, and one table that is their registry and their order.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod address_limit;
mod admission;
pub mod authentication;
pub mod authorization;
pub mod cache;
mod chain;
pub mod compression;
pub mod cors;
pub mod hooks;
pub mod ip_access;
mod media;
pub mod mirror;
mod policy;
pub mod rate_limit;
pub mod redirect;
pub mod security_headers;
pub mod static_response;
pub mod transform;
pub mod validation;
mod vary;

pub use admission::Admission;
pub use chain::Chain;
pub use policy::{Parts, Policy, Shared};

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
            pub(crate) fn build(name: &str, config: &serde_json::Value, parts: &Parts<'_>) -> Result<Self, Vec<pylae_core::Problem>> {
                match name {
                    $(stringify!($name) => chain::read(config)
                        .and_then(|config| <$policy as Policy>::build(config, parts)).map(Self::$name),)+
                    _ => Err(vec![pylae_core::Problem::at("", format!("unknown policy; known are {}", TABLE.join(", ")))]),
                }
            }

            /// The configuration of the policy called `name` as the native side understands it.
            pub(crate) fn echo(name: &str, config: &serde_json::Value) -> Result<serde_json::Value, Vec<pylae_core::Problem>> {
                match name {
                    $(stringify!($name) => chain::read::<<$policy as Policy>::Config>(config).and_then(chain::write),)+
                    _ => Err(vec![pylae_core::Problem::at("", format!("unknown policy; known are {}", TABLE.join(", ")))]),
                }
            }

            pub(crate) fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),+ }
            }

            #[inline]
            pub(crate) fn on_request(&self, exchange: &mut pylae_core::Exchange) -> pylae_core::Verdict {
                match self { $(Self::$name(policy) => policy.on_request(exchange)),+ }
            }

            #[inline]
            pub(crate) fn on_response(&self, exchange: &mut pylae_core::Exchange) {
                match self { $(Self::$name(policy) => policy.on_response(exchange)),+ }
            }

            pub(crate) fn body_limit(&self) -> Option<usize> {
                match self { $(Self::$name(policy) => policy.body_limit()),+ }
            }

            pub(crate) fn on_body(&self, exchange: &mut pylae_core::Exchange, body: &[u8], complete: bool) -> pylae_core::Verdict {
                match self { $(Self::$name(policy) => policy.on_body(exchange, body, complete)),+ }
            }

            pub(crate) fn answers_preflights(&self) -> bool {
                match self { $(Self::$name(policy) => policy.answers_preflights()),+ }
            }

            pub(crate) fn foresee(&self, exchange: &mut pylae_core::Exchange) {
                match self { $(Self::$name(policy) => policy.foresee(exchange)),+ }
            }

            pub(crate) fn preview(&self, exchange: &pylae_core::Exchange) -> String {
                match self { $(Self::$name(policy) => policy.preview(exchange)),+ }
            }
        }
    };
}

// The table: position is the order in which request halves run; response halves run the other way round.
policy_table! {
    /// Outermost; it decides nothing and is asked when the exchange is over.
    access_log: access_log::AccessLog,
    /// Outermost, so that every answer carries the headers, whoever gave it.
    security_headers: security_headers::SecurityHeaders,
    /// Behind everything that changes bodies: its response half runs after theirs.
    compression: compression::Compression,
    /// Its response half sees every answer that is made behind it.
    transform: transform::Transform,
    /// Before everything else that decides: whom it refuses learns nothing.
    ip_access: ip_access::IpAccess,
    /// Before everything that may refuse a page's request: refusals must be readable, and preflights carry no credentials.
    cors: cors::Cors,
    /// Before authentication, which it protects: what it counts by is known without a user.
    address_limit: address_limit::AddressLimit,
    /// Before everything that asks who the user is.
    authentication: authentication::Authentication,
    /// As soon as the user is known.
    authorization: authorization::Authorization,
    /// Behind authentication: its keys may be users, and `auto` is the user wherever there is one. All its limits stand
    /// here together, because a refusal by one takes nothing from the others.
    rate_limit: rate_limit::RateLimit,
    /// Behind authentication and limits: a route that requires a user does so whoever answers.
    redirect: redirect::Redirect,
    /// Likewise.
    static_response: static_response::StaticResponse,
    /// Behind whatever asks who it is: strangers learn nothing about what is valid.
    validation: validation::Validation,
    /// Behind everything that may refuse a request, so that what is stored is for those who may have it.
    cache: cache::Caching,
    /// Behind everything else that decides: Python sees only requests that would be forwarded.
    hooks: hooks::Hooked,
    /// Decides nothing; what is copied has passed all others.
    mirror: mirror::Mirror,
}
