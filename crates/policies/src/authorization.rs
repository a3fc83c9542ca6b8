//! What the user may do: all of some permissions, any of some roles.

use pylae_core::{Exchange, Problem, User, Verdict};
use serde::{Deserialize, Serialize};

use crate::authentication::reject;
use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Permissions, all of which are needed.
    permissions: Vec<String>,
    /// Roles, one of which is needed; empty needs none.
    roles: Vec<String>,
    /// Role that has every permission; empty is none.
    admin_role: String,
}

/// Lets users pass who may.
#[derive(Debug)]
pub struct Authorization {
    config: Config,
    challenge: String,
}

/// What a user lacks.
enum Lack<'a> {
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
        match self.lack(exchange.user.as_deref()) {
            None => Verdict::Continue,
            Some(lack) => self.refuse(&lack),
        }
    }

    fn preview(&self, exchange: &Exchange) -> String {
        match self.lack(exchange.user.as_deref()) {
            None => "lets the user pass".to_owned(),
            Some(Lack::User) => "401: there is no user".to_owned(),
            Some(Lack::Permission(name)) => format!("403: the user lacks the permission {name}"),
            Some(Lack::Role) => format!("403: the user has none of the roles {}", self.config.roles.join(", ")),
        }
    }
}

impl Authorization {
    fn lack(&self, user: Option<&User>) -> Option<Lack<'_>> {
        let Some(user) = user else { return Some(Lack::User) };
        let Config { permissions, roles, admin_role } = &self.config;
        let has = |wanted: &str| user.role.split(',').any(|role| role == wanted);
        if !roles.is_empty() && !roles.iter().any(|role| has(role)) {
            return Some(Lack::Role);
        }
        if !admin_role.is_empty() && has(admin_role) {
            return None;
        }
        let lacking = permissions.iter().find(|wanted| !user.permissions.contains(wanted));
        lacking.map(|name| Lack::Permission(name))
    }

    fn refuse(&self, lack: &Lack<'_>) -> Verdict {
        match lack {
            Lack::User => {
                let challenge = ("WWW-Authenticate", self.challenge.clone());
                reject(401, "unauthorized", "authentication is required".into(), &[challenge])
            }
            Lack::Permission(name) => reject(403, "forbidden", format!("this needs the permission {name}").into(), &[]),
            Lack::Role => reject(403, "forbidden", "this needs another role".into(), &[]),
        }
    }
}
