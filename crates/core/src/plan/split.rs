//! Splits: routes whose requests go to one of several services.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::condition::ValueMatch;
use super::service::Sticky;

/// How the requests of a route are split over services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitPlan {
    /// The members in the order in which their conditions are tried.
    pub members: Vec<MemberPlan>,
    /// Keeps a client on the member that was chosen by weight, by a cookie.
    pub sticky: Option<Sticky>,
}

/// A service that gets some of the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberPlan {
    /// Name of the service.
    pub service: String,
    /// Share, relative to the other members, of the requests that no condition decides; 0 gets none of them.
    pub weight: u32,
    /// Requests that it gets whatever its weight.
    pub when: Option<WhenPlan>,
    /// Changes to the requests that it gets.
    pub headers: FieldChanges,
}

/// Conditions of a member, all of which a request must meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenPlan {
    /// Request fields.
    pub headers: Vec<ValueMatch>,
    /// Cookies.
    pub cookies: Vec<ValueMatch>,
    /// An [`Expression`](crate::Expression) that must be true.
    pub expression: Option<String>,
}

/// Changes to the fields of a head: removed first, then set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldChanges {
    /// Fields that get this value, in place of any that they have.
    pub set: BTreeMap<String, String>,
    /// Fields that are removed.
    pub remove: Vec<String>,
}
