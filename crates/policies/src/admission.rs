//! Compares which clients two routes admit.

use std::collections::BTreeSet;

use crate::ip_access::{self, IpAccess};
use crate::require::Require;

/// Which clients the policies of a route admit.
#[derive(Debug, Default)]
pub struct RouteAccess<'a> {
    /// Authenticators, one of which must accept the client. None if the route does not require a user.
    pub(crate) authenticators: Option<BTreeSet<&'a str>>,
    /// Required permissions; the user needs all of them.
    pub(crate) permissions: BTreeSet<&'a str>,
    /// Accepted roles; the user needs one of them. Empty accepts any user.
    pub(crate) roles: BTreeSet<&'a str>,
    pub(crate) addresses: Option<&'a IpAccess>,
    /// What else is required.
    pub(crate) requirements: Option<&'a Require>,
}

impl RouteAccess<'_> {
    /// Returns true if both routes admit the same clients.
    pub fn is_equivalent_to(&self, other: &Self) -> bool {
        !self.is_broader_than(other) && !other.is_broader_than(self)
    }

    /// Returns true if this route admits a client that `other` refuses.
    pub fn is_broader_than(&self, other: &Self) -> bool {
        let by_user = match (&self.authenticators, &other.authenticators) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(theirs)) => !own.is_subset(theirs),
        };
        let by_role = !other.roles.is_empty() && (self.roles.is_empty() || !self.roles.is_subset(&other.roles));
        // Which of two different requirements admits more cannot be told.
        let by_requirements = other.requirements.is_some() && self.requirements != other.requirements;
        by_user
            || by_role
            || by_requirements
            || !other.permissions.is_subset(&self.permissions)
            || ip_access::is_broader(self.addresses, other.addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::authentication::Authenticators;
    use crate::{Chain, Parts, PolicyShared};

    /// Compares two routes with these policies, in both directions.
    fn compared(one: &Value, other: &Value) -> (bool, bool) {
        let shared = Arc::new(PolicyShared::new(1));
        let plan = json!({"realm": "r", "failure_limit": null, "authenticators": [
            {"kind": "client_certificate", "id": ["common_name"], "users": null},
            {"kind": "basic", "users": [], "remember": 1.0, "forward_credentials": false},
        ]});
        let auth = Authenticators::build(Some(&plan), &shared.identity).unwrap();
        let parts = Parts { route: "r", service: "", params: &[], shared: &shared, auth: &auth };
        let chain = |policies: &Value| {
            let policies: BTreeMap<String, Value> = serde_json::from_value(policies.clone()).unwrap();
            Chain::build(&policies, &parts).unwrap()
        };
        let (one, other) = (chain(one), chain(other));
        let (one, other) = (one.access(), other.access());
        (one.is_broader_than(&other), other.is_broader_than(&one))
    }

    fn authentication(names: &[&str], required: bool) -> Value {
        json!({"authentication": {"authenticators": names, "required": required}})
    }

    fn authorization(permissions: &[&str], roles: &[&str]) -> Value {
        json!({"authorization": {"permissions": permissions, "roles": roles, "admin_role": "admin"}})
    }

    fn addresses(allow: &[&str], deny: &[&str]) -> Value {
        json!({"ip_access": {"allow": allow, "deny": deny}})
    }

    #[test]
    fn users() {
        let open = json!({});
        assert_eq!(compared(&open, &open), (false, false));
        assert_eq!(compared(&open, &authentication(&["basic"], true)), (true, false));
        assert_eq!(compared(&authentication(&["basic"], false), &authentication(&["basic"], true)), (true, false));
        assert_eq!(compared(&authentication(&["basic"], false), &open), (false, false));
        assert_eq!(
            compared(
                &authentication(&["basic", "client_certificate"], true),
                &authentication(&["client_certificate", "basic"], true)
            ),
            (false, false)
        );
        assert_eq!(
            compared(&authentication(&["basic"], true), &authentication(&["client_certificate", "basic"], true)),
            (false, true)
        );
        assert_eq!(
            compared(&authentication(&["basic"], true), &authentication(&["client_certificate"], true)),
            (true, true)
        );
    }

    #[test]
    fn permissions_and_roles() {
        let open = json!({});
        assert_eq!(compared(&open, &authorization(&["x"], &[])), (true, false));
        assert_eq!(compared(&authorization(&["x"], &[]), &authorization(&["y", "x"], &[])), (true, false));
        assert_eq!(compared(&authorization(&["x"], &[]), &authorization(&["y"], &[])), (true, true));
        assert_eq!(compared(&open, &authorization(&[], &["x"])), (true, false));
        assert_eq!(compared(&authorization(&[], &["x", "y"]), &authorization(&[], &["x"])), (true, false));
        assert_eq!(compared(&authorization(&[], &["x"]), &authorization(&["p"], &["x"])), (true, false));
        assert_eq!(compared(&authorization(&["p"], &[]), &authorization(&[], &["x"])), (true, true));
    }

    #[test]
    fn address_lists() {
        let open = json!({});
        assert_eq!(compared(&open, &addresses(&["10.0.0.0/8"], &[])), (true, false));
        assert_eq!(compared(&open, &addresses(&[], &["255.255.255.255/32"])), (true, false));
        assert_eq!(compared(&addresses(&["10.1.0.0/16"], &[]), &addresses(&["10.0.0.0/8"], &[])), (false, true));
        assert_eq!(
            compared(&addresses(&["10.0.0.0/9", "10.128.0.0/9"], &[]), &addresses(&["10.0.0.0/8"], &[])),
            (false, false)
        );
        assert_eq!(
            compared(&addresses(&["10.0.0.0/8"], &["10.0.0.0/9"]), &addresses(&["10.128.0.0/9"], &[])),
            (false, false)
        );
        assert_eq!(compared(&addresses(&["10.0.0.0/8"], &[]), &addresses(&["::/0"], &[])), (true, true));
        assert_eq!(compared(&addresses(&[], &["::/0"]), &addresses(&["0.0.0.0/0"], &[])), (false, false));
        assert_eq!(compared(&addresses(&[], &["ffff::/16"]), &addresses(&[], &["ff00::/8"])), (true, false));
    }
}
