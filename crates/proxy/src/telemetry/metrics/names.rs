//! How series are called.

/// Stands for the route and the service of an exchange that no route took.
pub(crate) const NONE: &str = "(none)";
/// Stands for the service of a route that has none: policies answer.
pub(crate) const GATEWAY: &str = "(gateway)";
/// Stands for all routes that have left the plan.
pub(super) const REMOVED: &str = "(removed)";

/// Names of a route and its service.
pub(crate) type Names = (Box<str>, Box<str>);
