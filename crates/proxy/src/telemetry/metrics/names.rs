//! Names of series.

/// The route and service of exchanges that no route took.
pub(crate) const NONE: &str = "(none)";
/// The route of what runs before a route is looked for: none, as hooks of that stage have it.
pub(crate) const EARLY: &str = "";
/// The service of routes without one, where policies answer.
pub(crate) const GATEWAY: &str = "(gateway)";
/// The route of all series whose routes were removed from the plan.
pub(super) const REMOVED: &str = "(removed)";

/// Names of a route and its service.
pub(crate) type Names = (Box<str>, Box<str>);
