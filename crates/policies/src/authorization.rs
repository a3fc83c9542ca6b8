//! Requires all of the configured permissions and any of the configured roles.

use std::collections::BTreeSet;

use pylae_core::{Exchange, Problem, User, Verdict};
use serde::{Deserialize, Serialize};

use crate::authentication::reject;
use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Required permissions; the user needs all of them.
    permissions: Vec<String>,
    /// Accepted roles; the user needs one of them. Empty accepts any user.
    roles: Vec<String>,
    /// Role that has every permission; empty disables it.
    admin_role: String,
}

/// The authorization policy.
#[derive(Debug)]
pub struct Authorization {
    config: Config,
    challenge: String,
}

/// What a user lacks.
enum Missing<'a> {
    User,
    Permission(&'a str),
    Role,
}

impl Policy for Authorization {
    type Config = Config;

    fn build(config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        Ok(Self { config, challenge: format!("Bearer realm=\"{}\"", parts.auth.realm) })
    }

    #[inline]
    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        match self.missing(exchange.request.user.as_deref()) {
            None => Verdict::Continue,
            Some(missing) => self.reject(&missing),
        }
    }

    fn preview(&self, exchange: &Exchange) -> String {
        match self.missing(exchange.request.user.as_deref()) {
            None => "lets the user pass".to_owned(),
            Some(Missing::User) => "401: there is no user".to_owned(),
            Some(Missing::Permission(name)) => format!("403: the user lacks the permission {name}"),
            Some(Missing::Role) => format!("403: the user has none of the roles {}", self.config.roles.join(", ")),
        }
    }
}

impl Authorization {
    /// Required permissions; the user needs all of them.
    pub(crate) fn permissions(&self) -> BTreeSet<&str> {
        self.config.permissions.iter().map(String::as_str).collect()
    }

    /// Accepted roles; the user needs one of them. Empty accepts any user.
    pub(crate) fn roles(&self) -> BTreeSet<&str> {
        self.config.roles.iter().map(String::as_str).collect()
    }

    fn missing(&self, user: Option<&User>) -> Option<Missing<'_>> {
        let Some(user) = user else { return Some(Missing::User) };
        let Config { permissions, roles, admin_role } = &self.config;
        let has = |wanted: &str| user.role.split(',').any(|role| role == wanted);
        if !roles.is_empty() && !roles.iter().any(|role| has(role)) {
            return Some(Missing::Role);
        }
        if !admin_role.is_empty() && has(admin_role) {
            return None;
        }
        let missing = permissions.iter().find(|wanted| !user.permissions.contains(wanted));
        missing.map(|name| Missing::Permission(name))
    }

    fn reject(&self, missing: &Missing<'_>) -> Verdict {
        match missing {
            Missing::User => {
                let challenge = ("WWW-Authenticate", self.challenge.clone());
                reject(401, "unauthorized", "authentication is required".into(), &[challenge])
            }
            Missing::Permission(name) => {
                reject(403, "forbidden", format!("this needs the permission {name}").into(), &[])
            }
            Missing::Role => reject(403, "forbidden", "this needs another role".into(), &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::PolicyShared;
    use crate::authentication::Authenticators;

    fn decide(config: serde_json::Value, user: Option<(&str, &[&str])>) -> u16 {
        let shared = Arc::new(PolicyShared::new(1));
        let auth = Authenticators::default();
        let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
        let policy = Authorization::build(serde_json::from_value(config).unwrap(), &parts).unwrap();
        let mut exchange = Exchange::new(0);
        exchange.request.user = user.map(|(role, permissions)| {
            let permissions = permissions.iter().map(|one| (*one).to_owned()).collect();
            Arc::new(User { id: "7".into(), role: role.into(), permissions, ..User::default() })
        });
        let previewed = policy.preview(&exchange);
        match policy.on_request(&mut exchange) {
            Verdict::Continue => {
                assert_eq!(previewed, "lets the user pass");
                200
            }
            Verdict::Reject(rejection) => {
                assert!(previewed.starts_with(&rejection.status.to_string()), "{previewed}");
                rejection.status
            }
            _ => 0,
        }
    }

    #[test]
    fn all_permissions_and_any_role() {
        let config = json!({"permissions": ["read", "write"], "roles": ["clerk", "boss"], "admin_role": "admin"});
        for (role, permissions, status) in [
            ("clerk", &["read", "write", "more"][..], 200),
            ("boss", &["write", "read"], 200),
            ("clerk", &["read"], 403),
            ("clerk", &[], 403),
            ("guest", &["read", "write"], 403),
            ("", &["read", "write"], 403),
            ("CLERK", &["read", "write"], 403),
            ("guest,clerk", &["read", "write"], 200),
            ("clerk", &["READ", "write"], 403),
            // The admin role grants every permission, but not other roles.
            ("admin", &[], 403),
            ("admin,boss", &[], 200),
        ] {
            assert_eq!(decide(config.clone(), Some((role, permissions))), status, "{role} {permissions:?}");
        }
        assert_eq!(decide(config, None), 401);
    }

    #[test]
    fn the_admin_role() {
        let config = |role: &str| json!({"permissions": ["x"], "roles": [], "admin_role": role});
        assert_eq!(decide(config("admin"), Some(("admin", &[]))), 200);
        assert_eq!(decide(config("root"), Some(("admin", &[]))), 403);
        // Without an admin role, a user without a role is no admin.
        assert_eq!(decide(config(""), Some(("", &[]))), 403);
        assert_eq!(decide(json!({"permissions": [], "roles": [], "admin_role": ""}), Some(("", &[]))), 200);
    }
}
