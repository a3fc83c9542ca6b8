//! Conditions on requests.

use serde::{Deserialize, Serialize};

/// A condition on a field, a query parameter or a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueMatch {
    /// Name of the field (case ignored), parameter or cookie.
    pub name: String,
    /// The condition.
    pub value: ValueTest,
}

/// The condition itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ValueTest {
    /// It is present.
    Present,
    /// One of its values equals this.
    Equals(String),
    /// One of its values matches this regular expression, anchored at the start.
    Pattern(String),
}
