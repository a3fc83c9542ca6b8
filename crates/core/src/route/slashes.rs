//! Checks `%2F` in paths. A route that keeps it treats it as data within a segment, but services may decode it first
//! and so serve what another route guards.

use pylae_http::message::target::{ENCODED_SLASH, Target, TargetError};

use super::{RouteMatch, Router};

/// The two readings of the path lead to places with different guards.
const TWO_PLACES: TargetError =
    TargetError("encoded slash in the path; read as a slash it leads to where others are let in");

impl Router {
    /// Checks that a request for `target` may take the route in `found`, whichever way `%2F` is read.
    ///
    /// The route must keep `%2F`. If the path with `/` in its place matches a route too, as `find` tells, that route
    /// must admit the same clients, as `alike` tells. If only routes for other methods match it, the request is
    /// refused.
    pub fn check_slashes(
        &self,
        target: &Target,
        found: RouteMatch,
        find: impl FnOnce(&[u8]) -> RouteMatch,
        alike: impl FnOnce(usize, usize) -> bool,
    ) -> Result<(), TargetError> {
        if !target.has_slashes() {
            return Ok(());
        }
        let route = match found {
            RouteMatch::Route(route) if self.rules[route].keeps_slashes => route,
            RouteMatch::Route(_) | RouteMatch::NotFound => return Err(ENCODED_SLASH),
            RouteMatch::MethodNotAllowed => return Ok(()),
        };
        match find(&target.routing_path_with_slashes_decoded()) {
            RouteMatch::NotFound => Ok(()),
            RouteMatch::Route(other) if other == route || alike(route, other) => Ok(()),
            RouteMatch::Route(_) | RouteMatch::MethodNotAllowed => Err(TWO_PLACES),
        }
    }
}
