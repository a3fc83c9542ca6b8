//! What is switched to maintenance: its requests are answered 503, with a text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exchange::halt::Rejection;

/// Code of the answers.
pub const CODE: &str = "maintenance";
/// Status of the answers.
const STATUS: u16 = 503;

/// The switches, by what they switch. Names that no plan has are no mistake: they count once one has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// The whole gateway.
    pub gateway: Option<MaintenanceSwitch>,
    /// Services by name.
    pub services: BTreeMap<String, MaintenanceSwitch>,
    /// Routes by name.
    pub routes: BTreeMap<String, MaintenanceSwitch>,
}

/// What clients are told of one switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceSwitch {
    /// For people.
    pub text: String,
    /// Seconds after which they may try again.
    pub retry_after: u32,
}

impl Maintenance {
    /// True if nothing is switched.
    pub fn is_empty(&self) -> bool {
        self.gateway.is_none() && self.services.is_empty() && self.routes.is_empty()
    }

    /// What is switched, in words.
    pub fn names(&self) -> Vec<String> {
        let gateway = self.gateway.iter().map(|_| "gateway".to_owned());
        let services = self.services.keys().map(|name| format!("service {name}"));
        gateway.chain(services).chain(self.routes.keys().map(|name| format!("route {name}"))).collect()
    }

    /// The answer to a request of this route to this service, or None if neither is switched. The closest switch has
    /// the word: that of the route before that of the service before that of the gateway.
    pub fn rejection(&self, route: Option<&str>, service: Option<&str>) -> Option<Rejection> {
        let of_route = route.and_then(|name| self.routes.get(name));
        let of_service = || service.and_then(|name| self.services.get(name));
        of_route.or_else(of_service).or(self.gateway.as_ref()).map(MaintenanceSwitch::rejection)
    }

    /// The answer to a request that a hook has sent to this service, after routes and the gateway were asked.
    pub fn rejection_of_service(&self, service: &str) -> Option<Rejection> {
        self.services.get(service).map(MaintenanceSwitch::rejection)
    }
}

impl MaintenanceSwitch {
    fn rejection(&self) -> Rejection {
        Rejection {
            status: STATUS,
            code: CODE,
            message: Cow::Owned(self.text.clone()),
            headers: vec![("Retry-After".into(), self.retry_after.to_string())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(text: &str) -> MaintenanceSwitch {
        MaintenanceSwitch { text: text.into(), retry_after: 60 }
    }

    fn told(maintenance: &Maintenance, route: Option<&str>, service: Option<&str>) -> Option<String> {
        maintenance.rejection(route, service).map(|rejection| rejection.message.into_owned())
    }

    #[test]
    fn nothing_is_switched_at_first() {
        let none = Maintenance::default();
        assert!(none.is_empty() && none.names().is_empty());
        assert_eq!(none.rejection(Some("orders"), Some("shop")), None);
    }

    #[test]
    fn a_rejection_says_why_and_for_how_long() {
        let all = Maintenance { gateway: Some(switch("back at six")), ..Maintenance::default() };
        let rejection = all.rejection(None, None).unwrap();
        assert_eq!((rejection.status, rejection.code, &*rejection.message), (503, "maintenance", "back at six"));
        assert_eq!(rejection.headers, [("Retry-After".into(), "60".to_owned())]);
    }

    #[test]
    fn the_closest_switch_has_the_word() {
        let mut maintenance = Maintenance { gateway: Some(switch("all")), ..Maintenance::default() };
        maintenance.services.insert("shop".into(), switch("shop"));
        maintenance.routes.insert("orders".into(), switch("orders"));
        assert_eq!(told(&maintenance, Some("orders"), Some("shop")).as_deref(), Some("orders"));
        assert_eq!(told(&maintenance, Some("items"), Some("shop")).as_deref(), Some("shop"));
        assert_eq!(maintenance.names(), ["gateway", "service shop", "route orders"]);
        assert_eq!(told(&maintenance, Some("items"), Some("users")).as_deref(), Some("all"));
        assert_eq!(told(&maintenance, None, None).as_deref(), Some("all"));
        maintenance.gateway = None;
        assert_eq!(told(&maintenance, Some("items"), Some("users")), None);
        assert!(!maintenance.is_empty());
    }

    #[test]
    fn names_of_routes_are_not_those_of_services() {
        let mut maintenance = Maintenance::default();
        maintenance.routes.insert("shop".into(), switch("route"));
        assert_eq!(told(&maintenance, Some("orders"), Some("shop")), None);
        assert!(maintenance.rejection_of_service("shop").is_none());
    }
}
