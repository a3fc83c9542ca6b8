//! The registry of all policies, in order of execution. A row says all that others must know about a policy; Python
//! reads it too.

use pylae_core::{Exchange, Problem, Verdict};
use serde_json::Value;

use crate::config;
use crate::policy::{Parts, Policy};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct PolicyRow {
    /// Name of the policy.
    pub name: &'static str,
    /// What sets it apart from others.
    pub roles: &'static [PolicyRole],
}

/// What sets a policy apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyRole {
    /// It has no settings of its own: Python derives it from others.
    Derived,
    /// It also shapes answers to requests that no route takes.
    Unrouted,
    /// With early hooks, the gateway-wide policy runs before them.
    Early,
    /// It has a part outside of this crate, which needs a socket, a task or the interpreter: see [`Outlet`].
    Outlet,
}

impl PolicyRole {
    /// The role as Python knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Derived => "derived",
            Self::Unrouted => "unrouted",
            Self::Early => "early",
            Self::Outlet => "outlet",
        }
    }
}

/// A policy that has a part outside of this crate, which finds it by its type: [`Chain::outlet`](crate::Chain::outlet).
pub trait Outlet: Policy {
    /// Its position in the table.
    const POSITION: usize;

    /// Returns the policy if it is of this type.
    fn of(policy: &AnyPolicy) -> Option<&Self>;
}

/// Implements [`Outlet`] for a policy with that role.
macro_rules! outlet {
    ($name:ident: $policy:ty [Outlet $(, $role:ident)*]) => {
        impl Outlet for $policy {
            const POSITION: usize = Position::$name as usize;

            #[inline]
            fn of(policy: &AnyPolicy) -> Option<&Self> {
                if let AnyPolicy::$name(policy) = policy { Some(policy) } else { None }
            }
        }
    };
    ($name:ident: $policy:ty [$other:ident $(, $role:ident)*]) => { outlet!($name: $policy [$($role),*]); };
    ($name:ident: $policy:ty []) => {};
}

/// Declares [`AnyPolicy`], with one variant per row of the table, and its dispatch by name.
macro_rules! policy_table {
    ($($(#[$why:meta])* $name:ident: $policy:ty $([$($role:ident),+])?),+ $(,)?) => {
        /// All policies, in order of execution.
        pub const TABLE: &[PolicyRow] = &[
            $(PolicyRow { name: stringify!($name), roles: &[$($(PolicyRole::$role),+)?] }),+
        ];

        /// Positions in the table by name.
        #[allow(non_camel_case_types)] // the variant is the policy's name, spelt as everywhere else
        enum Position { $($name),+ }

        /// A compiled policy of any kind.
        #[allow(non_camel_case_types)] // as above
        pub enum AnyPolicy {
            $($(#[$why])* $name($policy)),+
        }

        $(outlet!($name: $policy [$($($role),+)?]);)+

        impl AnyPolicy {
            /// Returns the policy's position in the table, which sets its position in every chain.
            pub(crate) fn position(&self) -> usize {
                match self { $(Self::$name(_) => Position::$name as usize),+ }
            }

            /// True for those from authentication on.
            pub(crate) fn asks_for_users(&self) -> bool {
                self.position() >= Position::authentication as usize
            }

            /// Builds policy `name`. Paths of problems are relative to `config`.
            pub(crate) fn build(name: &str, config: &Value, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
                match name {
                    $(stringify!($name) => config::read(config)
                        .and_then(|config| <$policy as Policy>::build(config, parts)).map(Self::$name),)+
                    _ => Err(unknown()),
                }
            }

            /// Deserializes the configuration of policy `name` and serializes it again.
            pub(crate) fn echo(name: &str, config: &Value) -> Result<Value, Vec<Problem>> {
                match name {
                    $(stringify!($name) => config::read::<<$policy as Policy>::Config>(config).and_then(config::write),)+
                    _ => Err(unknown()),
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

fn unknown() -> Vec<Problem> {
    let names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
    vec![Problem::at("", format!("unknown policy; known are {}", names.join(", ")))]
}

// Request halves run in this order, response halves in reverse.
policy_table! {
    /// Outermost. It decides nothing and writes its line when the exchange is over.
    access_log: crate::access_log::AccessLog [Unrouted, Outlet],
    /// Outermost, so that every response carries the headers, including the gateway's own answers.
    security_headers: crate::security_headers::SecurityHeaders [Unrouted],
    /// Before everything that changes bodies, so that its response half runs after theirs.
    compression: crate::compression::Compression,
    /// Before everything that may answer, so that its response half sees those answers.
    transform: crate::transform::Transform [Unrouted],
    /// Before everything else that decides, so that a refused client learns nothing.
    ip_access: crate::ip_access::IpAccess [Unrouted, Early],
    /// Before everything that may refuse a page's request: pages must be able to read refusals, and preflights carry no
    /// credentials.
    cors: crate::cors::Cors [Unrouted],
    /// Before authentication, which it protects. Its keys do not need a user.
    address_limit: crate::address_limit::AddressLimit [Unrouted, Early],
    /// Before everything that depends on the user.
    authentication: crate::authentication::Authentication [Derived],
    /// As soon as the user is known.
    authorization: crate::authorization::Authorization [Derived],
    /// After authentication and the permissions that everybody knows of, and before limits count the request.
    require: crate::require::Require,
    /// After authentication: its keys may be users, and `auto` is the user where there is one. All its limits are
    /// checked here together, because a refusal by one must not consume the others.
    rate_limit: crate::rate_limit::RateLimit,
    /// After authentication and limits, which also apply to answers that the gateway itself makes.
    redirect: crate::redirect::Redirect,
    /// After authentication and limits, like `redirect`.
    static_response: crate::static_response::StaticResponse,
    /// After authentication, so that unknown clients do not learn what is valid.
    validation: crate::validation::Validation,
    /// After everything that may refuse a request, so that stored responses reach only clients who may have them.
    cache: crate::cache::Caching,
    /// After everything else that decides, so that Python sees only requests that would be forwarded.
    hooks: crate::hooks::Hooked [Derived, Outlet],
    /// Last. It decides nothing, and only requests that passed all other policies are copied.
    mirror: crate::mirror::Mirror [Outlet],
}
